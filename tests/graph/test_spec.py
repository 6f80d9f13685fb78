"""Graphs as values, and types as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphCall,
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
    parse_type,
)
from graphmesh.graph.transforms.operations import Cast, Operation

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind


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
    """A kind that calls reads well in a message, and its node knows the target and has no branches."""
    assert str(kind) == shown
    node = Node(name="n", kind=kind)
    assert node.target is not None
    assert node.target.name in {"m", "g"}
    assert node.branches == ()
    assert list(node.walk()) == [node]
    assert list(node.targets()) == [node.target]


A = Node(name="a", kind=ModelCall(name="m"))
B = Node(name="b", kind=Map(target=GraphCall(name="g"), over=("x",)))


@pytest.mark.parametrize(
    ("kind", "shown", "branches"),
    [
        (Switch(cases=(Case(when="true", then=A),), default=B), "switch", "ab"),
        (Switch(cases=(Case(when="true", then=A), Case(when="false", then=B))), "switch", "ab"),
        (Split(shares=(Share(weight=1, then=A), Share(weight=0, then=B))), "split", "ab"),
        (Parallel(branches=(A, B), join=Join.ANY, aggregate=Aggregate.VOTE), "parallel, any, vote", "ab"),
        (Fallback(branches=(A, B)), "fallback", "ab"),
        (Cascade(branches=(A, B), confidence="score", threshold=0.9), "cascade, score at least 0.9", "ab"),
        (Race(branches=(B, A), delay_s=0.05), "race, 50 ms apart", "ba"),
        (Loop(body=A, max_iterations=10), "loop, at most 10 times", "a"),
        (Loop(body=A, max_iterations=1), "loop, at most once", "a"),
        (Cache(body=B), "cache", "b"),
        (
            Transform(operations=(Operation(what=Cast(datatype="FP32"), inputs=("x",), outputs=("y",)),) * 2),
            "transform: cast, cast",
            "",
        ),
    ],
)
def test_composed_kinds_say_what_they_do(kind: Kind, shown: str, branches: str) -> None:
    """They read well, call nothing themselves, and have their branches in the order they are written."""
    node = Node(name="n", kind=kind)
    assert str(kind) == shown
    assert node.target is None
    assert "".join(branch.name for branch in node.branches) == branches
    assert [str(target) for target in node.targets()] == [{"a": "model m", "b": "graph g"}[name] for name in branches]


def test_a_walk_visits_each_step_before_what_is_inside_it() -> None:
    """Depth first, in the order they are written, without recursion."""
    inner = Node(name="inner", kind=Fallback(branches=(A, B)))
    outer = Node(name="outer", kind=Switch(cases=(Case(when="true", then=inner),), default=A))
    assert [node.name for node in outer.walk()] == ["outer", "inner", "a", "b", "a"]
    deep = A
    for _ in range(5_000):
        deep = Node(name="n", kind=Cache(body=deep))
    assert len(list(deep.walk())) == 5_001


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
