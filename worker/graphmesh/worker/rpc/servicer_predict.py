"""JSON over gRPC: `Predict`, and each answer as it comes by `PredictStream` and `GenerateStream`.

The two streams are also what the gateway makes of REST's: Envoy's transcoder wraps the body of a request in the first
message, says in a header which path it was, and passes the data of the answers on, as it is. For those callers answers
are framed (`rpc.answers`). The sender waits for its reader all the way, so these streams may be of any length.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, TypeAlias

import grpc

from graphmesh.core.clock import Deadline
from graphmesh.core.compression import inflate
from graphmesh.v1 import inference_service_pb2 as v1
from graphmesh.worker.forms.headers import ORIGINAL_PATH, apply_headers, read_revision
from graphmesh.worker.forms.json_form import FLAT, NATURAL
from graphmesh.worker.forms.json_pool import tensors_size
from graphmesh.worker.forms.wire import parse
from graphmesh.worker.hosting.streaming import from_loop
from graphmesh.worker.http.body import check_answer
from graphmesh.worker.rpc.answers import Answers, http_body
from graphmesh.worker.rpc.compression import reply, unpack
from graphmesh.worker.rpc.servicer_errors import Context, abort, metadata_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.worker.forms.json_form import JsonForm
    from graphmesh.worker.forms.json_pool import JsonPool
    from graphmesh.worker.handler import Handler, Servable

__all__ = ["PredictServicer"]

_Message: TypeAlias = v1.PredictRequest | v1.PredictStreamRequest | v1.GenerateStreamRequest


class PredictServicer:
    """Answers `graphmesh.v1.InferenceService`."""

    def __init__(self, handler: Handler, *, json: JsonPool, max_message_bytes: int) -> None:
        self._handler = handler
        self._json = json
        self._limit = max_message_bytes
        self._framed: set[Answers] = set()

    def methods(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """Return the service's methods."""
        return {
            "Predict": grpc.unary_unary_rpc_method_handler(self._predict),
            "PredictStream": grpc.unary_stream_rpc_method_handler(self._streaming(v1.PredictStreamRequest, NATURAL)),
            "GenerateStream": grpc.unary_stream_rpc_method_handler(self._streaming(v1.GenerateStreamRequest, FLAT)),
        }

    def part(self) -> bool:
        """Have every stream by REST end with an error that says why; return whether there are any."""
        for answers in self._framed:
            answers.part()
        return bool(self._framed)

    async def _predict(self, data: bytes, context: Context) -> bytes:
        try:
            message: v1.PredictRequest = parse(v1.PredictRequest, await unpack(data, context, self._limit))
            servable, request = await self._request(NATURAL, message, metadata_of(context), context)
            response = await self._handler.run(servable, request)
            answer = http_body(await self._encoded(NATURAL, response, servable.signature))
            check_answer(len(answer), self._limit)
            return await reply(answer, context, request=data, headers=response.headers)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a status
            return await abort(error, context)

    def _streaming(self, kind: type[_Message], form: JsonForm) -> Callable[[bytes, Context], Awaitable[None]]:
        async def behaviour(data: bytes, context: Context) -> None:
            """Answer by writing: a caller that leaves then cancels this very coroutine, wherever it is."""
            metadata = metadata_of(context)
            framing = form.framing(metadata.get("accept")) if ORIGINAL_PATH in metadata else None
            answers = Answers(context, framing, self._limit)
            if framing is not None:
                self._framed.add(answers)
            try:
                message = parse(kind, await unpack(data, context, self._limit))
                servable, request = await self._request(form, message, metadata, context)
                await self._send(form, servable, request, answers)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a status
                await answers.fail(error)
            finally:
                self._framed.discard(answers)

        return behaviour

    async def _send(self, form: JsonForm, servable: Servable, request: InferenceRequest, answers: Answers) -> None:
        stream = from_loop(self._handler.stream(servable, request), deadline=request.deadline)
        async with contextlib.aclosing(stream):
            async for response in stream:
                await answers.send(await self._encoded(form, response, servable.signature), response)
        await answers.end()

    async def _request(
        self, form: JsonForm, message: _Message, metadata: Mapping[str, str], context: Context
    ) -> tuple[Servable, InferenceRequest]:
        servable = await self._handler.find(message.model, message.version, read_revision(metadata.get))
        body = message.body.data
        if ORIGINAL_PATH in metadata:
            body = await inflate(body, metadata.get("content-encoding"), self._limit)
        request = await self._json.run(len(body), form.decode, body, servable.signature)
        request.model, request.version, request.metadata = message.model, message.version, metadata
        apply_headers(request, metadata.get)
        request.deadline = Deadline(min(request.deadline.at, Deadline.after(context.time_remaining()).at))
        return servable, request

    async def _encoded(self, form: JsonForm, response: InferenceResponse, signature: Signature) -> bytes:
        started = time.perf_counter()
        data = await self._json.run(tensors_size(response.outputs), form.encode, response, signature)
        self._handler.encoded(response, started)
        return data
