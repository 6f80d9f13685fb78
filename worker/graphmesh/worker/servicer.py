"""The gRPC shell's methods: the Open Inference Protocol with Triton's stream, and natural JSON over gRPC.

Messages are parsed here rather than by grpc, so that malformed ones are INVALID_ARGUMENT. grpc itself ends a handler
when the deadline passes or the caller leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.api import httpbody_pb2

from graphmesh.core.clock import Deadline
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.core.status import as_graphmesh_error, rpc_status
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.v1 import inference_service_pb2
from graphmesh.worker import natural
from graphmesh.worker.body import check_answer
from graphmesh.worker.headers import apply_headers, read_revision
from graphmesh.worker.wire import decode_request, encode_response, metadata_to_wire, parse, response_to_wire

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.worker.handler import Handler
    from graphmesh.worker.health import Health

__all__ = ["DETAILS", "Servicer", "status_code"]

DETAILS = "grpc-status-details-bin"
"""The trailer that carries a google.rpc.Status."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpc ships no types
_Answer: TypeAlias = Callable[[Any, _Context], Awaitable["Message"]]


def status_code(error: GraphmeshError) -> grpc.StatusCode:
    """Return grpc's own name of an error's code."""
    return _CODES[int(error.code)]


class Servicer:
    """Answers gRPC calls; `handlers` is what a server is given."""

    def __init__(self, handler: Handler, *, health: Health, max_message_bytes: int, version: str) -> None:
        self._handler = handler
        self._health = health
        self._limit = max_message_bytes
        self._version = version

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the services, to be added to a server."""
        oip = {
            "ServerLive": _unary(pb.ServerLiveRequest, self._server_live),
            "ServerReady": _unary(pb.ServerReadyRequest, self._server_ready),
            "ServerMetadata": _unary(pb.ServerMetadataRequest, self._server_metadata),
            "ModelReady": _unary(pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": _unary(pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._model_infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._model_stream_infer),
        }
        predict = {"Predict": _unary(inference_service_pb2.PredictRequest, self._predict)}
        return (
            grpc.method_handlers_generic_handler("inference.GRPCInferenceService", oip),
            grpc.method_handlers_generic_handler("graphmesh.v1.InferenceService", predict),
        )

    async def _model_infer(self, data: bytes, context: _Context) -> bytes:
        try:
            body = encode_response(await self._infer(data, context))
            check_answer(len(body), self._limit)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a status
            await _abort(error, context)
        return body

    async def _infer(self, data: bytes, context: _Context) -> InferenceResponse:
        request = decode_request(data)
        apply_headers(request, _metadata(context))
        request.deadline = Deadline.after(context.time_remaining())
        return await self._handler.infer(request)

    async def _model_stream_infer(self, stream: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        """Answer each message in turn; one that fails is told so inside the stream, which goes on."""
        async for data in stream:
            try:
                response = response_to_wire(await self._infer(data, context))
                answer = pb.ModelStreamInferResponse(infer_response=response)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a message
                _reraise_cancelled(error)
                answer = pb.ModelStreamInferResponse(error_message=as_graphmesh_error(error).message)
            yield answer.SerializeToString()

    async def _predict(self, message: inference_service_pb2.PredictRequest, context: _Context) -> httpbody_pb2.HttpBody:
        get = _metadata(context)
        servable = await self._handler.find(message.model, message.version, read_revision(get))
        signature = servable.signature
        inputs = natural.decode_inputs(message.body.data, signature)
        request = InferenceRequest(model=message.model, version=message.version, inputs=inputs)
        apply_headers(request, get)
        request.deadline = Deadline.after(context.time_remaining())
        response = await self._handler.run(servable, request)
        data = natural.encode_answer(response, signature)
        return httpbody_pb2.HttpBody(content_type="application/json", data=data)

    async def _server_live(self, _message: pb.ServerLiveRequest, _context: _Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _message: pb.ServerReadyRequest, _context: _Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._health.ready)

    async def _server_metadata(
        self, _message: pb.ServerMetadataRequest, _context: _Context
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="graphmesh", version=self._version, extensions=["binary_tensor_data"])

    async def _model_ready(self, message: pb.ModelReadyRequest, context: _Context) -> pb.ModelReadyResponse:
        revision = read_revision(_metadata(context))
        return pb.ModelReadyResponse(ready=await self._handler.ready(message.name, message.version, revision))

    async def _model_metadata(self, message: pb.ModelMetadataRequest, context: _Context) -> pb.ModelMetadataResponse:
        facts = await self._handler.describe(message.name, message.version, read_revision(_metadata(context)))
        return pb.ModelMetadataResponse(
            name=facts.name,
            versions=facts.versions,
            platform=facts.platform,
            inputs=[metadata_to_wire(spec) for spec in facts.signature.inputs],
            outputs=[metadata_to_wire(spec) for spec in facts.signature.outputs],
        )


def _unary(kind: type[Message], answer: _Answer) -> grpc.RpcMethodHandler:
    async def behaviour(data: bytes, context: _Context) -> bytes:
        try:
            return (await answer(parse(kind, data), context)).SerializeToString()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a status
            return await _abort(error, context)

    return grpc.unary_unary_rpc_method_handler(behaviour)


async def _abort(error: BaseException, context: _Context) -> bytes:
    _reraise_cancelled(error)
    known = as_graphmesh_error(error)
    status = rpc_status(known)
    trailer = ((DETAILS, status.SerializeToString()),)
    await context.abort(status_code(known), status.message, trailer)
    raise AssertionError("abort always raises")


def _reraise_cancelled(error: BaseException) -> None:
    """Let a cancellation of this very task through; one that came out of a model is the model's failure."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error


def _metadata(context: _Context) -> Callable[[str], str | None]:
    metadata = dict(context.invocation_metadata() or ())
    return metadata.get
