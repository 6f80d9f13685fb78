"""What the graphs of a snapshot call, read from their documents once for as long as they stay the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError
from graphmesh.graph.forms.wire import graph_from_bytes
from graphmesh.graph.placing.usage import Uses, targets_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.spec import Graph, Target
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["graph_of", "uses_of"]


def uses_of(snapshot: Snapshot, pins: Mapping[str, Mapping[str, str]]) -> Uses:
    """Return the models that a snapshot's graphs call.

    Args:
        snapshot: The registry.
        pins: By graph, the versions of models that it must use.
    """

    def targets(name: str) -> Mapping[Target, float] | None:
        record = snapshot.graphs.get(name)
        return None if record is None else _targets(record.document)

    return Uses(targets, pins)


def graph_of(snapshot: Snapshot, name: str) -> Graph | None:
    """Return the live revision of a graph; None if there is none, or none that can be read."""
    record = snapshot.graphs.get(name)
    return None if record is None else _parsed(record.document)


@functools.lru_cache(maxsize=4096)
def _parsed(document: bytes) -> Graph | None:
    try:
        return graph_from_bytes(document)
    except GraphmeshError:
        return None


@functools.lru_cache(maxsize=4096)
def _targets(document: bytes) -> Mapping[Target, float] | None:
    graph = _parsed(document)
    return None if graph is None else targets_of(graph)
