"""Who may be in a model's process together: any number of calls, or one that is alone.

First come, first served, so that one that must be alone is not passed for ever by those that need not. But it waits two
seconds at most for those inside, which may be streams without an end; it is then refused, and so is every other that
must be alone for the next ten: repeating one cannot keep the rest out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from graphmesh.core.errors import Overloaded

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PATIENCE_S", "Gate", "Pass"]

PATIENCE_S = 2.0
"""How long one that must be alone waits for others to end."""

_PAUSE_S = 10.0


class Gate:
    """Lets calls in; ``most_waiting`` may wait outside."""

    def __init__(self, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._inside = 0
        self._closed = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0

    async def enter(self, *, alone: bool) -> None:
        """Return once inside.

        Raises:
            Overloaded: too many wait, or it must be alone and others stay for long (RESOURCE_EXHAUSTED, retry: other
                endpoint).

        Cancellation: the place in the queue is given up.
        """
        if not self._waiting and self._fits(alone=alone):
            self._let_in(alone=alone)
            return
        loop = asyncio.get_running_loop()
        if alone and loop.time() < self._paused_until:
            raise self._refusal(self._paused_until - loop.time())
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded(f"{self._most_waiting} calls wait for one that may end their process, and runs alone")
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append((waiter, alone))
        self._admit()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                if waiter.exception() is None:
                    self.leave()  # it was let in at the same moment
            elif (waiter, alone) in self._waiting:
                self._waiting.remove((waiter, alone))
                self._admit()
            raise

    def leave(self) -> None:
        """Go out."""
        self._inside -= 1
        self._closed = False
        self._admit()

    def give_up(self) -> Overloaded:
        """Refuse whoever must be alone for a while, since others stay inside; return the error for the one at hand."""
        self._paused_until = asyncio.get_running_loop().time() + _PAUSE_S
        for waiter, alone in self._waiting:
            if alone and not waiter.done():
                waiter.set_exception(self._refusal(_PAUSE_S))
        self._waiting = deque(one for one in self._waiting if not one[1])
        self._admit()
        return self._refusal(_PAUSE_S)

    def _refusal(self, retry_after_s: float) -> Overloaded:
        return Overloaded(
            "the model's process died of a request like this, which is run again only where nothing else runs: "
            "other calls have not ended",
            retry_after_s=retry_after_s,
        )

    def _fits(self, *, alone: bool) -> bool:
        return not self._closed and not (alone and self._inside)

    def _let_in(self, *, alone: bool) -> None:
        self._inside += 1
        self._closed = alone

    def _admit(self) -> None:
        while self._waiting and self._fits(alone=self._waiting[0][1]):
            waiter, alone = self._waiting.popleft()
            if not waiter.done():
                self._let_in(alone=alone)
                waiter.set_result(None)
        self._watch()

    def _watch(self) -> None:
        """Run the timer while the next one waits for those inside, of which none is alone."""
        if self._waiting and self._waiting[0][1] and not self._closed:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._lose_patience)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lose_patience(self) -> None:
        self._timer = None
        self.give_up()


class Pass:
    """One call's way through a gate, as an async context manager."""

    __slots__ = ("_alone", "_gate")

    def __init__(self, gate: Gate, *, alone: bool) -> None:
        self._gate = gate
        self._alone = alone

    async def __aenter__(self) -> None:
        """Go in."""
        await self._gate.enter(alone=self._alone)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Go out."""
        self._gate.leave()
