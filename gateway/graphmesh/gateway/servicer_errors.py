"""The edge of the control plane's gRPC services: every failure becomes a status with its reason as ErrorInfo."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status as grpc_rpc_status

from graphmesh.core.compression import compressed_with, inflate_sync
from graphmesh.core.errors import GraphmeshError, InvalidRequest
from graphmesh.core.status import as_graphmesh_error, rpc_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Decoding", "abort", "answers", "well_formed"]

_OURS = ("/graphmesh.v1.", "/inference.")


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    """End the call with an error; raises, as the context's own abort does."""
    status = grpc_rpc_status.to_status(rpc_status(as_graphmesh_error(error)))
    await context.abort_with_status(status)


def answers(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a unary method whose errors reach the client as statuses."""

    @functools.wraps(method)
    async def answering(self: object, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: ANN401
        try:
            return await method(self, well_formed(request), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the edge: every failure becomes a status
            await abort(context, error)

    return answering


class Decoding(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Inflates compressed requests, and makes what does not parse INVALID_ARGUMENT; grpc.aio would answer UNKNOWN."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Return the method's handler with a decoder that does not raise."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        decode, limit = handler.request_deserializer, self._limit
        ours = handler_call_details.method.startswith(_OURS)

        def decoded(data: bytes) -> object:
            try:
                encoding = compressed_with(data)
                return decode(inflate_sync(data, encoding, limit) if encoding else data)
            except GraphmeshError as error:
                failure = error
            except DecodeError:
                failure = InvalidRequest("the request must be a message of the method's type; its bytes do not parse")
            if not ours:
                raise failure
            return failure

        return handler._replace(request_deserializer=decoded)


def well_formed(request: Any) -> Any:  # noqa: ANN401 - generated
    """Return the request, or raise the error of one that could not be read."""
    if isinstance(request, GraphmeshError):
        raise request
    return request
