"""A worker as a process: `run_worker` until SIGTERM or SIGINT.

The first signal drains, the second one ends the waiting. Whatever the state, loading included, the process ends with 0
when it was told to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from graphmesh.registry import Registry, connect
from graphmesh.worker.tracing import start_tracing
from graphmesh.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from graphmesh.worker.config import WorkerConfig
    from graphmesh.worker.tracing import Tracing

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_worker(config: WorkerConfig) -> int:
    """Run a worker until it is told to end; return the exit code.

    Raises:
        StartFailed: it cannot start; the message says what to do (FAILED_PRECONDITION).
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    with _signals(stop, hurry):
        async with Registry(connect(config.etcd), mesh=config.mesh) as registry, _traced(config.worker_id) as tracing:
            worker = Worker(config, registry, tracing=tracing)
            starting: asyncio.Future[object] = asyncio.ensure_future(worker.__aenter__())
            if not await _ended_first(starting, stop):
                return 0
            try:
                await stop.wait()
                await worker.drain(hurry)
            finally:
                await worker.__aexit__(None, None, None)
    logger.info("worker stopped worker=%s", config.worker_id)
    return 0


@contextlib.asynccontextmanager
async def _traced(worker_id: str) -> AsyncIterator[Tracing | None]:
    """Record traces if the environment says so, and send at the end what is not sent yet."""
    tracing = start_tracing(instance=worker_id)
    try:
        yield tracing
    finally:
        if tracing is not None:
            await asyncio.to_thread(tracing.close)


async def _ended_first(starting: asyncio.Future[object], stop: asyncio.Event) -> bool:
    """Return whether the start was done before the signal came; if not, it is undone."""
    signalled: asyncio.Future[object] = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False
    finally:
        signalled.cancel()
        await asyncio.gather(signalled, return_exceptions=True)


@contextlib.contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        if stop.is_set():
            logger.warning("second signal: calls in flight are cut signal=%d", number)
            hurry.set()
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
