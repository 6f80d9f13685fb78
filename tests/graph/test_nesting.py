"""Graphs inside graphs."""

from __future__ import annotations

import time

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.nesting import check_calls, count_calls
from graphmesh.graph.spec import Graph, GraphCall, Map, ModelCall, Node


def _calls(name: str, *targets: str, mapped: bool = False) -> Graph:
    """Make a graph whose nodes n0, n1, ... call graphs (upper-case names: models)."""
    nodes = []
    for index, target in enumerate(targets):
        call = ModelCall(name=target.lower()) if target.isupper() else GraphCall(name=target)
        nodes.append(Node(name=f"n{index}", kind=Map(target=call, over=("x",)) if mapped else call))
    return Graph(name=name, nodes=tuple(nodes))


def test_calls_are_counted_through_nested_graphs() -> None:
    """A node that calls a graph leads to all calls of that graph, a map to those of one item."""
    graphs = {"b": _calls("b", "M", "M", "c"), "c": _calls("c", "M", mapped=True)}
    assert count_calls(_calls("a", "M", "b", "c"), graphs.get) == {"n0": 1, "n1": 3, "n2": 1}


def test_a_cycle_through_graphs_shows_the_way() -> None:
    """Graphs that come back to themselves, or to one another further down, are refused."""
    graphs = {"b": _calls("b", "c"), "c": _calls("c", "M", "a"), "d": _calls("d", "e"), "e": _calls("e", "d")}
    with pytest.raises(
        InvalidGraph, match="node n1: graphs must not call one another in a cycle, got a -> b -> c -> a"
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
    assert count_calls(_calls("a", "g24"), chain.get) == {"n0": 1}
    with pytest.raises(InvalidGraph, match=r"node n0: at most 8 graphs may be inside one another, got a -> g0 -> "):
        count_calls(_calls("a", "g0"), chain.get)
    chain["side"] = _calls("side", "g24")
    with pytest.raises(
        InvalidGraph, match="node n0: at most 8 graphs may be inside one another, got 9 by a -> side -> g24"
    ):
        count_calls(_calls("a", "g24", "side"), chain.get)


def test_doubling_costs_nothing_to_refuse() -> None:
    """Twenty levels of two calls each are refused in under a second; seven levels are counted, not walked."""
    levels = {f"g{i}": _calls(f"g{i}", f"g{i + 1}", f"g{i + 1}") for i in range(20)} | {"g20": _calls("g20", "M")}
    start = time.perf_counter()
    with pytest.raises(InvalidGraph):
        count_calls(_calls("a", "g0"), levels.get)
    assert count_calls(_calls("a", "g14"), levels.get) == {"n0": 64}
    assert time.perf_counter() - start < 1


def test_the_budget_of_calls_names_the_worst_node() -> None:
    """Calls of one request are limited, known lengths of maps multiplied in."""
    check_calls({"a": 5_000, "b": 5_000}, {})
    with pytest.raises(InvalidGraph, match="not lead to more than 10000 calls, got 12001, 12000 of them from node b"):
        check_calls({"a": 1, "b": 12}, {"b": 1000})
