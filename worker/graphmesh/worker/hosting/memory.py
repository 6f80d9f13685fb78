"""How much memory models take: of a process, and what loading one into this process added to it.

Growth can be told only of what loads alone. So loads in this process take turns, but only for a moment: one that
waited a second goes on beside the others, and what they take remains unknown. Memory that was free inside the process
before is not seen; a model that fits into it counts as 0.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LoadMeter", "resident_bytes"]

_PATIENCE_S = 1.0

_Result = TypeVar("_Result")


def resident_bytes(pid: int | None = None) -> int:
    """Return the memory that a process, or this one, has in RAM; 0 if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


class LoadMeter:
    """Measures what loads add to this process."""

    def __init__(self, resident: Callable[[], int] = resident_bytes) -> None:
        self._resident = resident
        self._turn = asyncio.Lock()
        self._running = 0
        self._overlapped = False

    async def measure(self, load: Callable[[], Awaitable[_Result]]) -> tuple[_Result, int]:
        """Return what a load gives and the bytes that it added; 0 if another load ran beside it."""
        mine = await self._take_turn()
        self._running += 1
        if self._running > 1:
            self._overlapped = True
        before = self._resident()
        try:
            result = await load()
            grown = 0 if self._overlapped else max(0, self._resident() - before)
        finally:
            self._running -= 1
            if not self._running:
                self._overlapped = False
            if mine:
                self._turn.release()
        return result, grown

    async def _take_turn(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                return await self._turn.acquire()
        return False
