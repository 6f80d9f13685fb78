"""`ModelStreamInfer` in Triton's wrapper.

Messages of one stream are answered in their order. Up to 32 of them, and together no larger than one may be, are worked
on at a time: models that answer once run side by side, so that they can be batched, while a model that streams runs
when its turn has come, as fast as its caller reads::

    messages --> [ running | running | stream | running ... ] --> answers, oldest message first

A message that fails is told so inside the stream, which goes on; with the header ``triton_grpc_error: true`` the first
failure ends the stream with a status instead, and so does the deadline of the call itself, whatever the header. What
this worker does not host is called through the mesh, and no further than one hop: the worker that it gets to hosts it,
or says that it is not found. Each answer says in `triton_final_response` whether it is its message's last; the end of a
model that streams is told, by an empty answer, to messages that ask for it (`triton_enable_empty_final_response`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from graphmesh.core.clock import Deadline
from graphmesh.core.compression import compressed_with, inflate
from graphmesh.core.errors import DeadlinePassed, GraphmeshError, ModelNotReady, NotFound
from graphmesh.core.status import as_graphmesh_error
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.forms.headers import FORWARDED, apply_headers
from graphmesh.worker.forms.wire import decode, response_to_wire
from graphmesh.worker.http.body import check_answer
from graphmesh.worker.rpc.compression import pack, unpack
from graphmesh.worker.rpc.servicer_errors import Context, abort, metadata_of, reraise_cancelled, send_headers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.worker.handler import Handler, Servable

__all__ = ["Elsewhere", "StreamServicer"]

_AT_ONCE = 32
_TIMER_S = 0.002  # timers of uvloop are whole milliseconds and may be early
_EMPTY_FINAL = "triton_enable_empty_final_response"
_FINAL = "triton_final_response"
_STRICT = "triton_grpc_error"


class Elsewhere(Protocol):
    """The rest of the mesh."""

    def signature(self, name: str) -> Signature | None:
        """Return what a model or graph takes and gives, None if there is no such one."""
        ...

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request; see `graphmesh.core.inference.Inferencer`."""
        ...

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request and yield each of its answers."""
        ...


@dataclass(slots=True, kw_only=True)
class _Rpc:
    """One call of the method, with all its messages."""

    context: Context
    metadata: Mapping[str, str]
    deadline: Deadline
    forwarded: bool
    """Whether another worker passed it on."""
    strict: bool
    """Whether a failure ends it."""
    model: str | None = None
    """What the first message names: the gateway's headers are about this one."""
    begun: bool = False
    """Whether an answer was sent."""


@dataclass(slots=True)
class _Turn:
    """One message, and what came of it: a response, a stream that is begun when its turn has come, or an error."""

    size: int
    request: InferenceRequest | None = None
    empty_final: bool = False
    response: InferenceResponse | None = None
    answers: AsyncGenerator[InferenceResponse, None] | None = None
    error: BaseException | None = None


class _Room:
    """What the messages that are being worked on may be, together: 32, and so many bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._bytes = 0
        self._left = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until there is room for a message; alone, it may be as large as it likes."""
        while self._count == _AT_ONCE or (self._count and self._bytes + size > self._limit):
            self._left.clear()
            await self._left.wait()
        self._count += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        """Give the room of a message back."""
        self._count -= 1
        self._bytes -= size
        self._left.set()


