"""Connections to other gRPC servers: one whose other end has fallen silent is noticed."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

from graphmesh.core.errors import Overloaded
from graphmesh.core.status import rpc_status
from graphmesh.graph.running.limits import MISSES_DEADLINE
from graphmesh.worker.http.routes import FAST_PATH
from graphmesh.worker.rpc.client import channel_options, error_of
from tests.worker.far import FarGrpc
from tests.worker.streams import eventually


class Wire:
    """A way to a server that can fall silent: what comes is taken, and nothing is passed on."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on, both ways."""
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            writer.transport.abort()
            back.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.silent:
                    writer.write(data)
            writer.close()


async def test_silence_is_noticed() -> None:
    """A call over a connection that has fallen silent is UNAVAILABLE soon, although it has no deadline."""
    far = FarGrpc()
    far.hangs = True
    async with far:
        wire = Wire(far.port)
        server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        options = channel_options(max_message_bytes=1024, connect_s=5, ping_s=0.2, lost_s=0.3)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            call = asyncio.ensure_future(channel.unary_unary(FAST_PATH)(b""))
            await eventually(lambda: far.calls)
            wire.silent = True
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with asyncio.timeout(30):
                    await call
        server.close()
        await server.wait_closed()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_slow_is_not_silent() -> None:
    """A call that merely takes long goes on while its server answers pings."""
    far = FarGrpc()
    far.hangs = True
    async with far:
        options = channel_options(max_message_bytes=1024, connect_s=5, ping_s=0.2, lost_s=5)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{far.port}", options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(FAST_PATH)(b"", timeout=1.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("said", "known"), [(MISSES_DEADLINE, MISSES_DEADLINE), ({"misses": "the bus", "model": "m"}, {}), ({}, {})]
)
def test_a_refusal_for_its_deadline_is_known_as_one(said: dict[str, str], known: dict[str, str]) -> None:
    """Over the wire, too, as a step's own limit makes it a timeout; nothing else of what a server says is taken."""
    status = rpc_status(Overloaded("a call would wait", retry_after_s=0.5, metadata=said)).SerializeToString()
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status))
    error = error_of(
        grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), trailers, "a call would wait")
    )
    assert isinstance(error, Overloaded)
    assert (error.metadata, error.retry_after_s) == (known, 0.5)
