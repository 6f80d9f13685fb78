"""Composition graphs: written (`text`, `builder`, `wire`), checked (`validate`), planned (`plan`) and run (`run`).

All of it without I/O: a worker drives the runs. `explain` draws graphs, `timeline` tells what happened in one run.
"""

from graphmesh.graph.builder import GraphBuilder
from graphmesh.graph.call import Call
from graphmesh.graph.explain import to_mermaid, to_text
from graphmesh.graph.limits import MAX_CALLS, MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_NODES
from graphmesh.graph.plan import Plan, make_plan
from graphmesh.graph.run import GraphRun
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node
from graphmesh.graph.text import dump_textproto, dump_yaml, parse_textproto, parse_yaml
from graphmesh.graph.timeline import CallTiming, Timeline
from graphmesh.graph.validate import Typed, type_graph, validate
from graphmesh.graph.wire import graph_from_bytes, graph_from_wire, graph_to_bytes, graph_to_wire

__all__ = [
    "MAX_CALLS",
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_NODES",
    "Binding",
    "Call",
    "CallTiming",
    "Graph",
    "GraphBuilder",
    "GraphCall",
    "GraphInput",
    "GraphRun",
    "Map",
    "ModelCall",
    "Node",
    "Plan",
    "Timeline",
    "Typed",
    "dump_textproto",
    "dump_yaml",
    "graph_from_bytes",
    "graph_from_wire",
    "graph_to_bytes",
    "graph_to_wire",
    "make_plan",
    "parse_textproto",
    "parse_yaml",
    "to_mermaid",
    "to_text",
    "type_graph",
    "validate",
]
