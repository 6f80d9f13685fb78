"""What tests of streams have in common: a reader of HTTP/1.1 bodies as they come, and callers that leave."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

CLOSED_WITHIN_S = 0.05
"""How long after its next yield a generator may live whose caller has left."""


async def eventually(holds: Callable[[], object]) -> None:
    """Return once something holds that has no event; fail after five seconds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is read as it comes."""

    status: int
    headers: Mapping[str, str]
    reader: asyncio.StreamReader

    async def events(self) -> AsyncIterator[str]:
        """Yield the events of a chunked body, each without its empty line."""
        rest = ""
        while chunk := await self._chunk():
            *events, rest = (rest + chunk.decode()).split("\n\n")
            for event in events:
                yield event
        assert not rest

    async def text(self) -> str:
        """Return the whole body."""
        if "content-length" in self.headers:
            return (await self.reader.readexactly(int(self.headers["content-length"]))).decode()
        chunks = []
        while chunk := await self._chunk():
            chunks.append(chunk)
        return b"".join(chunks).decode()

    async def _chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        chunk = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return chunk


@contextlib.asynccontextmanager
async def post(
    port: int, path: str, body: bytes, *, headers: Mapping[str, str] | None = None, limit: int = 1 << 16
) -> AsyncGenerator[Stream, None]:
    """Make one POST over a connection of its own, which is closed on leaving."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        status, *rest = head.decode("latin-1").split("\r\n")
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest if line)}
        yield Stream(int(status.split()[1]), found, reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
