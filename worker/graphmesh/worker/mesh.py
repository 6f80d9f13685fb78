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
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from graphmesh.core.errors import GraphmeshError, InvalidRequest, ModelNotReady, Unavailable
from graphmesh.worker.forms.headers import DEPTH, FORWARDED
from graphmesh.worker.forms.journey import ATTEMPTS, SERVER_TIMING, Journey
from graphmesh.worker.forms.wire import encode_request, response_from_message, response_from_wire
from graphmesh.worker.http.routes import FAST_PATH, STREAM_INFER
from graphmesh.worker.rpc.client import channel_options, details_of, error_of, streamed
from graphmesh.worker.tracing.context import sendable, travelling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from types import TracebackType

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.registry import Snapshot
    from graphmesh.worker.tracing import Tracing

__all__ = ["Mesh"]


@dataclass(slots=True)
class _Link:
    """A connection to one gateway."""

    channel: grpc.aio.Channel
    call: Any
    stream: Any
    in_flight: int = 0


class Mesh:
    """An `Inferencer` over the gateways that the registry lists. An async context manager."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], *, max_message_bytes: int, tracing: Tracing | None = None
    ) -> None:
        self._tracing = tracing
        self._snapshot = snapshot
        self._links: dict[str, _Link] = {}
        self._turn = itertools.count()
        self._options = channel_options(max_message_bytes=max_message_bytes, connect_s=1)

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

    def infer(self, request: InferenceRequest) -> Coroutine[Any, Any, InferenceResponse]:
        """Run one request somewhere in the mesh; see `graphmesh.core.inference.Inferencer`.

        Raises:
            ModelNotReady: no gateway is registered (UNAVAILABLE, retry: same).
            Unavailable: no gateway can be reached (UNAVAILABLE, retry: same).
            GraphmeshError: what the mesh answered, with its code.
        """
        return self._infer(request) if self._tracing is None else self._tracing.send(self._infer, request)

    async def _infer(self, request: InferenceRequest) -> InferenceResponse:
        journey = Journey()
        body = encode_request(request)
        journey.encoded()
        failure: GraphmeshError | None = None
        for retries, address in enumerate(await self._gateways(request)):
            try:
                return await self._call(address, body, request, journey, retries)
            except _Unreachable as error:
                failure = error
        raise _unreachable(request, failure)

    def signature(self, name: str) -> Signature | None:
        """Return what a model or graph somewhere in the mesh takes and gives, None if there is no such one."""
        return self._snapshot().signature_of(name)

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request somewhere in the mesh and yield each of its answers; raises as `infer`, at any time.

        Cancellation: closing the generator ends the call; the model is closed when it next yields.
        """
        tracing = self._tracing
        return self._begin(request) if tracing is None else tracing.send_stream(self._begin, request)

    async def _begin(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
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
                    yield response_from_message(streamed(data))
            except grpc.aio.AioRpcError as error:
                raise _as_graphmesh_error(error) from error
            finally:
                call.cancel()

    async def _call(
        self, address: str, body: bytes, request: InferenceRequest, journey: Journey, retries: int
    ) -> InferenceResponse:
        with self._link(address) as link:
            call = link.call(body, timeout=request.deadline.timeout(), metadata=_metadata(request))
            try:
                answer: bytes = await call
            except grpc.aio.AioRpcError as error:
                raise _as_graphmesh_error(error) from error
        answered = time.perf_counter()
        response = _response(answer)
        if "explain" in response.parameters:
            said = {name: str(value) for name, value in await call.initial_metadata()}
            retries += int(said.get(ATTEMPTS, "1")) - 1
            journey.ended(response, answered=answered, server=said.get(SERVER_TIMING, ""), retries=retries)
        return response

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
    headers = {**travelling(request.metadata.get), **request.headers} if request.metadata else request.headers
    return ((DEPTH, str(request.depth)), *((name, value) for name, value in headers.items() if sendable(value)))


def _response(answer: bytes) -> InferenceResponse:
    try:
        return response_from_wire(answer)
    except InvalidRequest as error:
        raise GraphmeshError(f"the answer from the mesh cannot be read: {error.message}") from error


def _as_graphmesh_error(error: grpc.aio.AioRpcError) -> GraphmeshError:
    known = error_of(error)
    return _Unreachable(known.message) if isinstance(known, Unavailable) and not details_of(error) else known
