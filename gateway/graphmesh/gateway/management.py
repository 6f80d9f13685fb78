"""What the gateway answers for the mesh: the index from the registry, the rest by asking the workers that know.

A worker that does not answer is left out of statistics (its counts would start anew anyway); a load or unload that it
misses is an error that names it. Once a model is loaded that no worker had, the answer waits until every gateway sends
calls to it, so that an inference after it finds the model.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from graphmesh.core.errors import DeadlinePassed, FailedPrecondition, GraphmeshError, Unavailable
from graphmesh.gateway.absent import reason
from graphmesh.gateway.fan_out import joined, summed
from graphmesh.gateway.workers import ask
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.registry.index import graph_entry, index_entries
from graphmesh.registry.records import WorkerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from graphmesh.gateway.view import View
    from graphmesh.registry.records import WorkerRecord
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["MeshManagement"]

logger = logging.getLogger(__name__)

_STATISTICS_WITHIN_S = 2.0
_SPREAD_WITHIN_S = 2.0
_T = TypeVar("_T")


class MeshManagement:
    """The `graphmesh.core.oip.Management` of the mesh."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def index(self) -> Sequence[pb.RepositoryIndexResponse.ModelIndex]:
        """Return every version of every model that the mesh knows, and every graph."""
        snapshot = self._view.current()
        hosted = (model for worker in snapshot.workers.values() for model in worker.models)
        known = {name: spec.versions for name, spec in snapshot.models.items()}
        return [
            *index_entries(hosted, known),
            *(
                graph_entry(name, str(record.revision), reason=self._view.standing(name).problem)
                for name, record in sorted(snapshot.graphs.items())
            ),
        ]

    async def load(self, name: str) -> None:
        """Load a model on every worker that was given it."""
        workers, before = self._holders(name), self._view.current()
        request = pb.RepositoryModelLoadRequest(model_name=name)
        await self._everywhere(
            "loaded",
            workers,
            lambda worker: ask(worker, "RepositoryModelLoad", request, pb.RepositoryModelLoadResponse, timeout_s=None),
        )
        if not before.available(name):
            await self._spread(name, before)

    async def unload(self, name: str) -> None:
        """Unload a model on every worker that has it."""
        request = pb.RepositoryModelUnloadRequest(model_name=name)
        await self._everywhere(
            "unloaded",
            self._holders(name),
            lambda worker: ask(
                worker, "RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse, timeout_s=None
            ),
        )

    async def statistics(self, name: str, version: str) -> Sequence[pb.ModelStatistics]:
        """Return the statistics of all replicas, added up."""
        snapshot = self._view.current()
        asked = _who_counts(snapshot, name, version)
        if name and not asked:
            raise reason(snapshot, name, version)
        request = pb.ModelStatisticsRequest(name=name, version=version)
        answers = await _all(
            ask(worker, "ModelStatistics", request, pb.ModelStatisticsResponse, timeout_s=_STATISTICS_WITHIN_S)
            for worker in asked
        )
        found = [answer for answer in answers if isinstance(answer, pb.ModelStatisticsResponse)]
        if asked and not found:
            raise Unavailable(f"none of {len(asked)} workers answered; repeat in a moment")
        return summed(part for answer in found for part in answer.model_stats)

    async def config(self, name: str, version: str) -> pb.ModelConfig:
        """Say why no worker answers for a model; those that one serves are asked there."""
        raise reason(self._view.current(), name, version)

    def _holders(self, name: str) -> list[WorkerRecord]:
        """Return the workers that a model was given to, whatever its state there."""
        snapshot = self._view.current()
        if name in snapshot.graphs:
            raise FailedPrecondition(f"{name!r} is a graph, which needs no loading; load the models that it calls")
        workers = {worker.worker_id: worker for worker, _ in snapshot.replicas(name)}
        if not workers:
            raise reason(snapshot, name)
        return list(workers.values())

    async def _everywhere(
        self, done: str, workers: Sequence[WorkerRecord], call: Callable[[WorkerRecord], Awaitable[object]]
    ) -> None:
        answers = await _all(call(worker) for worker in workers)
        outcomes = {
            worker.worker_id: answer if isinstance(answer, GraphmeshError) else None
            for worker, answer in zip(workers, answers, strict=True)
        }
        if error := joined(done, outcomes):
            raise error

    async def _spread(self, name: str, before: Snapshot) -> None:
        """Wait until every live gateway sends calls to a replica; one that just died is not waited for long."""
        mirror = self._view.mirror
        if mirror is None:
            return
        try:
            await mirror.wait_for(
                lambda snapshot: (
                    bool(snapshot.available(name))
                    and all(gateway.synced_revision > before.revision for gateway in snapshot.gateways.values())
                ),
                _SPREAD_WITHIN_S,
            )
        except DeadlinePassed:
            logger.warning("a loaded model is not routed everywhere yet model=%s", name)


def _who_counts(snapshot: Snapshot, name: str, version: str) -> list[WorkerRecord]:
    """Return the workers that have counts of a model or graph, all of them if there is no name."""
    if not name or name in snapshot.graphs:
        return [worker for worker in snapshot.workers.values() if worker.state is WorkerState.READY]
    replicas = (replica for replica in snapshot.replicas(name) if version in {"", replica[1].version})
    return list({worker.worker_id: worker for worker, _ in replicas}.values())


async def _all(calls: Iterable[Awaitable[_T]]) -> list[_T | GraphmeshError]:
    """Return what each call gave, or the error that it ended with."""

    async def one(call: Awaitable[_T]) -> _T | GraphmeshError:
        try:
            return await call
        except GraphmeshError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(call)) for call in calls]
    return [task.result() for task in tasks]
