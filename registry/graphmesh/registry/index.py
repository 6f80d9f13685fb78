"""What is hosted, as entries of the Open Inference Protocol's repository index.

A version with several replicas is one entry: the best of their states, and the reason of a replica in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.oip import READY
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.registry.records import ModelState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.registry.records import HostedModel

__all__ = ["graph_entry", "index_entries"]

_STATES = {
    ModelState.AVAILABLE: READY,
    ModelState.LOADING: "LOADING",
    ModelState.UNLOADING: "UNLOADING",
    ModelState.FAILED: "UNAVAILABLE",
    ModelState.UNLOADED: "UNAVAILABLE",
}
"""The protocol's word for each state, best first."""
_BEST = list(_STATES)


def index_entries(
    hosted: Iterable[HostedModel], known: Mapping[str, Iterable[str]]
) -> list[pb.RepositoryIndexResponse.ModelIndex]:
    """Return one entry a version.

    Args:
        hosted: Replicas, of one worker or of many.
        known: Versions by name of models that may have no replica.
    """
    best: dict[tuple[str, str], HostedModel | None] = {
        (name, version): None for name, versions in known.items() for version in versions
    }
    for model in hosted:
        key = model.name, model.version
        before = best.get(key)
        if before is None or _BEST.index(model.state) < _BEST.index(before.state):
            best[key] = model
    order = sorted(best, key=lambda key: (key[0], int(key[1])))
    return [_entry(name, version, best[name, version]) for name, version in order]


def _entry(name: str, version: str, model: HostedModel | None) -> pb.RepositoryIndexResponse.ModelIndex:
    entry = pb.RepositoryIndexResponse.ModelIndex(name=name, version=version)
    if model is None:
        entry.state, entry.reason = "UNAVAILABLE", "no worker hosts it now"
        return entry
    entry.state = _STATES[model.state]
    if model.state is not ModelState.AVAILABLE:
        entry.reason = model.message or ("unloaded" if model.state is ModelState.UNLOADED else "")
    return entry


def graph_entry(name: str, revision: str, *, reason: str) -> pb.RepositoryIndexResponse.ModelIndex:
    """Return the entry of a graph; ``reason`` says why it cannot run, and is empty if it can."""
    state = "UNAVAILABLE" if reason else READY
    return pb.RepositoryIndexResponse.ModelIndex(name=name, version=revision, state=state, reason=reason)
