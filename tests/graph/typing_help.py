"""Short ways to write graphs of all kinds as values, for tests of their types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.checks.flows import declared
from graphmesh.graph.checks.validate import type_graph
from graphmesh.graph.spec import Binding, Graph, GraphInput, ModelCall, Node, parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.checks.validate import Typed
    from graphmesh.graph.spec import Kind

__all__ = ["edges", "graph", "graph_inputs", "model", "signed", "step", "typed"]


def signed(inputs: Mapping[str, str], outputs: Mapping[str, str], *, streaming: bool = False) -> Signature:
    """Make a signature of inputs and outputs that are written as types."""
    return Signature(inputs=_specs(inputs), outputs=_specs(outputs), streaming=streaming)


def _specs(types: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    parsed = [(name, *parse_type(written)) for name, written in types.items()]
    return tuple(
        TensorSpec(name=name, datatype=datatype, shape=shape, text=text) for name, datatype, shape, text in parsed
    )


def edges(bindings: Mapping[str, str] | str) -> tuple[Binding, ...]:
    """Make bindings of a mapping, or of names apart by spaces that are bound to themselves."""
    pairs = bindings if not isinstance(bindings, str) else {name: name for name in bindings.split()}
    return tuple(Binding(name=name, source=source) for name, source in pairs.items())


def step(name: str, kind: Kind, inputs: Mapping[str, str] | str = "", outputs: Mapping[str, str] | str = "") -> Node:
    """Make a step of any kind."""
    return Node(name=name, kind=kind, inputs=edges(inputs), outputs=edges(outputs))


def model(name: str, inputs: Mapping[str, str] | str = "", outputs: Mapping[str, str] | str = "") -> Node:
    """Make a step that calls the model of its own name."""
    return step(name, ModelCall(name=name), inputs, outputs)


def graph_inputs(types: Mapping[str, str]) -> dict[str, Flow]:
    """Return graph inputs on their way; a type may be empty."""
    return declared(graph(types, (), {}).inputs)


def graph(inputs: Mapping[str, str], nodes: tuple[Node, ...], outputs: Mapping[str, str]) -> Graph:
    """Make a graph; an input's type may be empty."""
    specs = []
    for name, written in inputs.items():
        datatype, shape, text = parse_type(written) if written else ("", (), False)
        specs.append(GraphInput(name=name, datatype=datatype, shape=shape, text=text))
    return Graph(name="g", inputs=tuple(specs), nodes=nodes, outputs=edges(outputs))


def typed(source: Graph, catalog: Mapping[str, Signature], graphs: Mapping[str, Graph] | None = None) -> Typed:
    """Find the types of a graph."""
    return type_graph(source, catalog.get, graphs=(graphs or {}).get)
