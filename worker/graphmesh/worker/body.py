"""Reading the body of an HTTP request without ever holding more than one message."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

from granian.rsgi import ProtocolClosed

from graphmesh.core.errors import Cancelled, InvalidRequest, Overloaded, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["TooLarge", "Upload", "check_answer", "inflate", "read_body"]

_WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class Upload(Protocol):
    """A request's body, as granian offers it: awaited whole, or iterated in chunks."""

    async def __call__(self) -> bytes:
        """Return the whole body."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the body's chunks."""
        ...


class TooLarge(Overloaded):
    """The message is larger than this server takes; HTTP says 413."""

    reason = "MESSAGE_TOO_LARGE"


async def read_body(upload: Upload, content_length: str | None, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: more than ``limit`` bytes; nothing was read if the header says so (RESOURCE_EXHAUSTED, retry: no).
        Cancelled: the caller left before it was complete (CANCELLED, retry: no).

    Cost: one copy. A body that announces its length is read in one go, any other chunk by chunk.
    """
    try:
        if content_length is None:
            return await _read_chunks(upload, limit)
        _check(int(content_length), limit)
        return await upload()
    except ProtocolClosed as error:
        raise Cancelled("the caller left before the body was complete") from error


async def _read_chunks(upload: Upload, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in upload:
        size += len(chunk)
        _check(size, limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"a message must have at most {limit} bytes, this one has {size} or more")


def check_answer(size: int, limit: int) -> None:
    """Refuse to send an answer of more than ``limit`` bytes.

    Raises:
        Overloaded: it has more (RESOURCE_EXHAUSTED, retry: no).
    """
    if size > limit:
        raise Overloaded(f"an answer must have at most {limit} bytes, this one has {size}")


def inflate(body: bytes, encoding: str | None, limit: int) -> bytes:
    """Return the body that a `content-encoding` stands for, never more than ``limit`` bytes of it.

    Raises:
        TooLarge: it inflates to more (RESOURCE_EXHAUSTED, retry: no).
        InvalidRequest: it is not of that encoding (INVALID_ARGUMENT, retry: no).
        Unsupported: neither gzip nor deflate (UNIMPLEMENTED, retry: no).
    """
    if encoding is None or encoding == "identity":
        return body
    if encoding not in _WINDOW_BITS:
        raise Unsupported(f"content-encoding must be gzip, deflate or identity, got {encoding[:40]!r}")
    machine: Any = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated: bytes = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body must be {encoding}: {error}") from error
    _check(len(inflated), limit)
    if not machine.eof:
        raise InvalidRequest(f"the body must be {encoding}: it is cut short")
    return inflated
