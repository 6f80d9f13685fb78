"""Calls of models and graphs that are elsewhere, by way of the gateways' own listeners.

The gateways balance and retry; here is only the choice among gateways: each call starts at the next one in turn, and
goes on to another when the connection failed or the gateway itself said UNAVAILABLE. What a worker or the mesh
answered, recognisable by its details, is final: it would be the same elsewhere. A call cut off half way may thus run
twice, as it may when a gateway retries; inference is expected to bear that. A stream is passed on as it comes, so it is
never begun again once it has given an answer.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from graphmesh.core.errors import GraphmeshError, InvalidRequest, ModelNotReady, Overloaded, Unavailable, from_code
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.forms.headers import DEPTH, FORWARDED
from graphmesh.worker.forms.wire import encode_request, parse, response_from_message, response_from_wire
from graphmesh.worker.http.routes import FAST_PATH, STREAM_INFER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
    from types import TracebackType

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.registry import Snapshot

__all__ = ["Mesh"]

_DETAILS = "grpc-status-details-bin"


@dataclass(slots=True)
class _Link:
    """A connection to one gateway."""

    channel: grpc.aio.Channel
    call: Any
    stream: Any
    in_flight: int = 0


class Mesh:
    """An `Inferencer` over the gateways that the registry lists. An async context manager."""

    def __init__(self, snapshot: Callable[[], Snapshot], *, max_message_bytes: int) -> None:
        self._snapshot = snapshot
        self._links: dict[str, _Link] = {}
        self._turn = itertools.count()
        self._options = (
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.min_reconnect_backoff_ms", 1_000),  # bounds one attempt to connect, too
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 2_000),
        )

    async def __aenter__(self) -> Self:
        """Return the mesh; connections are made when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections; calls in flight fail."""
        links, self._links = list(self._links.values()), {}
        for link in links:
            await link.channel.close()

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request somewhere in the mesh; see `graphmesh.core.inference.Inferencer`.

        Raises:
            ModelNotReady: no gateway is registered (UNAVAILABLE, retry: same).
            Unavailable: no gateway can be reached (UNAVAILABLE, retry: same).
            GraphmeshError: what the mesh answered, with its code.
        """
        body = encode_request(request)
        failure: GraphmeshError | None = None
        for address in await self._gateways(request):
            try:
                return _response(await self._call(address, body, request))
            except _Unreachable as error:
                failure = error
        raise _unreachable(request, failure)

    def signature(self, name: str) -> Signature | None:
        """Return what a model or graph somewhere in the mesh takes and gives, None if there is no such one."""
        return self._snapshot().signature_of(name)

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request somewhere in the mesh and yield each of its answers; raises as `infer`, at any time.

        Cancellation: closing the generator ends the call; the model is closed when it next yields.
        """
        body = encode_request(request)
        failure: GraphmeshError | None = None
        for address in await self._gateways(request):
            begun = False
            try:
                async with contextlib.aclosing(self._stream(address, body, request)) as answers:
                    async for answer in answers:
                        begun = True
                        yield answer
            except _Unreachable as error:
                if begun:
                    raise
                failure = error
            else:
                return
        raise _unreachable(request, failure)

    async def _gateways(self, request: InferenceRequest) -> list[str]:
        """Return the addresses of all gateways, the next one in turn first; raises ModelNotReady if there is none."""
        gateways = sorted({f"{_host(record.host)}:{record.port}" for record in self._snapshot().gateways.values()})
        if not gateways:
            raise ModelNotReady(f"{request.model!r} is not hosted here, and no gateway is registered to reach it by")
        request.deadline.check(f"{request.model!r} was called")
        if len(self._links) > len(gateways):
            await self._forget(gateways)
        first = next(self._turn) % len(gateways)
        return gateways[first:] + gateways[:first]

    async def _stream(
        self, address: str, body: bytes, request: InferenceRequest
    ) -> AsyncGenerator[InferenceResponse, None]:
        metadata = (*_metadata(request), (FORWARDED, "1"))
        with self._link(address) as link:
            call = link.stream([body], timeout=request.deadline.timeout(), metadata=metadata)
            try:
                async for data in call:
                    yield _streamed(data)
            except grpc.aio.AioRpcError as error:
                raise _as_graphmesh_error(error) from error
            finally:
                call.cancel()

    async def _call(self, address: str, body: bytes, request: InferenceRequest) -> bytes:
        with self._link(address) as link:
            try:
                answer: bytes = await link.call(body, timeout=request.deadline.timeout(), metadata=_metadata(request))
            except grpc.aio.AioRpcError as error:
                raise _as_graphmesh_error(error) from error
            return answer

    @contextlib.contextmanager
    def _link(self, address: str) -> Iterator[_Link]:
        link = self._links.get(address)
        if link is None:
            channel = grpc.aio.insecure_channel(address, options=self._options)
            link = self._links[address] = _Link(
                channel, channel.unary_unary(FAST_PATH), channel.stream_stream(STREAM_INFER)
            )
        link.in_flight += 1
        try:
            yield link
        finally:
            link.in_flight -= 1

    async def _forget(self, gateways: list[str]) -> None:
        """Close idle connections to gateways that are no longer registered."""
        for address in [a for a, link in self._links.items() if a not in gateways and not link.in_flight]:
            await self._links.pop(address).channel.close()


class _Unreachable(Unavailable):
    """The gateway could not be reached or had nobody to pass the call to; another one may."""


def _unreachable(request: InferenceRequest, failure: GraphmeshError | None) -> Unavailable:
    error = Unavailable(f"{request.model!r} cannot be reached by any gateway: {failure}")
    error.__cause__ = failure
    return error


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _metadata(request: InferenceRequest) -> tuple[tuple[str, str], ...]:
    return ((DEPTH, str(request.depth)), *request.headers.items())


def _response(answer: bytes) -> InferenceResponse:
    try:
        return response_from_wire(answer)
    except InvalidRequest as error:
        raise GraphmeshError(f"the answer from the mesh cannot be read: {error.message}") from error


def _streamed(data: bytes) -> InferenceResponse:
    message: pb.ModelStreamInferResponse = parse(pb.ModelStreamInferResponse, data)
    if message.error_message:
        raise GraphmeshError(message.error_message)
    return response_from_message(message.infer_response)


def _as_graphmesh_error(error: grpc.aio.AioRpcError) -> GraphmeshError:
    code: int = error.code().value[0]
    message = error.details() or error.code().name
    found = dict(error.trailing_metadata() or ()).get(_DETAILS)
    details = status_pb2.Status.FromString(found).details if found else ()
    if error.code() is grpc.StatusCode.UNAVAILABLE and not details:
        return _Unreachable(message)
    known = from_code(code, message)
    if isinstance(known, Overloaded):
        known.retry_after_s = _pause_s(details)
    return known


def _pause_s(details: Iterable[Any]) -> float:
    """Return after how long whoever refused the call would have it repeated; 0 if they did not say."""
    for detail in details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return 0.0
