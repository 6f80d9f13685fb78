"""The mesh at one moment: what readers of the registry are handed, whole and never changed."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphmesh.registry.records import ModelState, WorkerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.registry.records import GatewayRecord, GraphRecord, HostedModel, ModelSpec, WorkerRecord

__all__ = ["Replica", "Snapshot"]

Replica = tuple["WorkerRecord", "HostedModel"]
"""A worker and one of the model versions it hosts."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything registered, as of one revision. Mappings are read-only and in key order."""

    cluster_id: int = 0
    """The store's identity."""
    revision: int = 0
    """Every change up to this one is in here."""
    workers: Mapping[str, WorkerRecord] = field(default_factory=dict)
    """By worker id; includes the held ones."""
    gateways: Mapping[str, GatewayRecord] = field(default_factory=dict)
    """By gateway id."""
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """By name."""
    graphs: Mapping[str, GraphRecord] = field(default_factory=dict)
    """By name: the live revisions."""
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    """By digest."""
    held: frozenset[str] = frozenset()
    """Workers whose records vanished unannounced and whose health checks pass."""

    @functools.cached_property
    def _replicas(self) -> Mapping[str, tuple[Replica, ...]]:
        found: defaultdict[str, list[Replica]] = defaultdict(list)
        for worker in self.workers.values():
            for model in worker.models:
                found[model.name].append((worker, model))
        return {name: tuple(replicas) for name, replicas in found.items()}

    def replicas(self, model: str) -> tuple[Replica, ...]:
        """Return every worker that hosts the model, in whatever state, one entry a version, by worker id."""
        return self._replicas.get(model, ())

    def available(self, model: str) -> tuple[Replica, ...]:
        """Return the replicas that requests may be sent to: AVAILABLE ones of READY workers."""
        return tuple(
            (worker, hosted)
            for worker, hosted in self.replicas(model)
            if worker.state is WorkerState.READY and hosted.state is ModelState.AVAILABLE
        )

    @functools.cached_property
    def served(self) -> Mapping[str, Mapping[str, Signature]]:
        """The signatures of models that requests may be sent to now, by model and version.

        While replicas of one version differ, as when one was loaded again, that of the first worker by id counts.
        """
        found: defaultdict[str, dict[str, Signature]] = defaultdict(dict)
        for name in self._replicas:
            for _, hosted in self.available(name):
                signature = self.signatures.get(hosted.signature_digest)
                if signature is not None:
                    found[name].setdefault(hosted.version, signature)
        return dict(found)

    def signature_of(self, name: str) -> Signature | None:
        """Return what a model or graph takes and gives.

        A graph has its own. A model's is that of its newest version among available replicas, else among all; None
        while no replica has said.
        """
        if graph := self.graphs.get(name):
            return graph.signature
        for replicas in (self.available(name), self.replicas(name)):
            for _, hosted in sorted(replicas, key=lambda replica: int(replica[1].version), reverse=True):
                if signature := self.signatures.get(hosted.signature_digest):
                    return signature
        return None
