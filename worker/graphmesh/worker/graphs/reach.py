"""What is inside a graph, and whether it can run: in this process alone, or at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.spec import Fallback, GraphCall, Join, Parallel, Race

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.spec import Node, Target
    from graphmesh.worker.graphs.catalog import Bound, GraphCatalog

__all__ = ["all_here", "inside", "reachable"]


def inside(bound: Bound, owner: GraphCatalog) -> dict[str, Bound]:
    """Return every graph that a graph may come to call, nested ones too, by name."""
    found: dict[str, Bound] = {}
    left = [bound]
    for graph in left:  # grows while it is walked
        for target in graph.plan.targets:
            nested = owner.bind(target.name, graph.snapshot) if isinstance(target, GraphCall) else None
            if nested is not None and target.name not in found:
                found[target.name] = nested
                left.append(nested)
    return found


def all_here(bound: Bound, within: Mapping[str, Bound]) -> bool:
    """Return whether everything that a graph may call can run in this process now; ``within``: what `inside` found."""
    return all(
        target.name in within if isinstance(target, GraphCall) else graph.versions.here(target) is not None
        for graph in (bound, *within.values())
        for target in graph.plan.targets
    )


def reachable(bound: Bound, owner: GraphCatalog) -> bool:
    """Return whether every step that a run needs has somewhere to run now, here or in the mesh.

    Of a fallback, a race and a parallel step that does not need all, as many branches must as it needs.
    """
    return _Reach(owner).graph(bound)


class _Reach:
    """One look at a graph and those inside it, each of which is looked at once."""

    def __init__(self, owner: GraphCatalog) -> None:
        self._owner = owner
        self._known: dict[str, bool] = {}

    def graph(self, bound: Bound) -> bool:
        name = bound.record.name
        if name not in self._known:
            self._known[name] = all(self._node(node, bound) for node in bound.graph.nodes)
        return self._known[name]

    def _node(self, node: Node, bound: Bound) -> bool:
        if node.target is not None:
            return self._somewhere(node.target, bound)
        found = [self._node(branch, bound) for branch in node.branches]
        match node.kind:
            case Fallback() | Race() | Parallel(join=Join.ANY | Join.FIRST):
                return any(found)
            case Parallel(join=Join.QUORUM, quorum=quorum):
                return sum(found) >= quorum
            case _:
                return all(found)

    def _somewhere(self, target: Target, bound: Bound) -> bool:
        if isinstance(target, GraphCall):
            nested = self._owner.bind(target.name, bound.snapshot)
            return nested is not None and self.graph(nested)
        if bound.versions.here(target) is not None:
            return True
        hosted = {model.version for _, model in bound.snapshot.available(target.name)}
        version = bound.versions.elsewhere(target)
        return version in hosted if version else bool(hosted)
