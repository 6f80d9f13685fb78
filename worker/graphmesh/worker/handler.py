"""The one place where a call is answered, whatever carried it here.

Finds the model or graph, runs it, counts it. Shells decode a request, call `Handler.infer` and encode the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from graphmesh.core.errors import Code, GraphmeshError, NotFound
from graphmesh.core.logs import bind_request_id
from graphmesh.core.names import check_model_name, check_version, close_names
from graphmesh.worker.forms.headers import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.worker.hosting.catalog import Catalog
    from graphmesh.worker.metrics.families import CallMetrics, Metrics
    from graphmesh.worker.tracing import Tracing

__all__ = ["Description", "Graphs", "Handler", "Servable"]

logger = logging.getLogger(__name__)


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

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request and yield each of its answers: one, unless it is a model that streams."""
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

    def __init__(self, catalog: Catalog, graphs: Graphs, metrics: Metrics, *, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
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

    def models(self, name: str = "") -> list[Servable]:
        """Return every version of a model, or of all models; none if no model has the name."""
        return [model for model in self._catalog if name in {"", model.name}]

    async def graphs(self) -> list[Servable]:
        """Return the live revisions of all graphs, by name."""
        found = [await self._graphs.find(name, 0) for name in sorted(self._graphs.names)]
        return [graph for graph in found if graph is not None]

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

    def run(self, servable: Servable, request: InferenceRequest) -> Coroutine[Any, Any, InferenceResponse]:
        """Run one request through what was found for it, and count it."""
        tracing = self._tracing
        return self._run(servable, request) if tracing is None else tracing.run(self._run, servable, request)

    async def _run(self, servable: Servable, request: InferenceRequest) -> InferenceResponse:
        started = time.perf_counter()
        metrics, code = servable.metrics, Code.OK
        bind_request_id(request.headers.get(REQUEST_ID, ""))
        metrics.begin()
        try:
            return await servable.infer(request)
        except BaseException as error:
            code = _code(error, request)
            raise
        finally:
            _end(servable, metrics, code, time.perf_counter() - started)

    def stream(self, servable: Servable, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request through what was found for it, yield each of its answers, and count it once.

        Close what this returns: a caller that leaves is one that closes it.
        """
        tracing = self._tracing
        return self._stream(servable, request) if tracing is None else tracing.stream(self._stream, servable, request)

    async def _stream(self, servable: Servable, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        started = time.perf_counter()
        metrics, code = servable.metrics, Code.OK
        bind_request_id(request.headers.get(REQUEST_ID, ""))
        metrics.begin()
        try:
            async with contextlib.aclosing(servable.stream(request)) as answers:
                index = 0
                async for answer in answers:
                    metrics.streamed(index, time.perf_counter() - started)
                    index += 1
                    yield answer
        except BaseException as error:
            code = _code(error, request)
            raise
        finally:
            _end(servable, metrics, code, time.perf_counter() - started)

    def encoded(self, response: InferenceResponse, started: float) -> None:
        """Count the encoding of an answer, which began at ``started`` of `time.perf_counter` and is done now."""
        self._metrics.serialised(response.model, response.version, time.perf_counter() - started)

    def _unknown(self, name: str) -> NotFound:
        near = close_names(name, [*self._catalog.names, *self._graphs.names])
        hint = f"; close names: {', '.join(near)}" if near else ""
        return NotFound(f"no model or graph is named {name!r} on this worker{hint}", metadata={"name": name})


def _end(servable: Servable, metrics: CallMetrics, code: Code, seconds: float) -> None:
    """Count a call out. No line for each at INFO: a flood of refusals must not become a flood of lines."""
    metrics.end(code, seconds)
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(
            "call ended model=%s version=%s code=%s seconds=%.6f", servable.name, servable.version, code.name, seconds
        )


def _code(error: BaseException, request: InferenceRequest) -> Code:
    """Return the code under which a call that ended so is counted."""
    if isinstance(error, GraphmeshError):
        return error.code
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return Code.DEADLINE_EXCEEDED if request.deadline.remaining() <= 0 else Code.CANCELLED
    return Code.INTERNAL
