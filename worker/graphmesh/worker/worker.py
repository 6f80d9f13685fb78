"""A worker as an object with a lifetime: models, the two shells, the registration.

    start: listen, load, ready, register            stop: draining, wait, not ready, finish calls, leave

The order matters. Ports are bound first, so that a clash is known before minutes of loading. The record appears after
the models can answer, and says DRAINING one propagation time before the worker reports not ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import time
from typing import TYPE_CHECKING, Self

from graphmesh.core.address import advertised_address
from graphmesh.core.clock import Clock, SystemClock
from graphmesh.core.errors import AlreadyExists, GraphmeshError, RegistryUnavailable, StartFailed
from graphmesh.core.version import software_version
from graphmesh.registry import WorkerRecord, WorkerState
from graphmesh.worker.config import Isolation
from graphmesh.worker.forms.json_pool import JsonPool
from graphmesh.worker.graphs import GraphCatalog
from graphmesh.worker.handler import Handler
from graphmesh.worker.health import Health
from graphmesh.worker.hosting.announcer import Announcer
from graphmesh.worker.hosting.catalog import Catalog
from graphmesh.worker.hosting.memory import LoadMeter
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.hosting.own_thread import on_own_thread
from graphmesh.worker.hosting.repository import Repository
from graphmesh.worker.hosting.sources import resolve
from graphmesh.worker.http.server import HttpServer, bind_socket
from graphmesh.worker.http.shell import HttpShell
from graphmesh.worker.isolation import IsolatedModel, resolve_apart
from graphmesh.worker.management import WorkerManagement
from graphmesh.worker.mesh import Mesh
from graphmesh.worker.metrics.families import Metrics
from graphmesh.worker.rpc.server import GrpcServer
from graphmesh.worker.rpc.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from graphmesh.registry import Registry, Session
    from graphmesh.worker.config import ModelConfig, WorkerConfig
    from graphmesh.worker.tracing import Tracing

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

_PROGRESS_S = 5.0
_PREDECESSOR_S = 1.0
_REGISTER_AGAIN_S = 1.0


class Worker:
    """One worker. Use as an async context manager: it is registered inside, and gone afterwards."""

    def __init__(
        self,
        config: WorkerConfig,
        registry: Registry,
        *,
        clock: Clock | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.config = config
        self.health = Health()
        self.metrics = Metrics()
        self._registry = registry
        self._start_time = time.time()
        self._clock = clock or SystemClock()
        self._meter = LoadMeter()
        self.catalog = Catalog()
        self._announcer = Announcer(registry, self.catalog, self._clock)
        self.repository = Repository(
            config.models,
            catalog=self.catalog,
            make=self._make_model,
            resolve=_resolved,
            publisher=self._announcer,
            clock=self._clock,
            drain_s=config.drain_s,
            grace_s=config.grace_s,
        )
        self.metrics.hosted = self.catalog
        self._json = JsonPool()
        self._mirror = registry.mirror()
        self._mesh = Mesh(lambda: self._mirror.snapshot, max_message_bytes=config.max_message_bytes, tracing=tracing)
        graphs = GraphCatalog(
            registry,
            lambda: self._mirror.snapshot,
            catalog=self.catalog,
            mesh=self._mesh,
            metrics=self.metrics,
            worker_id=config.worker_id,
            cache_bytes=config.cache_bytes,
        )
        self.handler = Handler(self.catalog, graphs, self.metrics, tracing=tracing)
        graphs.local = self.handler
        self._session: Session[WorkerRecord] | None = None
        self._closing = contextlib.AsyncExitStack()
        self._http: HttpServer | None = None
        self._grpc: GrpcServer | None = None
        self.http_port = 0
        """Port of the HTTP shell, once started."""
        self.grpc_port = 0
        """Port of the gRPC shell, once started."""

    async def __aenter__(self) -> Self:
        """Listen, load, register.

        Raises:
            StartFailed: the bind is not allowed, a port is taken, no etcd answers, or another live worker has the
                name; says what to do (FAILED_PRECONDITION).
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop at once unless `drain` was called; calls in flight are cut."""
        self.health.ready = False
        await self._closing.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        self.config.check_bind()
        stack.callback(self._json.close)
        stack.push_async_callback(self._stop_serving, 0.0)
        await self._listen()
        try:
            await stack.enter_async_context(self._mirror)
        except RegistryUnavailable as error:
            endpoints = ", ".join(self.config.etcd)
            raise StartFailed(f"no etcd answers at {endpoints}; start one, or pass --etcd ({error.message})") from error
        await stack.enter_async_context(self._mesh)
        await stack.enter_async_context(self.repository)
        await self._load()
        # Before the record: a gateway that hears of this worker checks it at once, and would not again for a second.
        self.health.ready = True
        if self._grpc is not None:
            await self._grpc.set_ready(ready=True)
        self._session = await stack.enter_async_context(await self._register())
        stack.push_async_callback(_cancelled, asyncio.create_task(self._announcer.run(self._session), name="announcer"))
        self._announcer.changed()
        logger.info(
            "worker ready worker=%s http_port=%d grpc_port=%d", self.config.worker_id, self.http_port, self.grpc_port
        )

    async def _listen(self) -> None:
        config = self.config
        listener = bind_socket(config.bind, config.http_port, what="http port")
        self.http_port = listener.getsockname()[1]
        management = WorkerManagement(self.handler, self.repository)
        shell = HttpShell(
            self.handler,
            management=management,
            health=self.health,
            metrics=self.metrics,
            json=self._json,
            max_message_bytes=config.max_message_bytes,
            version=software_version(),
        )
        self._http = HttpServer(shell, listener)
        servicer = Servicer(
            self.handler,
            management=management,
            elsewhere=self._mesh,
            health=self.health,
            json=self._json,
            max_message_bytes=config.max_message_bytes,
            version=software_version(),
        )
        loopback = ipaddress.ip_address(config.bind).is_loopback
        self._grpc = GrpcServer(
            servicer.handlers(), part=servicer.part, max_message_bytes=config.max_message_bytes, reflection=loopback
        )
        if not loopback:
            logger.warning("listening beyond loopback without authentication bind=%s", config.bind)
        await self._grpc.start(config.bind, config.grpc_port)
        self.grpc_port = self._grpc.port
        await self._http.start()

    def _make_model(self, config: ModelConfig) -> Model:
        kind = IsolatedModel if config.isolation is Isolation.PROCESS else Model
        config = dataclasses.replace(config, max_message_bytes=self.config.max_message_bytes)
        return kind(config, worker_id=self.config.worker_id, metrics=self.metrics, meter=self._meter)

    async def _load(self) -> None:
        progress = asyncio.create_task(self._log_progress(), name="loading progress")
        try:
            await self.repository.load_all()
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)

    async def _log_progress(self) -> None:
        while True:
            await self._clock.sleep(_PROGRESS_S)
            logger.info("still loading models=%s", ",".join(sorted(self.repository.loading)))

    async def _register(self) -> Session[WorkerRecord]:
        """Register; while etcd is away, try again: the models are loaded and worth keeping."""
        announcer = self._announcer
        announcer.collect()
        while True:
            try:
                return await self._registry.register_worker(
                    self._record(WorkerState.READY),
                    signatures=announcer.signatures,
                    specs=announcer.specs,
                    ttl_s=self.config.ttl_s,
                )
            except RegistryUnavailable as error:
                logger.warning("registration waits for etcd error=%s", error.message)
                await self._clock.sleep(_REGISTER_AGAIN_S)
            except AlreadyExists as error:
                if not await self._predecessor_forgotten():
                    raise StartFailed(error.message) from error

    async def _predecessor_forgotten(self) -> bool:
        """Take away the record that a dead process of our id left; only a refused connection proves that it is dead."""
        record = (await self._registry.read()).workers.get(self.config.worker_id)
        if record is None:
            return False
        try:
            async with asyncio.timeout(_PREDECESSOR_S):
                _, writer = await asyncio.open_connection(record.host, record.http_port)
        except ConnectionRefusedError:
            logger.info("taking over the record of a dead worker worker=%s", record.worker_id)
            return await self._registry.forget(record)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return False

    def _record(self, state: WorkerState) -> WorkerRecord:
        return WorkerRecord(
            worker_id=self.config.worker_id,
            host=advertised_address(self.config.bind, self.config.advertise, self.config.etcd),
            http_port=self.http_port,
            grpc_port=self.grpc_port,
            state=state,
            models=self.repository.index(),
            labels=self.config.labels,
            start_time=self._start_time,
            software_version=software_version(),
        )

    async def drain(self, hurry: asyncio.Event | None = None) -> None:
        """Leave without failing a call: say so, wait until everyone has heard, finish what is in flight.

        Args:
            hurry: Once set, nothing is waited for any more.
        """
        hurry = hurry or asyncio.Event()
        if self._session is not None:
            try:
                await self._session.update(dataclasses.replace(self._session.record, state=WorkerState.DRAINING))
            except GraphmeshError as error:
                logger.warning("draining could not be announced error=%s", error.message)
            logger.info("draining worker=%s", self.config.worker_id)
            await _unless(hurry, self._clock.sleep(self.config.drain_s))
        self.health.ready = False
        if self._grpc is not None:
            await self._grpc.set_ready(ready=False)
        await _unless(hurry, self._stop_serving(self.config.grace_s))
        await self._stop_serving(0.0)

    async def _stop_serving(self, grace_s: float) -> None:
        stops = [server.stop(grace_s) for server in (self._http, self._grpc) if server is not None]
        await asyncio.gather(*stops)


async def _resolved(config: ModelConfig) -> Sequence[ModelConfig]:
    """Return what a source holds; what is to run apart is read apart, since reading it may import it."""
    return await on_own_thread(resolve_apart if config.isolation is Isolation.PROCESS else resolve, config)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _unless(hurry: asyncio.Event, work: object) -> None:
    """Run work until it is done or ``hurry`` is set."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(hurry.wait())]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
