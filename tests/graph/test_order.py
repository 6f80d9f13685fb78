"""The order in which nodes run."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.order import levels, producers
from graphmesh.graph.spec import Binding, Graph, ModelCall, Node


def _graph(**reads: str) -> Graph:
    nodes = tuple(
        Node(
            name=name,
            kind=ModelCall(name="m"),
            inputs=tuple(Binding(name=f"x{i}", source=source) for i, source in enumerate(sources.split())),
        )
        for name, sources in reads.items()
    )
    return Graph(name="g", nodes=nodes)


def test_nodes_come_after_what_they_read() -> None:
    """Each node is one level below the lowest that it reads from; inside a level the author's order holds."""
    graph = _graph(d="b.y c.y", c="a.y", b="a.y in", a="in", e="in")
    assert [[node.name for node in level] for level in levels(graph)] == [["a", "e"], ["c", "b"], ["d"]]


def test_producers_are_named_once() -> None:
    """Two edges from one node count as one producer; graph inputs count as none."""
    assert producers(_graph(b="a.x a.y in", a="in")) == {"b": ("a",), "a": ()}


def test_a_cycle_is_shown_in_the_direction_of_its_edges() -> None:
    """The message follows the data: what reads comes after what it reads from."""
    with pytest.raises(InvalidGraph, match="must not read from one another in a cycle, got a -> c -> b -> a"):
        levels(_graph(start="in", a="b.y start.y", b="c.y", c="a.y", tail="c.y"))


def test_a_long_chain_needs_no_recursion() -> None:
    """A chain of many nodes is as good as any other graph."""
    graph = _graph(n0="in", **{f"n{i}": f"n{i - 1}.y" for i in range(1, 3000)})
    assert len(levels(graph)) == 3000


def test_no_nodes_have_no_levels() -> None:
    """An empty graph is empty."""
    assert levels(Graph(name="g")) == ()
