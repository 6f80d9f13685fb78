"""Time, so that tests can own it. All instants are monotonic seconds; wall-clock time is for people only."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from graphmesh.core.errors import DeadlinePassed

__all__ = ["Clock", "Deadline", "SystemClock"]


class Clock(Protocol):
    """Monotonic time and sleeping."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; at once if they are not positive."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The monotonic instant (`time.monotonic`) after which no new work starts for a request."""

    at: float
    """Monotonic seconds; infinity for no deadline."""

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline ``seconds`` from now; None means none."""
        return NO_DEADLINE if seconds is None else cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left: infinity for no deadline, negative once it has passed."""
        return self.at - time.monotonic()

    def timeout(self) -> float | None:
        """Return the seconds left as timeouts are given to libraries: None for no deadline, never negative."""
        return None if self.at == float("inf") else max(0.0, self.remaining())

    def check(self, what: str) -> None:
        """Raise DeadlinePassed, naming ``what`` was not begun, once the deadline has passed."""
        if self.at <= time.monotonic():
            raise DeadlinePassed(f"the deadline passed before {what}")


NO_DEADLINE = Deadline(float("inf"))
