"""What one worker answers about itself: its index, statistics and configurations; loading and unloading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from graphmesh.registry.index import graph_entry, index_entries
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.statistics import config_to_wire, statistics_to_wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.oip import open_inference_pb2 as pb
    from graphmesh.registry import HostedModel
    from graphmesh.worker.handler import Handler, Servable

__all__ = ["Repository", "WorkerManagement"]


class Repository(Protocol):
    """Loads and unloads models while the worker runs."""

    def index(self) -> tuple[HostedModel, ...]:
        """Return every version of every model, those that are not loaded too."""
        ...

    async def load(self, name: str) -> None:
        """Load a model, or load it again; see `graphmesh.core.oip.Management`."""
        ...

    async def unload(self, name: str) -> None:
        """Unload a model; see `graphmesh.core.oip.Management`."""
        ...


class WorkerManagement:
    """The `graphmesh.core.oip.Management` of a worker."""

    def __init__(self, handler: Handler, repository: Repository) -> None:
        self._handler = handler
        self._repository = repository

    async def index(self) -> Sequence[pb.RepositoryIndexResponse.ModelIndex]:
        """Return what is hosted here, and the mesh's graphs, which any worker can run."""
        entries = index_entries(self._repository.index(), known={})
        for graph in await self._handler.graphs():
            reason = "" if graph.ready else "a model that it calls is not served now"
            entries.append(graph_entry(graph.name, graph.version, reason=reason))
        return entries

    async def load(self, name: str) -> None:
        """Load a model, or load it again."""
        await self._repository.load(name)

    async def unload(self, name: str) -> None:
        """Unload a model."""
        await self._repository.unload(name)

    async def statistics(self, name: str, version: str) -> Sequence[pb.ModelStatistics]:
        """Return the counts of a version, of all versions, or of everything."""
        found: Sequence[Servable]
        if not name:
            found = [*self._handler.models(), *await self._handler.graphs()]
        else:
            found = (not version and self._handler.models(name)) or [await self._handler.find(name, version)]
        return [_statistics(servable) for servable in found]

    async def config(self, name: str, version: str) -> pb.ModelConfig:
        """Return how a model or graph is served here."""
        servable = await self._handler.find(name, version)
        signature, platform = servable.signature, servable.platform
        if not isinstance(servable, Model):
            return config_to_wire(name, platform, signature, batching=None)
        config = servable.config
        return config_to_wire(
            name,
            platform,
            signature,
            backend=config.backend,
            instances=config.instances,
            batching=servable.batching,
        )


def _statistics(servable: Servable) -> pb.ModelStatistics:
    if not isinstance(servable, Model):
        return statistics_to_wire(servable.name, servable.version, servable.metrics)
    return statistics_to_wire(
        servable.name,
        servable.version,
        servable.metrics,
        memory_bytes=servable.memory_bytes,
        device=servable.config.device,
    )
