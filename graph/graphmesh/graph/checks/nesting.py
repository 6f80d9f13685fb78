"""Graphs inside graphs: no cycles, not too deep, and not more calls than one request may lead to.

Calls are counted for the worst case: the branch with most calls of those of which one is run, all branches where each
may come to be run, a loop as often as it may go round. Every graph is measured once, however many others call it, so
that doubling at every level costs nothing to refuse. Lengths of maps inside nested graphs are not known here and count
as one item; a run counts the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_CALLS, MAX_DEPTH
from graphmesh.graph.spec import GraphCall, Loop, Map, Race, Split, Switch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.graph.spec import Graph, Node

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

    def inside(self, graph: Graph, path: tuple[str, ...]) -> dict[str, _Measure]:
        """Measure each graph that a graph calls, by name."""
        measures: dict[str, _Measure] = {}
        for node in graph.nodes:
            for target in node.targets():
                if isinstance(target, GraphCall) and target.name not in measures:
                    measures[target.name] = self._named(target.name, f"node {node.name}", path)
        return measures

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
            measure = _together(graph, self.inside(graph, (*path, name)))
            self._measured[name] = measure
        if len(path) + measure.height > MAX_DEPTH:
            depth = len(path) + measure.height
            raise InvalidGraph(f"{where}: at most {MAX_DEPTH} graphs may be inside one another, got {depth} by {way}")
        return measure


def _together(graph: Graph, measures: Mapping[str, _Measure]) -> _Measure:
    calls = {name: measure.calls for name, measure in measures.items()}
    return _Measure(
        height=1 + max((measure.height for measure in measures.values()), default=0),
        calls=sum(_worst(node, node.name, calls, {}) for node in graph.nodes),
    )


def count_calls(graph: Graph, graphs: Callable[[str], Graph | None]) -> dict[str, int]:
    """Return how many calls of models one call of each graph inside this one leads to at most, by name.

    Raises:
        InvalidGraph: graphs that call one another in a cycle, too deeply, or that do not exist; names the node and the
            way (INVALID_ARGUMENT, retry: no).
    """
    return {name: measure.calls for name, measure in _Nesting(graphs).inside(graph, (graph.name,)).items()}


def check_calls(graph: Graph, calls: Mapping[str, int], items: Mapping[str, int]) -> None:
    """Check the calls of one request.

    Args:
        graph: The graph.
        calls: What `count_calls` returned.
        items: How many items a map has, by its path, for the maps of which that is known.

    Raises:
        InvalidGraph: more than `MAX_CALLS`; names the node with most of them (INVALID_ARGUMENT, retry: no).
    """
    counts = {node.name: _worst(node, node.name, calls, items) for node in graph.nodes}
    total = sum(counts.values())
    if total > MAX_CALLS:
        worst = max(sorted(counts), key=lambda name: counts[name])
        raise InvalidGraph(
            f"one request must not lead to more than {MAX_CALLS} calls, got {total}, "
            f"{counts[worst]} of them from node {worst}"
        )


def _worst(node: Node, path: str, calls: Mapping[str, int], items: Mapping[str, int]) -> int:
    """Return how many calls of models one run of a step leads to at most."""
    target = node.target
    if target is not None:
        once = calls[target.name] if isinstance(target, GraphCall) else 1
        return once * (-(-items.get(path, 1) // (node.kind.batch_size or 1)) if isinstance(node.kind, Map) else 1)
    inside = [_worst(branch, f"{path}/{branch.name}", calls, items) for branch in node.branches]
    match node.kind:
        case Switch() | Split():
            return max(inside)
        case Loop(max_iterations=most):
            return most * sum(inside)
        case Race(branches=branches) if len(branches) == 1:
            return 2 * sum(inside)
        case _:
            return sum(inside)
