"""Servers elsewhere that answer as they are told: one of gRPC, one of HTTP, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from grpc.aio import ServicerContext

TLS = Path(__file__).parent / "tls"
"""A certificate for `localhost` and 127.0.0.1, its key, and the authority that vouches for it; nobody else's."""


def pair() -> tuple[list[pb.ModelMetadataResponse.TensorMetadata], ...]:
    """Return the metadata of an input `x` and an output `y`, FP32 of shape (?, 2)."""
    return tuple([pb.ModelMetadataResponse.TensorMetadata(name=name, datatype="FP32", shape=[-1, 2])] for name in "xy")


def echoed(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    """Return the answer that gives `x` back as `y`."""
    answer = pb.ModelInferResponse(model_name=request.model_name, model_version="7")
    answer.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
    answer.raw_output_contents.append(request.raw_input_contents[0])
    return answer


class FarGrpc:
    """A gRPC server of one model."""

    def __init__(self) -> None:
        inputs, outputs = pair()
        self.ready = True
        self.metadata = pb.ModelMetadataResponse(name="m", platform="far", inputs=inputs, outputs=outputs)
        self.config: pb.ModelConfig | None = None
        self.answer: Callable[[pb.ModelInferRequest], pb.ModelInferResponse] = echoed
        self.answers: list[pb.ModelStreamInferResponse] = []
        self.abort: tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]] | None = None
        self.calls: list[tuple[pb.ModelInferRequest, dict[str, str], float | None]] = []
        self.hangs = False
        self.cancelled = asyncio.Event()
        self.port = 0
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def __aenter__(self) -> Self:
        """Listen, unless it does already."""
        if not self.port:
            await self.start()
        return self

    async def start(self, port: int = 0, *, tls: bool = False) -> None:
        """Listen at a port, 0 for a free one."""
        kinds: dict[str, tuple[Any, Any]] = {
            "ModelReady": (self._ready, pb.ModelReadyRequest),
            "ModelMetadata": (self._metadata, pb.ModelMetadataRequest),
            "ModelInfer": (self._infer, pb.ModelInferRequest),
        }
        if self.config is not None:
            kinds["ModelConfig"] = (self._config, pb.ModelConfigRequest)
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                answer, kind.FromString, lambda message: message.SerializeToString()
            )
            for name, (answer, kind) in kinds.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream, pb.ModelInferRequest.FromString, lambda message: message.SerializeToString()
        )
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        self._server.add_generic_rpc_handlers((service,))
        if tls:
            pairs = [((TLS / "server.key").read_bytes(), (TLS / "server.pem").read_bytes())]
            self.port = self._server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials(pairs))
        else:
            self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def __aexit__(self, *_: object) -> None:
        """Stop at once."""
        await self._server.stop(None)

    @property
    def source(self) -> str:
        """The model's address."""
        return f"grpc://127.0.0.1:{self.port}/m"

    async def _ready(self, _: pb.ModelReadyRequest, __: ServicerContext[Any, Any]) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self.ready)

    async def _metadata(self, _: pb.ModelMetadataRequest, __: ServicerContext[Any, Any]) -> pb.ModelMetadataResponse:
        return self.metadata

    async def _config(self, _: pb.ModelConfigRequest, __: ServicerContext[Any, Any]) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=self.config)

    async def _note(self, request: pb.ModelInferRequest, context: ServicerContext[Any, Any]) -> None:
        self.calls.append((request, dict(context.invocation_metadata()), context.time_remaining()))
        if self.abort is not None:
            await context.abort(*self.abort)
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

    async def _infer(self, request: pb.ModelInferRequest, context: ServicerContext[Any, Any]) -> pb.ModelInferResponse:
        await self._note(request, context)
        return self.answer(request)

    async def _stream(self, requests: Any, context: ServicerContext[Any, Any]) -> Any:  # noqa: ANN401 - grpc's iterators
        async for request in requests:
            for answer in self.answers:
                yield answer
            await self._note(request, context)


class FarHttp:
    """An HTTP server that plays back answers by method and path, and keeps what it was asked."""

    def __init__(self, answers: dict[str, bytes] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.answers = answers or {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.hangs = False
        self.left = asyncio.Event()
        self.closes_after: int | None = None
        self.port = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def serving(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError):
                served = 0
                while self.closes_after is None or served < self.closes_after:
                    await self._answer(reader, writer)
                    served += 1
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        key = line.removesuffix(" HTTP/1.1")
        self.requests.append((key, headers, body))
        if self.hangs and key.startswith("POST"):
            await reader.read()
            self.left.set()
            return
        writer.write(self.answers.get(key, answer(b'{"error": "no such path"}', status=404)))
        await writer.drain()
        if b"content-length" not in self.answers.get(key, b"content-length") and b"chunked" not in self.answers[key]:
            raise EOFError  # its end is told by the connection's


def answer(body: bytes, *, status: int = 200, headers: str = "") -> bytes:
    """Return the bytes of an answer."""
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body
