"""Graphs as messages and bytes."""

from __future__ import annotations

import time

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_DOCUMENT_BYTES, MAX_NODES
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node
from graphmesh.graph.wire import graph_from_bytes, graph_from_wire, graph_to_bytes, graph_to_wire
from graphmesh.v1 import graph_pb2, signature_pb2

GRAPH = Graph(
    name="g",
    description="all there is",
    inputs=(
        GraphInput(name="plain"),
        GraphInput(name="full", datatype="BYTES", shape=(3, "N", None), text=True, description="words"),
    ),
    nodes=(
        Node(name="a", kind=ModelCall(name="m", version="7"), inputs=(Binding(name="x", source="plain"),)),
        Node(name="b", kind=GraphCall(name="h"), inputs=(Binding(name="x", source="a.y"),)),
        Node(
            name="c",
            kind=Map(target=ModelCall(name="m"), over=("x", "z"), batch_size=8, max_concurrency=2),
            inputs=(Binding(name="x", source="b.y"), Binding(name="z", source="full")),
        ),
        Node(name="d", kind=Map(target=GraphCall(name="h"), over=("x",)), inputs=(Binding(name="x", source="c.y"),)),
    ),
    outputs=(Binding(name="out", source="d.y"),),
)


def test_a_graph_survives_the_wire() -> None:
    """Every field comes back, and equal graphs give equal bytes."""
    assert graph_from_bytes(graph_to_bytes(GRAPH)) == GRAPH
    assert graph_to_bytes(graph_from_bytes(graph_to_bytes(GRAPH))) == graph_to_bytes(GRAPH)


def test_every_field_of_the_messages_is_carried() -> None:
    """The round trip above sets every field there is: a new field in the .proto must be carried too."""

    def paths(message: object, prefix: str) -> set[str]:
        found = set()
        for field, value in message.ListFields():  # type: ignore[attr-defined]
            found.add(f"{prefix}.{field.name}")
            for item in value if field.is_repeated else [value]:
                if field.message_type is not None:
                    found |= paths(item, field.message_type.name)
        return found

    types = (graph_pb2.Graph, graph_pb2.Node, graph_pb2.Binding, graph_pb2.ModelCall, graph_pb2.GraphCall)
    messages = (*types, graph_pb2.Map, signature_pb2.TensorSpec)
    declared = {
        f"{message.DESCRIPTOR.name}.{field.name}" for message in messages for field in message.DESCRIPTOR.fields
    }
    assert paths(graph_to_wire(GRAPH), "Graph") == declared


def test_too_many_bytes_are_refused_before_they_are_parsed() -> None:
    """A document above the limit costs nothing; a message above it is measured, not converted."""
    with pytest.raises(InvalidGraph, match="at most 524288 bytes, got 524289"):
        graph_from_bytes(b"\xff" * (MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(InvalidGraph, match="at most 524288 bytes"):
        graph_from_wire(graph_pb2.Graph(description="x" * MAX_DOCUMENT_BYTES))


def test_too_many_nodes_are_refused() -> None:
    """Small nodes are counted too, before any of them is converted."""
    nodes = [graph_pb2.Node() for _ in range(MAX_NODES + 1)]
    with pytest.raises(InvalidGraph, match="at most 1000 nodes, got 1001"):
        graph_from_wire(graph_pb2.Graph(nodes=nodes))


def test_a_million_nodes_are_refused_at_once() -> None:
    """A message of a million nodes is refused in far less than a second."""
    message = graph_pb2.Graph()
    for _ in range(1_000_000):
        message.nodes.add()
    start = time.perf_counter()
    with pytest.raises(InvalidGraph):
        graph_from_wire(message)
    assert time.perf_counter() - start < 1


def test_bytes_that_are_no_message_are_refused() -> None:
    """Garbage is a bad graph, not a crash."""
    with pytest.raises(InvalidGraph, match="do not parse"):
        graph_from_bytes(b"\xff\xff\xff")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (graph_pb2.Node(name="n"), "node 'n': must say one of `model`, `graph` or `map`"),
        (graph_pb2.Node(name="n", map=graph_pb2.Map(over=["x"])), "node 'n': `map` must say what it calls"),
    ],
)
def test_a_node_without_a_kind_is_refused(message: graph_pb2.Node, expected: str) -> None:
    """A node must say what it does, and a map what it calls; kinds of a newer version read like none."""
    with pytest.raises(InvalidGraph, match=expected):
        graph_from_wire(graph_pb2.Graph(nodes=[message]))


def test_a_malformed_dimension_names_its_input() -> None:
    """A shape's entry that is no dimension is refused with the input it belongs to."""
    spec = signature_pb2.TensorSpec(name="x", datatype="FP32", shape=["1x"])
    with pytest.raises(InvalidGraph, match="graph input 'x': a dimension must be"):
        graph_from_wire(graph_pb2.Graph(inputs=[spec]))


@pytest.mark.parametrize(
    "graph",
    [
        Graph(name="\ud800"),
        Graph(name="g", nodes=(Node(name="n", kind=Map(target=GraphCall(name="h"), over=("x",), batch_size=-1)),)),
    ],
)
def test_values_that_no_message_can_carry_are_refused(graph: Graph) -> None:
    """Text that is not Unicode and numbers outside 32 bits are bad graphs."""
    with pytest.raises(InvalidGraph, match="cannot be written as a message"):
        graph_to_wire(graph)
