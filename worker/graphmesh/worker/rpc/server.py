"""The gRPC shell: `grpc.aio` with the worker's methods, health checking, and reflection on loopback."""

from __future__ import annotations

import asyncio
import importlib.resources
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from graphmesh.core.errors import StartFailed
from graphmesh.worker.http.server import bind_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["GrpcServer"]

_SERVICES = ("inference.GRPCInferenceService", "graphmesh.v1.InferenceService")
_MAX_CALLS = 4096
_LAST_WORDS_S = 0.5


class GrpcServer:
    """Serves handlers from `start` to `stop`."""

    def __init__(
        self,
        handlers: Iterable[grpc.GenericRpcHandler],
        *,
        part: Callable[[], bool],
        max_message_bytes: int,
        reflection: bool,
    ) -> None:
        self._handlers = tuple(handlers)
        self._part = part
        self._max_message_bytes = max_message_bytes
        self._reflection = reflection
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port it listens at, once started."""

    async def start(self, address: str, port: int) -> None:
        """Listen; port 0 takes a free one. Health says NOT_SERVING until `set_ready`.

        Raises:
            StartFailed: the port is taken; says what to do (FAILED_PRECONDITION).
        """
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.max_send_message_length", self._max_message_bytes),
            ("grpc.per_message_decompression", 0),  # graphmesh.core.compression says why
        )
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MAX_CALLS)
        server.add_generic_rpc_handlers(self._handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._reflection:
            names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server, pool=_pool())
        bind_socket(address, port, what="grpc port").close()  # for its exact words: grpc only says "failed to bind"
        host = f"[{address}]" if ":" in address else address
        try:
            self.port = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise StartFailed(f"cannot listen on {host}:{port} for grpc port: {error}") from error
        await self.set_ready(ready=False)
        await server.start()
        self._server = server

    async def set_ready(self, *, ready: bool) -> None:
        """Tell those who ask by gRPC health checking whether calls should be sent here."""
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if ready else response.NOT_SERVING
        for name in ("", *_SERVICES):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more, let calls in flight finish for up to ``grace_s``, then cancel what is left.

        Streams whose callers could not tell that from their end are asked to say so, and have a moment for it.
        """
        if self._server is None:
            return
        stopping = asyncio.ensure_future(self._server.stop(grace_s + _LAST_WORDS_S))
        try:
            await asyncio.wait([stopping], timeout=grace_s)
            if not stopping.done() and self._part():
                await asyncio.wait([stopping], timeout=_LAST_WORDS_S)
            await self._server.stop(0.0)
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)


def _pool() -> descriptor_pool.DescriptorPool:
    """Return a pool of all services: the protocol's own messages are not in the default one."""
    pool = descriptor_pool.DescriptorPool()
    data = importlib.resources.files("graphmesh.v1").joinpath("services.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)  # type: ignore[no-untyped-call]
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)  # type: ignore[no-untyped-call]
    return pool
