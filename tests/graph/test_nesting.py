"""Graphs inside graphs, and how many calls one request leads to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.nesting import check_calls, count_calls
from graphmesh.graph.limits import MAX_CALLS
from graphmesh.graph.spec import (
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphCall,
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

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind


def _call(name: str, target: str) -> Node:
    """Make a node that calls a graph, or a model if its name is in upper case."""
    return Node(name=name, kind=ModelCall(name=target.lower()) if target.isupper() else GraphCall(name=target))


def _calls(name: str, *targets: str) -> Graph:
    """Make a graph whose nodes n0, n1, ... call graphs and models."""
    return Graph(name=name, nodes=tuple(_call(f"n{index}", target) for index, target in enumerate(targets)))


THREE = Node(name="three", kind=Parallel(branches=(_call("a", "M"), _call("b", "M"), _call("c", "M"))))
ONE = _call("one", "M")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ModelCall(name="m"), 1),
        (GraphCall(name="seven"), 7),
        (Map(target=GraphCall(name="seven"), over=("x",)), 70),
        (Map(target=ModelCall(name="m"), over=("x",), batch_size=4), 3),
        (Switch(cases=(Case(when="true", then=THREE),), default=ONE), 3),
        (Switch(cases=(Case(when="true", then=ONE),)), 1),
        (Split(shares=(Share(weight=0, then=ONE), Share(weight=1, then=THREE))), 3),
        (Parallel(branches=(ONE, THREE)), 4),
        (Fallback(branches=(ONE, THREE)), 4),
        (Cascade(branches=(ONE, THREE), confidence="p", threshold=0.5), 4),
        (Race(branches=(ONE, THREE)), 4),
        (Race(branches=(THREE,)), 6),
        (Loop(body=THREE, max_iterations=10), 30),
        (Cache(body=THREE), 3),
        (Transform(operations=()), 0),
    ],
)
def test_the_worst_case_of_each_kind(kind: Kind, expected: int) -> None:
    """One of the branches, or all of them, as often as they may be run; a map as often as it has items."""
    graph = Graph(name="g", nodes=(Node(name="n", kind=kind), Node(name="rest", kind=Loop(body=ONE, max_iterations=1))))
    calls = count_calls(graph, {"seven": _calls("seven", *"MMMMMMM")}.get)
    room = Graph(name="g", nodes=(*graph.nodes, _many(MAX_CALLS - expected - 1)))
    check_calls(room, calls, {"n": 10})
    with pytest.raises(InvalidGraph) as caught:
        check_calls(Graph(name="g", nodes=(*room.nodes, ONE)), calls, {"n": 10})
    assert caught.value.message == (
        f"one request must not lead to more than 10000 calls, got 10001, {MAX_CALLS - expected - 1} of them from node "
        f"many"
    )


def _many(count: int) -> Node:
    """Make a node of so many calls."""
    return Node(name="many", kind=Loop(body=ONE, max_iterations=count))


def test_a_map_in_a_branch_is_counted_by_its_path() -> None:
    """Items of maps inside branches multiply too, and loops around them."""
    each = Node(name="each", kind=Map(target=ModelCall(name="m"), over=("x",)))
    graph = Graph(name="g", nodes=(Node(name="again", kind=Loop(body=each, max_iterations=101)),))
    check_calls(graph, {}, {"again/each": 99})
    with pytest.raises(InvalidGraph, match="got 10100, 10100 of them from node again"):
        check_calls(graph, {}, {"again/each": 100})


def test_calls_are_counted_through_nested_graphs() -> None:
    """A call of a graph leads to all calls inside it, also those of its branches; a map there to those of one item."""
    loop = Node(name="loop", kind=Loop(body=Node(name="c", kind=GraphCall(name="c")), max_iterations=5))
    each = Node(name="each", kind=Map(target=ModelCall(name="m"), over=("x",)))
    graphs = {
        "b": Graph(name="b", nodes=(ONE, loop)),
        "c": Graph(name="c", nodes=(each,)),
    }
    assert count_calls(_calls("a", "M", "b", "c"), graphs.get) == {"b": 6, "c": 1}


def test_a_cycle_through_graphs_shows_the_way() -> None:
    """Graphs that come back to themselves, or to one another further down, are refused, also through branches."""
    inside = Graph(name="c", nodes=(ONE, Node(name="safe", kind=Fallback(branches=(ONE, _call("two", "a"))))))
    graphs = {"b": _calls("b", "c"), "c": inside, "d": _calls("d", "e"), "e": _calls("e", "d")}
    with pytest.raises(
        InvalidGraph, match="node safe: graphs must not call one another in a cycle, got a -> b -> c -> a"
    ):
        count_calls(_calls("a", "b"), graphs.get)
    with pytest.raises(InvalidGraph, match="got a -> d -> e -> d"):
        count_calls(_calls("a", "d"), graphs.get)


def test_a_graph_that_is_gone_shows_the_way_to_it() -> None:
    """A nested graph that calls a deleted one cannot work, and the message says through which."""
    graphs = {"b": _calls("b", "c")}
    with pytest.raises(InvalidGraph, match="node n0: there is no graph 'c', called on the way a -> b -> c"):
        count_calls(_calls("a", "b"), graphs.get)


def test_eight_graphs_deep_is_the_limit() -> None:
    """The outermost counts; one more is refused, also when the deep part was measured by a shorter way before."""
    chain = {f"g{i}": _calls(f"g{i}", f"g{i + 1}") for i in range(30)} | {"g30": _calls("g30", "M")}
    assert count_calls(_calls("a", "g24"), chain.get) == {"g24": 1}
    with pytest.raises(InvalidGraph, match=r"node n0: at most 8 graphs may be inside one another, got a -> g0 -> "):
        count_calls(_calls("a", "g0"), chain.get)
    chain["side"] = _calls("side", "g24")
    with pytest.raises(
        InvalidGraph, match="node n0: at most 8 graphs may be inside one another, got 9 by a -> side -> g24"
    ):
        count_calls(_calls("a", "g24", "side"), chain.get)


def test_twenty_levels_of_doubling_are_refused_in_under_a_second() -> None:
    """As graphs they are too deep; seven levels are counted, not walked; as loops they are multiplied, not run."""
    levels = {f"g{i}": _calls(f"g{i}", f"g{i + 1}", f"g{i + 1}") for i in range(20)} | {"g20": _calls("g20", "M")}
    loop = ONE
    for depth in range(20):
        loop = Node(name=f"l{depth}", kind=Loop(body=loop, max_iterations=2))
    start = time.perf_counter()
    with pytest.raises(InvalidGraph):
        count_calls(_calls("a", "g0"), levels.get)
    assert count_calls(_calls("a", "g14"), levels.get) == {"g14": 64}
    with pytest.raises(InvalidGraph, match="got 1048576, 1048576 of them from node l19"):
        check_calls(Graph(name="g", nodes=(loop,)), {}, {})
    assert time.perf_counter() - start < 1


def test_wide_graphs_in_one_another_are_refused_without_being_walked() -> None:
    """A thousand calls at each of seven levels are a number of 21 digits, found at once."""
    levels = {f"g{i}": _calls(f"g{i}", *[f"g{i + 1}"] * 1000) for i in range(6)} | {"g6": _calls("g6", "M")}
    outermost = _calls("a", "g0")
    start = time.perf_counter()
    calls = count_calls(outermost, levels.get)
    with pytest.raises(InvalidGraph, match=f"got {1000**6}, {1000**6} of them from node n0"):
        check_calls(outermost, calls, {})
    assert time.perf_counter() - start < 1
