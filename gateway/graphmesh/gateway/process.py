"""The gateway process: control plane and supervisor of one Envoy.

    start:  lock the run folder ─► sockets up ─► read the registry ─► publish ─► Envoy (adopted or started) ─► register
    run:    registry changes ─► resources ─► Envoy acknowledges ─► own record tells the revision
    stop:   leave the registry ─► drain Envoy ─► end it; a crash or SIGKILL leaves Envoy serving with what it has

An Envoy that is adopted goes on with what it has until the registry has been read: nothing is published before, so an
etcd that is away at the start costs it nothing. Without one to adopt there is nothing to serve, and the start fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
from typing import TYPE_CHECKING

from graphmesh.core.address import advertised_address
from graphmesh.core.errors import RegistryUnavailable, StartFailed
from graphmesh.gateway.control import serve_control
from graphmesh.gateway.envoy import Envoy, stop_envoy
from graphmesh.gateway.http import HttpShell, serve_http
from graphmesh.gateway.management import MeshManagement
from graphmesh.gateway.probe import is_ready
from graphmesh.gateway.publishing import Publisher
from graphmesh.gateway.registration import stay_registered
from graphmesh.gateway.view import View
from graphmesh.gateway.xds_server import DiscoveryServer
from graphmesh.registry import HoldPolicy, Registry, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from graphmesh.gateway.config import GatewayConfig

__all__ = ["Gateway", "run_gateway", "stop_envoy"]

logger = logging.getLogger(__name__)

_REGISTRY_WITHIN_S = 5.0
_RETRY_S = 0.2
_WARN_EVERY_S = 60.0


async def run_gateway(config: GatewayConfig) -> int:
    """Run a gateway until SIGTERM or SIGINT; return the exit code.

    Raises:
        StartFailed: an unsafe bind, a port or the run folder in use, no etcd within 5 s, Envoy missing or refusing
            to start; says what to do (FAILED_PRECONDITION, retry: no).

    Cancellation: as SIGTERM.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with Gateway(config).running():
            logger.info("gateway serves address=%s:%d id=%s", config.bind, config.port, config.gateway_id)
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return 0


class Gateway:
    """One gateway: for the process above, and for tests inside their own."""

    def __init__(self, config: GatewayConfig, *, registry: Registry | None = None) -> None:
        config.check_start()
        self._config = config
        self._registry = registry or Registry(connect(config.etcd), mesh=config.mesh)
        self._discovery = DiscoveryServer()
        self._view = View(mesh=config.mesh, discovery=self._discovery)
        self._management = MeshManagement(self._view)
        self._envoy = Envoy(config)

    @property
    def view(self) -> View:
        """What the gateway knows."""
        return self._view

    @property
    def envoy(self) -> Envoy:
        """The supervised Envoy."""
        return self._envoy

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        """Serve while inside the context.

        Leaving it leaves the registry, then drains and ends Envoy. When a part of the gateway fails, the body is
        cancelled, the failure raised, and Envoy left serving: the next start adopts it.
        """
        config, view = self._config, self._view
        advertised_address(config.bind, config.advertise, config.etcd)  # fails now, not once registered
        with _locked(config):
            async with (
                self._registry,
                serve_control(config, view, self._registry, self._management),
                serve_http(HttpShell(view, self._management), config.sockets.http),
                _one_failure(),
                asyncio.TaskGroup() as parts,
            ):
                following = parts.create_task(self._follow())
                await self._start()
                watching = parts.create_task(self._envoy.watch(view.set_envoy_pid))
                registered = parts.create_task(stay_registered(config, self._registry, self._discovery))
                warning = parts.create_task(self._warn())
                yield self
                await _end(registered, warning, watching)
                await self._envoy.stop()
                await _end(following)
        if config.socket_dir != config.run_dir.resolve():
            shutil.rmtree(config.socket_dir, ignore_errors=True)

    async def _follow(self) -> None:
        """Publish what the registry holds, from the first time it answers."""
        mirror = self._registry.mirror(hold=HoldPolicy(probe=is_ready))
        async with contextlib.AsyncExitStack() as stack:
            while self._view.mirror is None:
                try:
                    self._view.mirror = await stack.enter_async_context(mirror)
                except RegistryUnavailable as error:
                    logger.warning("registry not read yet error=%s", error.message)
                    await asyncio.sleep(_RETRY_S)
            await Publisher(self._view, self._discovery, self._config.sockets).follow(mirror.changes())

    async def _start(self) -> None:
        """Have an Envoy: the one that runs already, or a new one once there is something to tell it."""
        if self._envoy.adopt():
            return
        try:
            async with asyncio.timeout(_REGISTRY_WITHIN_S):
                await self._discovery.published()
        except TimeoutError:
            raise StartFailed(
                f"etcd must answer at {', '.join(self._config.etcd)} within {_REGISTRY_WITHIN_S:g} s and does not; "
                "start it, or name its endpoints"
            ) from None
        await self._envoy.start()

    async def _warn(self) -> None:
        """Say every minute that the mesh is open."""
        while not self._config.is_loopback:
            logger.warning(
                "insecure bind: anyone who reaches %s:%d may call and change this mesh",
                self._config.bind,
                self._config.port,
            )
            await asyncio.sleep(_WARN_EVERY_S)


@contextlib.contextmanager
def _locked(config: GatewayConfig) -> Iterator[None]:
    """Hold the run folder; the lock ends with the process, however it ends."""
    config.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.socket_dir.mkdir(mode=0o700, exist_ok=True)
    if config.socket_dir.lstat().st_uid != os.getuid():
        raise StartFailed(f"{config.socket_dir} must belong to this user; remove it, or choose a shorter run folder")
    with (config.run_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartFailed(
                f"another gateway must not be using {config.run_dir}; stop it, or give this one a folder of its own"
            ) from None
        yield


@contextlib.asynccontextmanager
async def _one_failure() -> AsyncIterator[None]:
    """Raise the first failure of a task group as itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
