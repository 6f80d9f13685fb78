"""Compressed gRPC messages at a worker's own port: inflated within bounds, answered in kind.

Through the gateway none arrive: its relay inflates them. A caller that compresses its request gets a compressed answer,
unless that is large: gRPC would compress it on the event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from graphmesh.core.compression import compressed_with, inflate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["pack", "reply", "unpack"]

_Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpc ships no types

_ALGORITHMS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
_MOST_BYTES = 1024 * 1024


async def unpack(message: bytes, context: _Context, limit: int) -> bytes:
    """Return a message as it was before its caller compressed it, and answer that call compressed.

    Raises:
        MessageTooLarge: it inflates to too much (RESOURCE_EXHAUSTED, retry: no).
        InvalidRequest: it is not what it begins as (INVALID_ARGUMENT, retry: no).
    """
    encoding = compressed_with(message)
    if encoding is None:
        return message
    context.set_compression(_ALGORITHMS[encoding])
    return await inflate(message, encoding, limit)


def pack(answer: bytes, context: _Context) -> bytes:
    """Return one of many answers, and leave it uncompressed if it is large."""
    if len(answer) > _MOST_BYTES:
        context.disable_next_message_compression()
    return answer


async def reply(answer: bytes, context: _Context, *, request: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the only answer to a request, once its headers are sent.

    For calls with one answer grpc.aio heeds `set_compression` only if the headers are sent by hand.
    """
    if headers or compressed_with(request) is not None:
        await context.send_initial_metadata(tuple((headers or {}).items()))
    return pack(answer, context)
