"""The order in which graphs can be applied: each after those of them that it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.graph.spec import Graph

__all__ = ["callees_first"]


def callees_first(graphs: Sequence[Graph]) -> list[int]:
    """Return the positions of graphs so that each comes after those that it calls; else as they are given.

    Graphs that call one another in a cycle come last, as they are given: the check of the first of them names it.
    """
    waiting = dict(enumerate(graphs))
    order: list[int] = []
    while waiting:
        names = {graph.name for graph in waiting.values()}
        ready = [at for at, graph in waiting.items() if not _called(graph) & names - {graph.name}] or list(waiting)
        order += ready
        waiting = {at: graph for at, graph in waiting.items() if at not in ready}
    return order


def _called(graph: Graph) -> set[str]:
    return {target.name for node in graph.nodes for target in node.targets() if isinstance(target, GraphCall)}
