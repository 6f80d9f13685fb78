"""Compressed gRPC calls: inflated here and passed on to the gateway's own listener, uncompressed.

Envoy chooses workers by a field of the message and cannot look into a compressed one (the field extraction filter
refuses its frames). So these calls, rare and asked for by the client, are the one kind that takes the way through the
control plane. Bytes in, bytes out: the message is never parsed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from graphmesh.gateway.routes import RELAY_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Relay"]

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_HOP_BY_HOP = ("grpc-", "x-envoy-", "x-forwarded-", "user-agent", "te", "content-type")


class Relay(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles every method below the relay's prefix."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 - grpc's own type is private
        """Return the handler of a relayed method; None for any other."""
        method = handler_call_details.method
        if not method.startswith(RELAY_PREFIX):
            return None
        target = "/" + method.removeprefix(RELAY_PREFIX)

        async def relay(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            call = self._channel.stream_stream(target)(
                requests, timeout=context.time_remaining(), metadata=_metadata(context)
            )
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                await context.abort(error.code(), error.details() or "")
            finally:
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(relay)


def _metadata(context: Context) -> list[tuple[str, str | bytes]]:
    metadata = context.invocation_metadata() or ()
    return [(key, value) for key, value in metadata if not key.startswith(_HOP_BY_HOP)]
