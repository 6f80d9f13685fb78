"""Managing a mesh: graphs, models and workers, over any of its gateways.

A thin layer over the generated stubs: it opens the channel, gives every call a deadline and turns a gRPC status into
the error that stands for it. Messages stay protobuf messages, as `graphmesh.v1` defines them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, Self

import grpc

from graphmesh.core.errors import Code, GraphmeshError, Unavailable, from_code
from graphmesh.v1.graph_service_pb2_grpc import GraphServiceStub
from graphmesh.v1.mesh_service_pb2_grpc import MeshServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from google.protobuf.message import Message

__all__ = ["ControlClient"]

_UNRESOLVED = re.compile(r"resolution failed|^errors resolving ")
"""What grpc's resolvers say of a host that they do not know."""


class _Method(Protocol):
    def __call__(self, request: Message, *, timeout: float) -> Any: ...  # noqa: ANN401 - grpc's call object


class ControlClient:
    """A connection to a gateway's control services; use it as an async context manager.

    Args:
        address: `host:port` of a gateway.
        timeout_s: Deadline of every call, in seconds.
    """

    def __init__(self, address: str = "127.0.0.1:8000", *, timeout_s: float = 10.0) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._channel: grpc.aio.Channel | None = None
        self.graphs: Any = None
        """Stub of `graphmesh.v1.GraphService`; pass its methods to `call`."""
        self.mesh: Any = None
        """Stub of `graphmesh.v1.MeshService`; pass its methods to `call`."""

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)])
        self.graphs = GraphServiceStub(self._channel)
        self.mesh = MeshServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def call(self, method: _Method, request: Message) -> Any:  # noqa: ANN401
        """Call one method of a stub.

        Returns:
            The method's answer.

        Raises:
            GraphmeshError: the error that stands for the status; Unavailable names the address when nothing listens
                there (retry: same).
        """
        try:
            return await method(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from None

    async def pages(self, method: _Method, request: Any, field: str) -> AsyncIterator[Any]:  # noqa: ANN401
        """Yield the items of ``field`` over all pages of a List method."""
        while True:
            answer = await self.call(method, request)
            for item in getattr(answer, field):
                yield item
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def _error(self, error: grpc.aio.AioRpcError) -> GraphmeshError:
        code, message = error.code().value[0], error.details() or error.code().name
        if code == Code.UNAVAILABLE and message.startswith("failed to connect"):  # grpc's own words
            return Unavailable(f"no mesh answers at {self.address}; start one with: graphmesh up")
        if code == Code.UNAVAILABLE and _UNRESOLVED.search(message):
            return Unavailable(f"no address is known for the host of {self.address}; name a gateway as HOST:PORT")
        return from_code(code, message)
