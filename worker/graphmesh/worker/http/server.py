"""granian, embedded: HTTP/1.1 and HTTP/2 without TLS on one port, on the event loop of this process.

granian binds with SO_REUSEPORT, so that two workers told to take one port would both start and share its calls; here
the socket is bound first, alone, and handed over. granian also sets up logging for the process it thinks it owns; told
to change only levels, it leaves ours alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import psutil
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.net import SocketHolder
from granian.server.embed import Server

from graphmesh.core.errors import StartFailed

__all__ = ["HttpServer", "bind_socket"]

_Target: TypeAlias = Callable[[Any, Any], Awaitable[None]]

logger = logging.getLogger(__name__)

_GRANIAN_TASK = "_future_watcher_wrapper"
_BACKLOG = 1024
_CLOSE_S = 0.5  # for connections to be closed when no call is in flight
_THREADS_S = 0.3  # for its threads to end; others may have come meanwhile, so that this is no more than a guess
_POLL_S = 0.01
_MAX_REQUESTS = 1 << 16  # granian's default, 128, would make the 129th caller wait; models have queues of their own
_LEVELS_ONLY = {"incremental": True, "handlers": {}, "loggers": {"_granian": {}}}
_HTTP1 = HTTP1Settings(header_read_timeout=10_000)
_HTTP2 = HTTP2Settings(
    initial_connection_window_size=16 * 1024 * 1024,
    initial_stream_window_size=4 * 1024 * 1024,
    max_concurrent_streams=1024,
    max_frame_size=256 * 1024,
    max_headers_size=64 * 1024,
    max_send_buffer_size=1024 * 1024,
)


def bind_socket(address: str, port: int, *, what: str) -> socket.socket:
    """Return a socket that listens at an address; port 0 takes a free one.

    Raises:
        StartFailed: the port is taken or the address is not this machine's; says what to do (FAILED_PRECONDITION).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartFailed(
                f"{what} {port} on {address} is already in use; choose another, or 0 for a free one"
            ) from None
        raise StartFailed(f"cannot listen on {address}:{port} for {what}: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own order
    return listener


class _Server(Server):  # type: ignore[misc]  # granian's types are not followed
    """granian on a socket that is bound already."""

    def __init__(self, target: _Target, listener: socket.socket) -> None:
        super().__init__(
            target,
            interface=Interfaces.RSGI,
            http=HTTPModes.auto,
            websockets=False,
            backlog=_BACKLOG,
            backpressure=_MAX_REQUESTS,
            http1_settings=_HTTP1,
            http2_settings=_HTTP2,
            log_level=LogLevels.error,
            log_dictconfig=_LEVELS_ONLY,
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd = SocketHolder(self._listener.detach(), False, _BACKLOG)  # noqa: FBT003 - granian's own order


class HttpServer:
    """Serves a target, ``async (scope, protocol)``, from `start` to `stop`."""

    def __init__(self, target: _Target, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _Server(target, listener)
        self._serving: asyncio.Task[None] | None = None
        self._threads = 0  # of the process, before granian started its own

    async def start(self) -> None:
        """Serve; connections made since the socket was bound are answered."""
        self._threads = psutil.Process().num_threads()
        self._serving = asyncio.create_task(self._server.serve(), name="http")

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more, let calls in flight finish for up to ``grace_s``, then cancel them. Idempotent."""
        if self._serving is None:
            self._listener.close()
            return
        self._server.stop()
        await asyncio.wait([self._serving], timeout=max(grace_s, _CLOSE_S))
        if not self._serving.done():
            calls = _calls_in_flight()
            logger.warning("calls in flight are cut calls=%d", len(calls))
            for call in calls:
                call.cancel()
            await asyncio.wait([self._serving], timeout=_CLOSE_S)
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        self._serving = None
        await self._threads_gone()

    async def _threads_gone(self) -> None:
        """Wait a little for granian's own threads, which end after its task.

        One that asks for the interpreter while the process ends aborts it: a panic that Rust cannot unwind.
        """
        until = time.monotonic() + _THREADS_S
        while psutil.Process().num_threads() > self._threads and time.monotonic() < until:  # noqa: ASYNC110 - not ours
            await asyncio.sleep(_POLL_S)


def _calls_in_flight() -> list[asyncio.Task[object]]:
    """Return the tasks that granian made for requests; asking when it stops spares every request the bookkeeping."""
    tasks = [(task, task.get_coro()) for task in asyncio.all_tasks()]
    return [task for task, coro in tasks if getattr(coro, "__qualname__", "").startswith(_GRANIAN_TASK)]
