"""Graphs as values, and types as text."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Binding, Graph, GraphCall, Map, ModelCall, Node, parse_type


@pytest.mark.parametrize(
    ("source", "node", "tensor"),
    [("image", "", "image"), ("decode.image", "decode", "image"), ("a.b.c", "a", "b.c")],
)
def test_a_source_names_a_graph_input_or_a_nodes_output(source: str, node: str, tensor: str) -> None:
    """The first dot of a source ends the node's name; without one it is a graph input."""
    binding = Binding(name="x", source=source)
    assert (binding.node, binding.tensor) == (node, tensor)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (ModelCall(name="m"), "model m"),
        (ModelCall(name="m", version="3"), "model m@3"),
        (GraphCall(name="g"), "graph g"),
        (Map(target=GraphCall(name="g"), over=("x",)), "map of graph g"),
    ],
)
def test_kinds_say_what_they_call(kind: ModelCall | GraphCall | Map, shown: str) -> None:
    """Every kind reads well in a message, and a node knows its target whatever its kind."""
    assert str(kind) == shown
    assert Node(name="n", kind=kind).target.name in {"m", "g"}


def test_edges_lead_to_nodes_and_to_outputs() -> None:
    """All bindings of nodes come first, then those of the graph's outputs, with an empty node."""
    graph = Graph(
        name="g",
        nodes=(Node(name="n", kind=ModelCall(name="m"), inputs=(Binding(name="x", source="a"),)),),
        outputs=(Binding(name="y", source="n.y"),),
    )
    assert [(node, binding.source) for node, binding in graph.edges()] == [("n", "a"), ("", "n.y")]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("FP32 (N, 3)", ("FP32", ("N", 3), False)),
        ("text (N,)", ("BYTES", ("N",), True)),
        ("INT64 ()", ("INT64", (), False)),
        (" UINT8(?,-1) ", ("UINT8", (None, None), False)),
        ("BOOL", ("BOOL", (), False)),
    ],
)
def test_types_are_read_as_they_are_shown(written: str, expected: tuple[object, ...]) -> None:
    """A type is a datatype and, in parentheses, its dimensions; TEXT is BYTES that is text."""
    assert parse_type(written) == expected


@pytest.mark.parametrize("written", ["", "FP32 (N", "FP32 [N]", "FP32 (N) x", "FP32 (a b)"])
def test_what_is_no_type_is_refused(written: str) -> None:
    """Anything else is refused with the form that is expected."""
    with pytest.raises(InvalidGraph, match=r"a type must look like|a dimension must be"):
        parse_type(written)