class StreamServicer:
    """Answers streams of messages."""

    def __init__(self, handler: Handler, elsewhere: Elsewhere, *, max_message_bytes: int) -> None:
        self._handler = handler
        self._elsewhere = elsewhere
        self._limit = max_message_bytes

    async def model_stream_infer(self, messages: AsyncIterator[bytes], context: Context) -> None:
        """Answer by writing: a caller that leaves then cancels this very coroutine, wherever it is."""
        metadata = metadata_of(context)
        forwarded = metadata.get(FORWARDED) == "1"
        rpc = _Rpc(
            context=context,
            metadata=metadata,
            deadline=Deadline.after(context.time_remaining()),
            forwarded=forwarded,
            strict=forwarded or metadata.get(_STRICT) == "true",
        )
        turns: asyncio.Queue[asyncio.Task[_Turn] | None] = asyncio.Queue()
        room = _Room(self._limit)
        tasks: set[asyncio.Task[Any]] = {asyncio.create_task(self._read(messages, rpc, turns, room))}
        try:
            while (task := await turns.get()) is not None:
                tasks.add(task)
                turn = await task
                await self._send(turn, rpc)
                tasks.remove(task)
                room.leave(turn.size)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a status
            await abort(error, context)
        finally:
            while not turns.empty():
                tasks |= {task} if (task := turns.get_nowait()) is not None else set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self,
        messages: AsyncIterator[bytes],
        rpc: _Rpc,
        turns: asyncio.Queue[asyncio.Task[_Turn] | None],
        room: _Room,
    ) -> None:
        """Begin every message as it comes, while there is room."""
        first = True
        try:
            async for data in messages:
                message = await self._inflated(data, rpc, first=first)
                await room.enter(len(message) if isinstance(message, bytes) else 0)
                turns.put_nowait(asyncio.create_task(self._begin(message, rpc, first=first)))
                first = False
        finally:
            turns.put_nowait(None)

    async def _inflated(self, data: bytes, rpc: _Rpc, *, first: bool) -> bytes | GraphmeshError:
        """Return a message as its caller wrote it: its real size is what it takes of the room."""
        try:
            if first:  # which settles how answers are compressed
                return await unpack(data, rpc.context, self._limit)
            return await inflate(data, compressed_with(data), self._limit)
        except GraphmeshError as error:
            return error

    async def _begin(self, message: bytes | GraphmeshError, rpc: _Rpc, *, first: bool) -> _Turn:
        if isinstance(message, GraphmeshError):
            return _Turn(0, error=message)
        turn = _Turn(len(message))
        try:
            request = turn.request = await self._request(message, rpc, first=first)
            turn.empty_final = request.parameters.get(_EMPTY_FINAL) is True
            servable = await self._find(request, rpc)
            if servable is not None and servable.signature.streaming:
                turn.answers = self._handler.stream(servable, request)
            elif servable is not None:
                turn.response = await self._handler.run(servable, request)
            elif self._streams_elsewhere(request.model):
                turn.answers = self._elsewhere.stream(request)
            else:
                turn.response = await self._elsewhere.infer(request)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes a message
            reraise_cancelled(error)
            turn.error = error
        return turn

    async def _request(self, data: bytes, rpc: _Rpc, *, first: bool) -> InferenceRequest:
        request = await decode(data)
        if first:
            rpc.model = request.model
        apply_headers(request, rpc.metadata.get)
        request.metadata, request.deadline = rpc.metadata, rpc.deadline
        if request.model != rpc.model:
            request.graph_revision = 0
        return request

    async def _find(self, request: InferenceRequest, rpc: _Rpc) -> Servable | None:
        """Return what runs a request here, None for what is to be called through the mesh."""
        try:
            servable = await self._handler.find(request.model, request.version, request.graph_revision)
            _ = servable.signature  # raises while it is not ready
        except (NotFound, ModelNotReady):
            if rpc.forwarded or self._elsewhere.signature(request.model) is None:
                raise
            return None
        return servable

    def _streams_elsewhere(self, model: str) -> bool:
        signature = self._elsewhere.signature(model)
        return signature is not None and signature.streaming

    async def _send(self, turn: _Turn, rpc: _Rpc) -> None:
        """Send all answers to one message."""
        try:
            _check(turn)
            if turn.response is not None:
                await self._write(turn.response, rpc, final=True)
            if turn.answers is not None:
                async with contextlib.aclosing(turn.answers) as answers:
                    async for response in answers:
                        await self._write(response, rpc, final=False)
                if turn.empty_final:
                    await _write(pb.ModelStreamInferResponse(infer_response=_final(turn)), rpc)
        except (Exception, asyncio.CancelledError) as error:
            reraise_cancelled(error)
            if rpc.strict or _over(error, rpc):
                raise
            message = as_graphmesh_error(error).message
            await _write(pb.ModelStreamInferResponse(error_message=message, infer_response=_final(turn)), rpc)

    async def _write(self, response: InferenceResponse, rpc: _Rpc, *, final: bool) -> None:
        started = time.perf_counter()
        wire = response_to_wire(response)
        wire.parameters[_FINAL].bool_param = final
        answer = pb.ModelStreamInferResponse(infer_response=wire)
        self._handler.encoded(response, started)
        check_answer(answer.ByteSize(), self._limit)
        if not rpc.begun:
            await send_headers(response, rpc.context)
        await _write(answer, rpc)


def _check(turn: _Turn) -> None:
    if turn.error is not None:
        raise turn.error


def _over(error: BaseException, rpc: _Rpc) -> bool:
    """Return whether the call's own time is over, as its caller's clock will say: the stream must not end with OK."""
    return isinstance(error, DeadlinePassed) and rpc.deadline.remaining() <= _TIMER_S


async def _write(answer: pb.ModelStreamInferResponse, rpc: _Rpc) -> None:
    rpc.begun = True
    await rpc.context.write(pack(answer.SerializeToString(), rpc.context))


def _final(turn: _Turn) -> pb.ModelInferResponse:
    """Return the last answer to a message, of which it says only which one it was."""
    response = pb.ModelInferResponse()
    if turn.request is not None:
        response.model_name, response.model_version = turn.request.model, turn.request.version
        response.id = turn.request.id
    response.parameters[_FINAL].bool_param = True
    return response
