"""A small HTTP/1.1 client that posts one ready-made body over kept connections, closed or open loop.

Open loop: calls are sent at given instants whatever has been answered, and latency counts from those instants, so that
a server that stalls is not spared the calls that a polite client would have held back.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks.calls import WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.calls import Call

__all__ = ["closed_loop", "open_loop"]


class _Connections:
    """Connections that are kept and used again."""

    def __init__(self, call: Call, answer_bytes: int) -> None:
        self._host, _, port = call.address.partition(":")
        self._port = int(port)
        headers = {"host": "bench", **call.headers, "content-length": str(len(call.body))}
        lines = [f"POST {call.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._bytes = "\r\n".join(lines).encode() + call.body
        self._answer_bytes = answer_bytes
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self) -> None:
        """Make the call, and raise WrongAnswer unless the answer is as long as the right one (an error is empty)."""
        while self._idle:
            try:
                return await self._exchange(*self._idle.pop())
            except (asyncio.IncompleteReadError, ConnectionError):
                continue  # a server closes connections that were idle for long
        return await self._exchange(*await asyncio.open_connection(self._host, self._port))

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._bytes)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200") or length != self._answer_bytes:
            raise WrongAnswer(f"the worker answered {head[:200]!r}")
        self._idle.append((reader, writer))

    def close(self) -> None:
        """Close all that are idle."""
        for _, writer in self._idle:
            writer.close()


async def closed_loop(call: Call, answer_bytes: int, *, callers: int, seconds: float) -> float:
    """Return the calls a second of so many callers, each of which calls again when it is answered."""
    connections, done = _Connections(call, answer_bytes), 0
    begin = time.perf_counter() + min(1.0, seconds / 4)
    end = begin + seconds

    async def caller() -> None:
        nonlocal done
        while (now := time.perf_counter()) < end:
            done += begin < now
            await connections.post()

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    connections.close()
    return done / seconds


async def open_loop(call: Call, answer_bytes: int, arrivals: Sequence[float]) -> list[float]:
    """Make a call at each of these instants, seconds from now; return the latencies in their order."""
    connections = _Connections(call, answer_bytes)
    latencies = [0.0] * len(arrivals)
    began = time.perf_counter()

    async def one(index: int) -> None:
        await connections.post()
        latencies[index] = time.perf_counter() - began - arrivals[index]

    async with asyncio.TaskGroup() as group:
        for index, arrival in enumerate(arrivals):
            await asyncio.sleep(began + arrival - time.perf_counter())
            group.create_task(one(index))
    connections.close()
    return latencies
