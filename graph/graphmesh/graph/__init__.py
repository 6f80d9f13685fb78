"""Composition graphs: written (`text`, `builder`, `wire`), checked (`validate`), planned (`plan`) and run (`run`).

All of it without I/O: a worker drives the runs. `drawing` draws graphs, `timeline` tells what happened in one run.
"""

from graphmesh.graph.checks.validate import Typed, type_graph, validate
from graphmesh.graph.drawing.mermaid import to_mermaid
from graphmesh.graph.drawing.svg import to_svg
from graphmesh.graph.drawing.text import to_text
from graphmesh.graph.forms.branches import branch, model
from graphmesh.graph.forms.builder import Built, GraphBuilder, Source
from graphmesh.graph.forms.text import dump_textproto, dump_yaml, parse_textproto, parse_yaml
from graphmesh.graph.forms.wire import graph_from_bytes, graph_from_wire, graph_to_bytes, graph_to_wire
from graphmesh.graph.limits import MAX_CALLS, MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_NODES
from graphmesh.graph.running.call import Call
from graphmesh.graph.running.plan import Plan, make_plan
from graphmesh.graph.running.timeline import Timeline
from graphmesh.graph.running.timing import CallTiming
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphCall,
    GraphInput,
    Join,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    Transform,
)

__all__ = [
    "MAX_CALLS",
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_NODES",
    "Aggregate",
    "Binding",
    "Built",
    "Cache",
    "Call",
    "CallTiming",
    "Cascade",
    "Case",
    "Fallback",
    "Graph",
    "GraphBuilder",
    "GraphCall",
    "GraphInput",
    "Join",
    "Loop",
    "Map",
    "ModelCall",
    "Node",
    "Parallel",
    "Plan",
    "Race",
    "Share",
    "Source",
    "Split",
    "Switch",
    "Timeline",
    "Transform",
    "Typed",
    "branch",
    "dump_textproto",
    "dump_yaml",
    "graph_from_bytes",
    "graph_from_wire",
    "graph_to_bytes",
    "graph_to_wire",
    "make_plan",
    "model",
    "parse_textproto",
    "parse_yaml",
    "to_mermaid",
    "to_svg",
    "to_text",
    "type_graph",
    "validate",
]
