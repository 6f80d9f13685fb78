"""Calls of models and graphs that are elsewhere, by way of the gateways' own listeners.

The gateways balance and retry; here is only the choice among gateways: each call starts at the next one in turn, and
goes on to another when the connection failed or the gateway itself said UNAVAILABLE. What a worker or the mesh
answered, recognisable by its details, is final: it would be the same elsewhere. A call cut off half way may thus run
twice, as it may when a gateway retries; inference is expected to bear that.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
from google.rpc import status_pb2

from graphmesh.core.errors import GraphmeshError, InvalidRequest, ModelNotReady, Unavailable, from_code
from graphmesh.worker.headers import DEPTH
from graphmesh.worker.routes import FAST_PATH
from graphmesh.worker.wire import encode_request, response_from_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.registry import Snapshot

__all__ = ["Mesh"]

_DETAILS = "grpc-status-details-bin"


@dataclass(slots=True)
class _Link:
    """A connection to one gateway."""

    channel: grpc.aio.Channel
    call: Any
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
        gateways = sorted({f"{_host(record.host)}:{record.port}" for record in self._snapshot().gateways.values()})
        if not gateways:
            raise ModelNotReady(f"{request.model!r} is not hosted here, and no gateway is registered to reach it by")
        request.deadline.check(f"{request.model!r} was called")
        if len(self._links) > len(gateways):
            await self._forget(gateways)
        body = encode_request(request)
        first = next(self._turn) % len(gateways)
        failure: GraphmeshError | None = None
        for address in gateways[first:] + gateways[:first]:
            try:
                return _response(await self._call(address, body, request))
            except _Unreachable as error:
                failure = error
        raise Unavailable(f"{request.model!r} cannot be reached by any gateway: {failure}") from failure

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
            link = self._links[address] = _Link(channel, channel.unary_unary(FAST_PATH))
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


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _metadata(request: InferenceRequest) -> tuple[tuple[str, str], ...]:
    return ((DEPTH, str(request.depth)), *request.headers.items())


def _response(answer: bytes) -> InferenceResponse:
    try:
        return response_from_wire(answer)
    except InvalidRequest as error:
        raise GraphmeshError(f"the answer from the mesh cannot be read: {error.message}") from error


def _as_graphmesh_error(error: grpc.aio.AioRpcError) -> GraphmeshError:
    code: int = error.code().value[0]
    message = error.details() or error.code().name
    details = dict(error.trailing_metadata() or ()).get(_DETAILS)
    if error.code() is grpc.StatusCode.UNAVAILABLE and not (details and status_pb2.Status.FromString(details).details):
        return _Unreachable(message)
    return from_code(code, message)
