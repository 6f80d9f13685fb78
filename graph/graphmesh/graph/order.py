"""The order in which a graph's nodes can run.

Kahn's algorithm, level by level, in time linear in nodes and edges and without recursion: a chain of 1,000 nodes must
not meet the interpreter's recursion limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.graph.spec import Graph, Node

__all__ = ["levels", "producers"]


def producers(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return for every node the nodes it reads from, each once, in the order of its inputs."""
    return {
        node.name: tuple(dict.fromkeys(binding.node for binding in node.inputs if binding.node)) for node in graph.nodes
    }


def levels(graph: Graph) -> tuple[tuple[Node, ...], ...]:
    """Return the nodes so that each reads only from levels before its own; within a level as the author wrote them.

    Raises:
        InvalidGraph: nodes read from one another in a cycle; names the nodes on it (INVALID_ARGUMENT, retry: no).
    """
    needs = producers(graph)
    level: dict[str, int] = {}
    left = {name: len(names) for name, names in needs.items()}
    readers: dict[str, list[str]] = {name: [] for name in needs}
    for name, names in needs.items():
        for producer in names:
            readers[producer].append(name)
    ready = [name for name, count in left.items() if count == 0]
    for name in ready:  # grows while it is walked
        level[name] = 1 + max((level[producer] for producer in needs[name]), default=-1)
        for reader in readers[name]:
            left[reader] -= 1
            if left[reader] == 0:
                ready.append(reader)
    if len(level) < len(needs):
        raise InvalidGraph(f"nodes must not read from one another in a cycle, got {_cycle(needs, level)}")
    result: list[list[Node]] = [[] for _ in range(1 + max(level.values(), default=-1))]
    for node in graph.nodes:
        result[level[node.name]].append(node)
    return tuple(tuple(nodes) for nodes in result)


def _cycle(needs: Mapping[str, Sequence[str]], done: Mapping[str, int]) -> str:
    """Return one cycle as ``a -> b -> a``: follow unfinished producers until a node comes again."""
    name = next(name for name in needs if name not in done)
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        name = next(producer for producer in needs[name] if producer not in done)
    cycle = [*seen[seen.index(name) :], name]
    return " -> ".join(reversed(cycle))
