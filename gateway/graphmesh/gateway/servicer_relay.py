"""Compressed gRPC calls: inflated here and passed on to the gateway's own listener, uncompressed.

Envoy chooses workers by a field of the message and cannot look into a compressed one (the field extraction filter
refuses its frames). So these calls, rare and asked for by the client, are the one kind that takes the way through the
control plane. Bytes in, bytes out: the message is never parsed here. Answers go back as compressed as the call came,
but for large ones, which gRPC would compress on the event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from graphmesh.core.compression import compressed_with, inflate
from graphmesh.core.errors import GraphmeshError
from graphmesh.gateway.routes import RELAY_PREFIX
from graphmesh.gateway.servicer_errors import abort

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Relay"]

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_ALGORITHMS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
_MOST_COMPRESSED_BYTES = 1024 * 1024
_HOP_BY_HOP = ("grpc-", "x-envoy-", "x-forwarded-", "user-agent", "te", "content-type")


class Relay(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles every method below the relay's prefix."""

    def __init__(self, channel: grpc.aio.Channel, limit: int) -> None:
        self._channel = channel
        self._limit = limit

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 - grpc's own type is private
        """Return the handler of a relayed method; None for any other."""
        method = handler_call_details.method
        if not method.startswith(RELAY_PREFIX):
            return None
        target = "/" + method.removeprefix(RELAY_PREFIX)

        async def relay(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            failures: list[GraphmeshError] = []
            call = self._channel.stream_stream(target)(
                self._inflated(requests, context, failures),
                timeout=context.time_remaining(),
                metadata=_metadata(context),
            )
            try:
                async for response in call:
                    if len(response) > _MOST_COMPRESSED_BYTES:
                        context.disable_next_message_compression()
                    yield response
            except asyncio.CancelledError:
                if not failures:
                    raise
                await abort(context, failures[0])
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                await context.abort(error.code(), error.details() or "")
            finally:
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(relay)

    async def _inflated(
        self, requests: AsyncIterator[bytes], context: Context, failures: list[GraphmeshError]
    ) -> AsyncIterator[bytes]:
        """Yield the requests as they were; one that cannot be inflated is noted, and ends the call."""
        answering = False
        async for message in requests:
            encoding = compressed_with(message)
            if encoding is not None and not answering:
                context.set_compression(_ALGORITHMS[encoding])
                answering = True
            try:
                yield await inflate(message, encoding, self._limit)
            except GraphmeshError as error:
                failures.append(error)
                raise asyncio.CancelledError from error


def _metadata(context: Context) -> list[tuple[str, str | bytes]]:
    metadata = context.invocation_metadata() or ()
    return [(key, value) for key, value in metadata if not key.startswith(_HOP_BY_HOP)]
