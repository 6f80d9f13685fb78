"""Keeps a lease alive from a thread of its own.

Loading a model may keep the event loop busy for longer than a TTL; losing the lease to that would take every model of
the worker out of the mesh. So renewing shares nothing with the loop: synchronous gRPC, its own channels, its own
thread. Each renewal is one short stream (etcd's KeepAliveOnce), tried at one endpoint after the other; failures are
repeated every half second until the store answers, because an outage does not end leases. Only the answer "TTL 0" does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING

import grpc
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LeaseThread"]

_log = logging.getLogger(__name__)

_RETRY_S = 0.5
_ANSWER_WITHIN_S = 1.0


class LeaseThread:
    """One lease and the thread that renews it; made on the event loop, stopped on it."""

    def __init__(
        self,
        endpoints: Sequence[str],
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[tuple[str, int]],
        *,
        lease: int,
        ttl_s: float,
        gone: Callable[[], None],
    ) -> None:
        self._endpoints = endpoints
        self._credentials = credentials
        self._options = options
        self._lease = lease
        self._interval_s = ttl_s / 3
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        # A daemon, so that a process that forgot to close its session still ends.
        self._thread = threading.Thread(target=self._run, name=f"keep-alive {lease:x}", daemon=True)

    def start(self) -> LeaseThread:
        """Begin renewing."""
        self._thread.start()
        return self

    async def stop(self) -> None:
        """End the thread; returns once it has ended."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            channels = [stack.enter_context(self._open(endpoint)) for endpoint in self._endpoints]
            stubs = [rpc_pb2_grpc.LeaseStub(channel) for channel in channels]
            while not self._stopping.is_set():
                ttl = self._renew(stubs)
                if ttl == 0:
                    # The loop may be closed already when the process ends without closing its session.
                    with contextlib.suppress(RuntimeError):
                        self._loop.call_soon_threadsafe(self._gone)
                    return
                self._stopping.wait(_RETRY_S if ttl is None else self._interval_s)

    def _open(self, endpoint: str) -> grpc.Channel:
        if self._credentials is None:
            return grpc.insecure_channel(endpoint, options=list(self._options))
        return grpc.secure_channel(endpoint, self._credentials, options=list(self._options))

    def _renew(self, stubs: list[rpc_pb2_grpc.LeaseStub]) -> int | None:
        """Return the seconds the lease has now, 0 if it is gone, None if nobody answered."""
        for stub in stubs:
            if self._stopping.is_set():
                return None
            try:
                request = rpc.LeaseKeepAliveRequest(ID=self._lease)
                answers = stub.LeaseKeepAlive(iter([request]), timeout=_ANSWER_WITHIN_S)
                return max(0, int(next(answers).TTL))
            except (grpc.RpcError, StopIteration) as error:
                _log.debug("lease not renewed lease=%x error=%s", self._lease, error)
        return None
