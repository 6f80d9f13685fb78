"""Places in a graph: what a path such as ``route/cheap`` or ``read[3]`` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphmesh.graph.spec import Graph, Node

__all__ = ["Place", "kind_of", "place_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """A step or branch."""

    name: str
    """Its own name."""
    path: str
    """With the names of the steps around it, without the numbers of calls."""
    node: Node | None
    """What is there; None for a path that the graph does not have."""


def place_of(graph: Graph, path: str) -> Iterator[Place]:
    """Return the places on the way to what ``path`` names, from the outermost in."""
    around: tuple[Node, ...] = graph.nodes
    whole = ""
    for segment in path.split("/"):
        name = segment.partition("[")[0]
        whole = f"{whole}/{name}" if whole else name
        node = next((node for node in around if node.name == name), None)
        yield Place(name, whole, node)
        around = node.branches if node is not None else ()


def kind_of(node: Node | None) -> str:
    """Return a step's kind as graphs write it, ``model`` or ``switch``; empty for none."""
    return "" if node is None else type(node.kind).__name__.removesuffix("Call").lower()
