"""What a snapshot tells of models."""

from __future__ import annotations

from dataclasses import replace

from graphmesh.registry import HostedModel, ModelState, Snapshot, WorkerRecord, WorkerState
from tests.registry.fakes import signature, worker

OLD, NEW = signature("old"), signature("new")


def _hosting(worker_id: str, *versions: tuple[str, str], state: ModelState = ModelState.AVAILABLE) -> WorkerRecord:
    models = tuple(
        HostedModel(name="m", version=version, state=state, signature_digest=digest) for version, digest in versions
    )
    return replace(worker(worker_id), models=models)


def test_served_signatures_are_those_of_available_replicas() -> None:
    """Versions by model; what is loading, draining, or not said yet is left out."""
    workers = [
        _hosting("w1", ("1", OLD.digest), ("2", NEW.digest)),
        _hosting("w2", ("3", NEW.digest), state=ModelState.LOADING),
        replace(_hosting("w3", ("4", NEW.digest)), state=WorkerState.DRAINING),
        _hosting("w4", ("5", "unknown")),
    ]
    snapshot = Snapshot(
        workers={one.worker_id: one for one in workers}, signatures={one.digest: one for one in (OLD, NEW)}
    )
    assert snapshot.served == {"m": {"1": OLD, "2": NEW}}


def test_replicas_that_differ_are_the_first_workers() -> None:
    """Of two replicas of one version with different signatures one counts, the same for every reader."""
    workers = [_hosting("w1", ("1", OLD.digest)), _hosting("w2", ("1", NEW.digest))]
    snapshot = Snapshot(
        workers={one.worker_id: one for one in workers}, signatures={one.digest: one for one in (OLD, NEW)}
    )
    assert snapshot.served == {"m": {"1": OLD}}
