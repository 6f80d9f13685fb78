"""How many steps a graph has and how deep they go, found without recursion and before anything else is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_BRANCH_DEPTH, MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["check_extent"]

_N = TypeVar("_N")


def check_extent(nodes: Sequence[_N], branches: Callable[[_N], Sequence[_N]]) -> None:
    """Check how many steps there are, those inside others counted, and how deep they go.

    Args:
        nodes: The outermost steps, as values or as messages.
        branches: The steps directly inside one.

    Raises:
        InvalidGraph: more than `MAX_NODES`, or deeper than `MAX_BRANCH_DEPTH` (INVALID_ARGUMENT, retry: no).
    """
    level, depth, total = nodes, 1, len(nodes)
    while level:
        if total > MAX_NODES:
            raise InvalidGraph(
                f"a graph has at most {MAX_NODES} nodes, branches counted, got {total} or more; nest graphs instead"
            )
        if depth > MAX_BRANCH_DEPTH:
            raise InvalidGraph(
                f"at most {MAX_BRANCH_DEPTH} steps may be inside one another, got more; make the inner ones a graph"
            )
        level = [inner for node in level for inner in branches(node)]
        depth, total = depth + 1, total + len(level)
