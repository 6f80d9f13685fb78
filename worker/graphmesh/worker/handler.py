"""The one place where a call is answered, whatever carried it here.

Finds the model or graph, runs it, counts it. Shells decode a request, call `Handler.infer` and encode the answer.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from graphmesh.core.errors import Code, GraphmeshError, NotFound
from graphmesh.core.names import check_model_name, check_version, close_names

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.worker.catalog import Catalog
    from graphmesh.worker.metrics import CallMetrics, Metrics

__all__ = ["Description", "Graphs", "Handler", "Servable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What clients may know of a model or graph."""

    name: str
    """What clients call."""
    versions: tuple[str, ...]
    """Versions that are here, highest first; for a graph its revision."""
    platform: str
    """What runs it."""
    signature: Signature
    """What it takes and gives."""


class Servable(Protocol):
    """A model version or graph revision that can be called here."""

    @property
    def name(self) -> str:
        """What clients call."""
        ...

    @property
    def version(self) -> str:
        """The version, or the revision of a graph."""
        ...

    @property
    def platform(self) -> str:
        """What runs it, for people."""
        ...

    @property
    def signature(self) -> Signature:
        """What it takes and gives; raises ModelNotReady while that is unknown."""
        ...

    @property
    def metrics(self) -> CallMetrics:
        """Where its calls are counted."""
        ...

    @property
    def ready(self) -> bool:
        """Whether calls would be run now."""
        ...

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request; see `graphmesh.core.inference.Inferencer`."""
        ...


class Graphs(Protocol):
    """The graphs that this worker can execute."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all graphs."""
        ...

    async def find(self, name: str, revision: int) -> Servable | None:
        """Return a graph's revision, the live one for 0; None if there is no such graph."""
        ...


class Handler:
    """Answers calls of the models this worker hosts and of the mesh's graphs."""

    def __init__(self, catalog: Catalog, graphs: Graphs, metrics: Metrics) -> None:
        self._catalog = catalog
        self._graphs = graphs
        self._metrics = metrics

    async def find(self, name: str, version: str = "", revision: int = 0) -> Servable:
        """Return what a call goes to.

        Args:
            name: A model or graph.
            version: A model's version or a graph's revision; empty leaves the choice to us.
            revision: The graph revision that the gateway chose; 0 if it chose none.

        Raises:
            NotFound: nothing here has this name or version; lists close names (NOT_FOUND, retry: no).
            InvalidRequest: the name or version can be nobody's (INVALID_ARGUMENT, retry: no).
        """
        found: Servable | None = self._catalog.find(name, version)
        if found is None:
            check_model_name(name)
            if version:
                revision = int(check_version(version))
            found = await self._graphs.find(name, revision)
        if found is None:
            self._metrics.unknown += 1
            raise self._unknown(name)
        return found

    async def describe(self, name: str, version: str = "", revision: int = 0) -> Description:
        """Return what clients may know of a model or graph; raises as `find`, and ModelNotReady while it loads."""
        servable = await self.find(name, version, revision)
        return Description(
            name=name,
            versions=(version,) if version else self._catalog.versions(name) or (servable.version,),
            platform=servable.platform,
            signature=servable.signature,
        )

    async def ready(self, name: str, version: str = "", revision: int = 0) -> bool:
        """Return whether calls of a model or graph would be run now; raises as `find`."""
        servable = await self.find(name, version, revision)
        return servable.ready

    def infer(self, request: InferenceRequest) -> Coroutine[Any, Any, InferenceResponse]:
        """Run one request through the model or graph it names; see `graphmesh.core.inference.Inferencer`."""
        model = self._catalog.find(request.model, request.version)
        return self._infer_graph(request) if model is None else self.run(model, request)

    async def _infer_graph(self, request: InferenceRequest) -> InferenceResponse:
        return await self.run(await self.find(request.model, request.version, request.graph_revision), request)

    async def run(self, servable: Servable, request: InferenceRequest) -> InferenceResponse:
        """Run one request through what was found for it, and count it."""
        started = time.perf_counter()
        metrics, code = servable.metrics, Code.OK
        metrics.begin()
        try:
            return await servable.infer(request)
        except GraphmeshError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = Code.DEADLINE_EXCEEDED if request.deadline.remaining() <= 0 else Code.CANCELLED
            raise
        except BaseException:
            code = Code.INTERNAL
            raise
        finally:
            metrics.end(code, time.perf_counter() - started)

    def _unknown(self, name: str) -> NotFound:
        near = close_names(name, [*self._catalog.names, *self._graphs.names])
        hint = f"; close names: {', '.join(near)}" if near else ""
        return NotFound(f"no model or graph is named {name!r} on this worker{hint}", metadata={"name": name})
