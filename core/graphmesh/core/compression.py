"""Compressed messages: inflated within bounds, deflated when the caller can read it; gzip and deflate, no others.

What a few bytes may inflate to is bounded twice: by the size of a message, and, past the first mebibyte, by a ratio of
100, which dense data stays far below and a bomb does not (zlib reaches 1000). zlib works off the event loop for all but
small bodies. Answers are deflated at zlib's quickest level: on a local network the time counts, not the last byte.

gRPC messages are inflated here too, not by gRPC, which knows no ratio. It does not tell which message is compressed
(servers run with ``grpc.per_message_decompression`` 0), their first bytes do: no message of ours begins so.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from graphmesh.core.errors import InvalidRequest, MessageTooLarge, Unsupported

__all__ = ["accepted", "compressed_with", "deflate", "inflate", "inflate_sync"]

_WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_FREE_BYTES = 1024 * 1024
_MAX_RATIO = 100
_INFLATE_ON_LOOP_BYTES = 4 * 1024
_DEFLATE_ON_LOOP_BYTES = 64 * 1024
_LEVEL = 1
_GZIP = b"\x1f\x8b"  # as protobuf: field 3 of wire type 7, which does not exist
_DEFLATE = frozenset({b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"})  # as protobuf: field 15, which none has


def compressed_with(message: bytes) -> str | None:
    """Return how a gRPC message is compressed, None if it is not."""
    head = message[:2]
    if head == _GZIP:
        return "gzip"
    return "deflate" if head in _DEFLATE else None


async def inflate(body: bytes, encoding: str | None, limit: int) -> bytes:
    """Return the body that a `content-encoding` stands for; raises as `inflate_sync`.

    Cancellation: a thread that inflates goes on to its bound.
    """
    if encoding is None or encoding == "identity":
        return body
    if len(body) <= _INFLATE_ON_LOOP_BYTES:
        return inflate_sync(body, encoding, limit)
    return await asyncio.to_thread(inflate_sync, body, encoding, limit)


def inflate_sync(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the body that a `content-encoding` stands for, never more than ``limit`` bytes of it.

    Raises:
        MessageTooLarge: it inflates to more than the limit, or than the ratio allows (RESOURCE_EXHAUSTED, retry: no).
        InvalidRequest: it is not of that encoding (INVALID_ARGUMENT, retry: no).
        Unsupported: neither gzip nor deflate (UNIMPLEMENTED, retry: no).
    """
    if encoding not in _WINDOW_BITS:
        raise Unsupported(f"content-encoding must be gzip, deflate or identity, got {encoding[:40]!r}")
    most = min(limit, max(_FREE_BYTES, len(body) * _MAX_RATIO))
    machine: Any = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated: bytes = machine.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body must be {encoding}: {error}") from error
    if len(inflated) > most:
        why = f"at most {limit} bytes" if most == limit else f"at most {_MAX_RATIO} times its compressed size"
        raise MessageTooLarge(f"a message of {len(body)} compressed bytes must inflate to {why}; this one has more")
    if not machine.eof:
        raise InvalidRequest(f"the body must be {encoding}: it is cut short")
    if machine.unused_data:
        raise InvalidRequest(f"the body must be one {encoding} stream: {len(machine.unused_data)} bytes follow it")
    return inflated


def accepted(accept_encoding: str | None) -> str | None:
    """Return the encoding to answer in, None for none, by the header's names; gzip goes before deflate."""
    if not accept_encoding:
        return None
    wanted = {name for name, refused in map(_choice, accept_encoding.lower().split(",")) if not refused}
    return next((encoding for encoding in _WINDOW_BITS if encoding in wanted), None)


def _choice(text: str) -> tuple[str, bool]:
    """Return a name of `accept-encoding`, and whether its weight is zero."""
    name, _, weight = text.partition(";")
    return name.strip(), weight.replace(" ", "").rstrip("0") in {"q=", "q=0."}


async def deflate(body: bytes, encoding: str) -> bytes:
    """Return a body in an encoding that `accepted` gave."""
    if len(body) <= _DEFLATE_ON_LOOP_BYTES:
        return _deflate(body, encoding)
    return await asyncio.to_thread(_deflate, body, encoding)


def _deflate(body: bytes, encoding: str) -> bytes:
    machine = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return machine.compress(body) + machine.flush()
