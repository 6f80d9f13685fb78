"""Reading the body of an HTTP request without ever holding more than one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from granian.rsgi import ProtocolClosed

from graphmesh.core.errors import Cancelled, MessageTooLarge, Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Upload", "check_answer", "read_body"]


class Upload(Protocol):
    """A request's body, as granian offers it: awaited whole, or iterated in chunks."""

    async def __call__(self) -> bytes:
        """Return the whole body."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the body's chunks."""
        ...


async def read_body(upload: Upload, content_length: str | None, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        MessageTooLarge: more than ``limit`` bytes; nothing is read if the header says so (RESOURCE_EXHAUSTED,
            retry: no).
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
        raise MessageTooLarge(f"a message must have at most {limit} bytes, this one has {size} or more")


def check_answer(size: int, limit: int) -> None:
    """Refuse to send an answer of more than ``limit`` bytes.

    Raises:
        Overloaded: it has more (RESOURCE_EXHAUSTED, retry: no).
    """
    if size > limit:
        raise Overloaded(f"an answer must have at most {limit} bytes, this one has {size}")
