"""The gRPC shell's methods: those with one answer are here, streams and natural JSON have modules of their own.

Messages are parsed here rather than by grpc, so that malformed ones are INVALID_ARGUMENT. grpc itself ends a handler
when the deadline passes or the caller leaves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from graphmesh.core.clock import Deadline
from graphmesh.core.oip import EXTENSIONS, RPCS, SERVICE
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.forms.headers import apply_headers, read_revision
from graphmesh.worker.forms.journey import server_timing
from graphmesh.worker.forms.text_properties import text_properties
from graphmesh.worker.forms.wire import decode, encode_response, metadata_to_wire, parse
from graphmesh.worker.http.body import check_answer
from graphmesh.worker.rpc.compression import reply, unpack
from graphmesh.worker.rpc.servicer_errors import Context, abort, metadata_of
from graphmesh.worker.rpc.servicer_predict import PredictServicer
from graphmesh.worker.rpc.servicer_stream import StreamServicer

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from graphmesh.core.oip import Management
    from graphmesh.worker.forms.json_pool import JsonPool
    from graphmesh.worker.handler import Handler
    from graphmesh.worker.health import Health
    from graphmesh.worker.rpc.servicer_stream import Elsewhere

__all__ = ["Servicer"]

_Answer: TypeAlias = Callable[[Any, Context], Awaitable["Message"]]


class Servicer:
    """Answers gRPC calls; `handlers` is what a server is given."""

    def __init__(
        self,
        handler: Handler,
        *,
        management: Management,
        elsewhere: Elsewhere,
        health: Health,
        json: JsonPool,
        max_message_bytes: int,
        version: str,
    ) -> None:
        self._handler = handler
        self._management = management
        self._health = health
        self._limit = max_message_bytes
        self._version = version
        self._streams = StreamServicer(handler, elsewhere, max_message_bytes=max_message_bytes)
        self._predict = PredictServicer(handler, json=json, max_message_bytes=max_message_bytes)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the services, to be added to a server."""
        oip = {
            "ServerLive": self._unary(pb.ServerLiveRequest, self._server_live),
            "ServerReady": self._unary(pb.ServerReadyRequest, self._server_ready),
            "ServerMetadata": self._unary(pb.ServerMetadataRequest, self._server_metadata),
            "ModelReady": self._unary(pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": self._unary(pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._model_infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._streams.model_stream_infer),
        }
        oip |= {name: self._unary(kind, self._managed(answer)) for name, (kind, answer) in RPCS.items()}
        return (
            grpc.method_handlers_generic_handler(SERVICE, oip),
            grpc.method_handlers_generic_handler("graphmesh.v1.InferenceService", self._predict.methods()),
        )

    def part(self) -> bool:
        """Have every stream by REST end with an error that says why; return whether there are any."""
        return self._predict.part()

    async def _model_infer(self, data: bytes, context: Context) -> bytes:
        try:
            received = time.perf_counter()
            request = await decode(await unpack(data, context, self._limit))
            decoded = time.perf_counter()
            request.metadata = metadata_of(context)
            apply_headers(request, request.metadata.get)
            request.deadline = Deadline.after(context.time_remaining())
            response = await self._handler.infer(request)
            started = time.perf_counter()
            body = encode_response(response)
            self._handler.encoded(response, started)
            if "explain" in response.parameters:
                name, value = server_timing(received, decoded, started, time.perf_counter())
                response.headers = {**response.headers, name: value}
            check_answer(len(body), self._limit)
            return await reply(body, context, request=data, headers=response.headers)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a status
            return await abort(error, context)

    def _unary(self, kind: type[Message], answer: _Answer) -> grpc.RpcMethodHandler:
        async def behaviour(data: bytes, context: Context) -> bytes:
            try:
                message = parse(kind, await unpack(data, context, self._limit))
                return await reply((await answer(message, context)).SerializeToString(), context, request=data)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a status
                return await abort(error, context)

        return grpc.unary_unary_rpc_method_handler(behaviour)

    def _managed(self, answer: Callable[[Management, Any], Awaitable[Message]]) -> _Answer:
        return lambda message, _context: answer(self._management, message)

    async def _server_live(self, _message: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _message: pb.ServerReadyRequest, _context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._health.ready)

    async def _server_metadata(
        self, _message: pb.ServerMetadataRequest, _context: Context
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="graphmesh", version=self._version, extensions=EXTENSIONS)

    async def _model_ready(self, message: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        revision = read_revision(metadata_of(context).get)
        return pb.ModelReadyResponse(ready=await self._handler.ready(message.name, message.version, revision))

    async def _model_metadata(self, message: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        facts = await self._handler.describe(message.name, message.version, read_revision(metadata_of(context).get))
        return pb.ModelMetadataResponse(
            name=facts.name,
            versions=facts.versions,
            platform=facts.platform,
            inputs=[metadata_to_wire(spec) for spec in facts.signature.inputs],
            outputs=[metadata_to_wire(spec) for spec in facts.signature.outputs],
            properties=text_properties(facts.signature),
        )
