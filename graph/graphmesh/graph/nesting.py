"""Graphs inside graphs: no cycles, not too deep, and not more calls than one request may lead to.

Every graph is measured once, however many others call it, so that doubling at every level costs nothing to refuse.
Lengths of maps inside nested graphs are not known here and count as one item; a run counts the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_CALLS, MAX_DEPTH
from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.graph.spec import Graph

__all__ = ["check_calls", "count_calls"]


@dataclass(frozen=True, slots=True)
class _Measure:
    height: int
    """Graphs on the longest way down, itself counted."""
    calls: int
    """Calls of models by one call of the graph."""


class _Nesting:
    """Measures graphs depth first; ``path`` is the way down from the outermost graph."""

    def __init__(self, graphs: Callable[[str], Graph | None]) -> None:
        self._graphs = graphs
        self._measured: dict[str, _Measure] = {}

    def by_node(self, graph: Graph, path: tuple[str, ...]) -> dict[str, _Measure]:
        """Measure what each node of a graph calls."""
        return {
            node.name: self._named(node.target.name, f"node {node.name}", path)
            if isinstance(node.target, GraphCall)
            else _Measure(0, 1)
            for node in graph.nodes
        }

    def _named(self, name: str, where: str, path: tuple[str, ...]) -> _Measure:
        way = " -> ".join((*path, name))
        if name in path:
            raise InvalidGraph(f"{where}: graphs must not call one another in a cycle, got {way}")
        measure = self._measured.get(name)
        if measure is None:
            if len(path) >= MAX_DEPTH:
                raise InvalidGraph(f"{where}: at most {MAX_DEPTH} graphs may be inside one another, got {way}")
            graph = self._graphs(name)
            if graph is None:
                raise InvalidGraph(f"{where}: there is no graph {name!r}, called on the way {way}")
            measure = _together(self.by_node(graph, (*path, name)))
            self._measured[name] = measure
        if len(path) + measure.height > MAX_DEPTH:
            depth = len(path) + measure.height
            raise InvalidGraph(f"{where}: at most {MAX_DEPTH} graphs may be inside one another, got {depth} by {way}")
        return measure


def _together(measures: Mapping[str, _Measure]) -> _Measure:
    return _Measure(
        height=1 + max((measure.height for measure in measures.values()), default=0),
        calls=sum(measure.calls for measure in measures.values()),
    )


def count_calls(graph: Graph, graphs: Callable[[str], Graph | None]) -> dict[str, int]:
    """Return for every node how many calls of models one call of its target leads to.

    Raises:
        InvalidGraph: graphs that call one another in a cycle, too deeply, or that do not exist; names the node and the
            way (INVALID_ARGUMENT, retry: no).
    """
    return {name: measure.calls for name, measure in _Nesting(graphs).by_node(graph, (graph.name,)).items()}


def check_calls(calls: Mapping[str, int], repeats: Mapping[str, int]) -> None:
    """Check the calls of one request.

    Args:
        calls: What `count_calls` returned.
        repeats: How often a map calls its target, for the maps whose length is known.

    Raises:
        InvalidGraph: more than `MAX_CALLS`; names the node with most of them (INVALID_ARGUMENT, retry: no).
    """
    products = {name: count * repeats.get(name, 1) for name, count in calls.items()}
    total = sum(products.values())
    if total > MAX_CALLS:
        worst = max(products, key=lambda name: products[name])
        raise InvalidGraph(
            f"one request must not lead to more than {MAX_CALLS} calls, got {total}, "
            f"{products[worst]} of them from node {worst}"
        )
