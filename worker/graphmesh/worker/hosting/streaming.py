"""Answers of a model that streams, from where it runs to the task that sends them.

A plain generator runs on a thread. Its answers pass a channel that holds two: it is resumed only as often as the loop
has taken an answer, so it is never more than two of them ahead of its consumer. The credits for that are a
`SimpleQueue`, on which waiting costs no more than on a lock, and the loop is woken only when it waits.

A consumer that leaves closes the channel. The generator learns of it when it next yields, or at once if it waits there
already: it is closed on its own thread, where its `finally` blocks run, and the thread is free again::

    thread   yield -> put -> credit? -> resume ... yield -> put -> closed: GeneratorExit
    loop                take -> credit               close

An async generator runs on the loop, in the consumer's own task, and is closed there. A deadline ends both.

Not done: stopping a generator that does not yield; its `Context` says that the caller has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from graphmesh.core.errors import DeadlinePassed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from graphmesh.core.clock import Deadline

__all__ = ["Channel", "from_loop", "from_thread"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_AHEAD = 2


class Channel(Generic[T]):
    """A bounded hand-over from one thread, which calls `pump`, to one task, which calls `take`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._items: deque[T] = deque()
        self._credits: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiter: asyncio.Future[None] | None = None
        self._asleep = False
        self._ended = False
        self._closed = False
        self._reason: Exception | None = None
        for _ in range(_AHEAD - 1):
            self._credits.put(None)

    def pump(self, make: Callable[[], Generator[T, None, None]]) -> None:
        """Run a generator until it ends or the consumer has left; raises what it raises. Runs on the thread."""
        try:
            self._pump(make)
        except Exception:
            if not self._closed:
                raise
            logger.exception("model failed after its caller left model=%s", self._name)

    def _pump(self, make: Callable[[], Generator[T, None, None]]) -> None:
        if self._closed:
            return
        with contextlib.closing(make()) as items:
            for item in items:
                self._items.append(item)
                if self._asleep:
                    self._asleep = False
                    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                        self._loop.call_soon_threadsafe(self._wake)
                if not self._resumed():
                    return

    def _resumed(self) -> bool:
        """Wait for a credit, and return whether the consumer is still there."""
        self._credits.get()
        return not self._closed

    async def take(self) -> T | None:
        """Return the next item, or None when all were taken and `end` was called.

        Raises:
            Exception: what `close` was told.

        Cancellation: no item is lost.
        """
        while not self._items:
            if self._ended or self._reason is not None:
                break
            self._waiter = self._loop.create_future()
            self._asleep = True
            if not self._items:  # else it was put since we looked, and perhaps without a wake
                await self._waiter
        if self._reason is not None:
            raise self._reason
        if not self._items:
            return None
        self._credits.put(None)
        return self._items.popleft()

    def end(self) -> None:
        """Note that the generator has ended; all its items are here."""
        self._ended = True
        self._wake()

    def close(self, reason: Exception | None = None) -> None:
        """Have the generator closed when it next yields. Idempotent.

        Args:
            reason: What `take` raises from now on, if anything.
        """
        self._reason = self._reason or reason
        self._closed = True
        self._credits.put(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def from_thread(
    submit: Callable[[Callable[[Any], None], Any], Coroutine[Any, Any, None]],
    make: Callable[[], Generator[T, None, None]],
    *,
    name: str,
    deadline: Deadline,
) -> AsyncGenerator[T, None]:
    """Yield what a generator on a thread yields.

    Args:
        submit: Runs a function of one argument on a thread and returns once it has returned.
        make: Makes the generator; called on the thread.
        name: Of the model, for the log.
        deadline: After which it is ended.

    Raises:
        DeadlinePassed: the deadline passed (DEADLINE_EXCEEDED, retry: no).
        Exception: what the generator or ``submit`` raised.

    Cancellation: the generator is closed when it next yields; this does not wait for it.
    """
    channel: Channel[T] = Channel(name)
    pumping = asyncio.ensure_future(submit(channel.pump, make))
    pumping.add_done_callback(lambda _: channel.end())
    timer = None
    if deadline.timeout() is not None:
        timer = asyncio.get_running_loop().call_at(deadline.at, channel.close, _deadline_passed())
    try:
        while (item := await channel.take()) is not None:
            yield item
        await pumping
    finally:
        if timer is not None:
            timer.cancel()
        channel.close()
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)


async def from_loop(items: AsyncGenerator[T, None], *, deadline: Deadline) -> AsyncGenerator[T, None]:
    """Yield what an async generator yields, and close it whatever happens.

    Raises:
        DeadlinePassed: the deadline passed (DEADLINE_EXCEEDED, retry: no).
        Exception: what the generator raised.

    Cancellation: the generator is cancelled where it waits, or closed where it yielded.
    """
    async with contextlib.aclosing(items):
        while True:
            try:
                async with asyncio.timeout(deadline.timeout()) as timeout:
                    item = await anext(items, None)
            except TimeoutError as error:
                if not timeout.expired():
                    raise
                raise _deadline_passed() from error
            if item is None:
                return
            yield item


def _deadline_passed() -> DeadlinePassed:
    return DeadlinePassed("the deadline passed before the last answer")
