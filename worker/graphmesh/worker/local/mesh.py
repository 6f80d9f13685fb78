"""A mesh in this process, and calls of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeAlias

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import DeadlinePassed, LoadFailed
from graphmesh.core.inference import InferenceRequest, Parameter
from graphmesh.worker.config import ModelConfig
from graphmesh.worker.forms.headers import apply_headers
from graphmesh.worker.graphs import GraphCatalog
from graphmesh.worker.handler import Handler
from graphmesh.worker.hosting.catalog import Catalog
from graphmesh.worker.hosting.memory import LoadMeter
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.hosting.sources import resolve
from graphmesh.worker.local.classes import forget, source_of
from graphmesh.worker.local.graphs import LocalGraphs, Nowhere
from graphmesh.worker.local.sync import SyncLocalMesh
from graphmesh.worker.local.values import Outputs, to_outputs, to_tensors
from graphmesh.worker.metrics.families import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from types import TracebackType

    from graphmesh.core.signature import Signature
    from graphmesh.worker.handler import Servable
    from graphmesh.worker.local.graphs import GraphSource

__all__ = ["LocalMesh", "ModelSource"]

ModelSource: TypeAlias = type[Any] | str | Path | ModelConfig
"""A class, a source as in `mesh.yaml`, or a whole configuration."""

_WORKER_ID = "local"


class LocalMesh:
    """Models and graphs in one process. Use as an async context manager: it is loaded inside, unloaded afterwards.

    Args:
        models: By the name that clients call: a class, a source as in `mesh.yaml` (`det.onnx`, `models.py:Det`, a
            folder), or a `ModelConfig`, whose name this one replaces; a list of them for several versions.
        graphs: Files (`.yaml`, `.textproto`), `Graph` or `GraphBuilder`, in any order.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSource | Sequence[ModelSource]] | None = None,
        graphs: Iterable[GraphSource] = (),
    ) -> None:
        self._models = dict(models or {})
        self._sources = tuple(graphs)
        self._closing = contextlib.AsyncExitStack()
        self._handler: Handler | None = None
        self.metrics = Metrics()
        """What the mesh counts, as a worker does."""

    def __enter__(self) -> NoReturn:
        """Refuse: a mesh runs in an event loop."""
        raise TypeError("use `async with LocalMesh(...)`, or `with LocalMesh(...).sync()` in code that is not async")

    def __exit__(self, *error: object) -> None:
        """Never reached."""

    async def __aenter__(self) -> Self:
        """Load the models, warm them up, check the graphs.

        Raises:
            LoadFailed: a model cannot be loaded; says why (FAILED_PRECONDITION).
            InvalidGraph: a graph cannot work; names the node or edge (INVALID_ARGUMENT).
        """
        async with contextlib.AsyncExitStack() as stack:
            configs: list[ModelConfig] = []
            for config in [_config(name, one) for name, found in self._models.items() for one in _each(name, found)]:
                stack.callback(forget, config.source)
                configs += await asyncio.to_thread(resolve, config)
            self._handler = await self._load(configs, stack)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unload the models."""
        self._handler = None
        await self._closing.aclose()

    async def _load(self, configs: Iterable[ModelConfig], stack: contextlib.AsyncExitStack) -> Handler:
        metrics, local = self.metrics, LocalGraphs()
        meter = LoadMeter()
        models = [Model(config, worker_id=_WORKER_ID, metrics=metrics, meter=meter) for config in configs]
        for model in models:
            stack.push_async_callback(model.unload)
        await asyncio.gather(*(model.load() for model in models))
        for model in models:
            if not model.ready:
                raise LoadFailed(f"model {model.name!r} version {model.version}: {model.message}")
        catalog = Catalog(models)
        metrics.hosted = catalog
        local.set(catalog, self._sources)
        graphs = GraphCatalog(
            local,
            lambda: local.snapshot,
            catalog=catalog,
            mesh=Nowhere(),
            metrics=metrics,
            worker_id=_WORKER_ID,
        )
        handler = Handler(catalog, graphs, metrics)
        graphs.local = handler
        return handler

    def sync(self) -> SyncLocalMesh:
        """Return the same mesh for tests that are not async: ``with LocalMesh(...).sync() as mesh``."""
        return SyncLocalMesh(self)

    async def signature(self, name: str) -> Signature:
        """Return what a model or graph takes and gives; raises NotFound."""
        return (await self._open().find(name)).signature

    async def predict(
        self,
        name: str,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        version: str = "",
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        timeout_s: float | None = None,
        **named: object,
    ) -> Outputs:
        """Call a model or graph.

        Args:
            name: The model's or graph's name.
            inputs: Values by input name: arrays, numbers, `str`, `bytes`, lists.
            version: A fixed version; empty takes the highest.
            headers: Headers the call comes with, such as ``x-request-id``.
            parameters: The Open Inference Protocol's request parameters.
            timeout_s: The caller's patience; None: endless.
            **named: More inputs, for names that are not taken by an argument above.

        Returns:
            Outputs by name, with the response headers.

        Raises:
            GraphmeshError: what a client would get; what a model raised is its cause.

        Cancellation: as when a caller leaves.
        """
        servable, request = await self._request(name, {**(inputs or {}), **named}, version, parameters, headers)
        async with _patience(request, timeout_s):
            response = await self._open().run(servable, request)
        return to_outputs(response, servable.signature)

    async def stream(
        self,
        name: str,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        version: str = "",
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        timeout_s: float | None = None,
        **named: object,
    ) -> AsyncGenerator[Outputs, None]:
        """Call a model or graph and yield each of its answers; takes and raises what `predict` does.

        Cancellation: closing the generator is a caller that leaves.
        """
        servable, request = await self._request(name, {**(inputs or {}), **named}, version, parameters, headers)
        if timeout_s is not None:
            request.deadline = Deadline.after(timeout_s)
        async with contextlib.aclosing(self._open().stream(servable, request)) as answers:
            async for response in answers:
                yield to_outputs(response, servable.signature)

    async def _request(
        self,
        name: str,
        inputs: Mapping[str, object],
        version: str,
        parameters: Mapping[str, Parameter] | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[Servable, InferenceRequest]:
        servable = await self._open().find(name, version)
        tensors = to_tensors(inputs, servable.signature)
        request = InferenceRequest(model=name, version=version, inputs=tensors, parameters=parameters or {})
        lower = {key.lower(): value for key, value in (headers or {}).items()}
        apply_headers(request, lower.get)
        request.metadata = lower
        return servable, request

    def _open(self) -> Handler:
        if self._handler is None:
            raise RuntimeError("a LocalMesh must be entered first: async with LocalMesh(...) as mesh")
        return self._handler


def _each(name: str, found: ModelSource | Sequence[ModelSource]) -> Sequence[ModelSource]:
    models = found if isinstance(found, list | tuple) else (found,)
    for model in models:
        if not isinstance(model, type | str | Path | ModelConfig):
            kind = type(model).__name__
            raise TypeError(
                f"model {name!r} must be a class, a source or a ModelConfig, got an instance of {kind}; give the class "
                f"{kind}, not an instance, and what its constructor takes by ModelConfig(parameters=...)"
            )
    return models


def _config(name: str, model: ModelSource) -> ModelConfig:
    if isinstance(model, ModelConfig):
        return dataclasses.replace(model, name=name)
    return ModelConfig(name=name, source=source_of(model) if isinstance(model, type) else str(model))


@contextlib.asynccontextmanager
async def _patience(request: InferenceRequest, timeout_s: float | None) -> AsyncGenerator[None, None]:
    """Give a request its deadline and end it there, as a worker's shells do."""
    if timeout_s is not None:
        request.deadline = Deadline.after(timeout_s)
    try:
        async with asyncio.timeout(request.deadline.timeout()) as timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise DeadlinePassed("the deadline passed before the answer was there") from error
