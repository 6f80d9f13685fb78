"""Streams between a thread and the loop: order, back-pressure, and every way of ending."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import DeadlinePassed, InvalidRequest
from graphmesh.worker.hosting.streaming import from_loop, from_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


async def _on_a_thread(work: Callable[[Any], None], argument: Any) -> None:  # noqa: ANN401
    await asyncio.to_thread(work, argument)


def _stream(
    make: Callable[[], Generator[int, None, None]], deadline: Deadline = NO_DEADLINE
) -> AsyncGenerator[int, None]:
    return from_thread(_on_a_thread, make, name="m-1", deadline=deadline)


class Counter:
    """A generator's maker that knows what its generator does."""

    def __init__(self, n: int = 1_000_000, *, pause_s: float = 0.0) -> None:
        self.n = n
        self.pause_s = pause_s
        self.yielded = 0
        self.ended = threading.Event()
        self.closed_at = 0.0
        self.thread = ""

    def __call__(self) -> Generator[int, None, None]:
        """Return the generator."""
        try:
            for i in range(self.n):
                time.sleep(self.pause_s)
                self.yielded += 1
                yield i
        except GeneratorExit:
            self.closed_at = time.monotonic()
            raise
        finally:
            self.thread = threading.current_thread().name
            self.ended.set()


async def test_order_and_end() -> None:
    """All items come, in order, and then the end."""
    assert [i async for i in _stream(Counter(5000))] == list(range(5000))
    assert [i async for i in _stream(Counter(0))] == []


async def test_back_pressure() -> None:
    """The generator is never more than two items ahead of its consumer."""
    counter = Counter()
    async with contextlib.aclosing(_stream(counter)) as items:
        for taken in range(1, 4):
            assert await anext(items) == taken - 1
            await asyncio.sleep(0.02)
            assert counter.yielded <= taken + 2
    assert await asyncio.to_thread(counter.ended.wait, 5)


async def test_consumer_that_leaves() -> None:
    """A generator that waits for its consumer is closed at once, on its own thread."""
    counter = Counter()
    async with contextlib.aclosing(_stream(counter)) as items:
        await anext(items)
    left = time.monotonic()
    assert await asyncio.to_thread(counter.ended.wait, 5)
    assert counter.closed_at - left < 0.05
    assert counter.thread != threading.main_thread().name


async def test_consumer_that_leaves_while_the_generator_runs() -> None:
    """A generator that runs is closed at its very next yield; nobody waits for it."""
    counter = Counter(pause_s=0.1)
    items = _stream(counter)
    await anext(items)
    yielded, started = counter.yielded, time.monotonic()
    await items.aclose()
    assert time.monotonic() - started < 0.09
    assert await asyncio.to_thread(counter.ended.wait, 5)
    assert counter.yielded <= yielded + 1


async def test_cancelled_consumer() -> None:
    """Cancelling the task that takes closes the generator."""
    counter = Counter(pause_s=0.05)

    async def consume() -> None:
        async with contextlib.aclosing(_stream(counter)) as items:
            async for _ in items:
                pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.12)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(counter.ended.wait, 5)
    assert counter.closed_at


async def test_left_before_it_began() -> None:
    """A generator whose consumer left in the queue is never made."""
    gate = threading.Event()
    counter = Counter()

    async def late(work: Callable[[Any], None], argument: Any) -> None:  # noqa: ANN401
        assert await asyncio.to_thread(gate.wait, 5)
        await asyncio.to_thread(work, argument)

    items = from_thread(late, counter, name="m-1", deadline=NO_DEADLINE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(items), 0.02)
    gate.set()
    await asyncio.sleep(0.05)
    assert counter.yielded == 0


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
async def test_deadline(pause_s: float) -> None:
    """A deadline ends a stream, busy or quiet, and its generator."""
    counter = Counter(pause_s=pause_s)
    started = time.monotonic()

    async def consume() -> None:
        async for _ in _stream(counter, Deadline.after(0.12)):
            await asyncio.sleep(0.001)

    with pytest.raises(DeadlinePassed):
        await consume()
    assert 0.1 < time.monotonic() - started < 1
    assert await asyncio.to_thread(counter.ended.wait, 5)
    assert counter.closed_at


async def test_errors_pass_after_the_items_before_them() -> None:
    """What a generator raises comes after what it yielded."""

    def make() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise InvalidRequest("on purpose")

    items = _stream(make)
    assert [await anext(items), await anext(items)] == [1, 2]
    with pytest.raises(InvalidRequest, match="on purpose"):
        await anext(items)


async def test_error_after_the_caller_left_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What a generator raises while it is closed has nobody to go to but the log."""
    ended = threading.Event()

    def make() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            ended.set()
            raise ValueError("while closing")

    async with contextlib.aclosing(_stream(make)) as items:
        await anext(items)
    assert await asyncio.to_thread(ended.wait, 5)
    await asyncio.sleep(0.02)
    assert "failed after its caller left model=m-1" in caplog.text


async def test_loop_deadline_and_close() -> None:
    """An async generator is cancelled at the deadline, and closed by a consumer that leaves."""
    closed = []

    async def numbers(pause_s: float) -> AsyncGenerator[int, None]:
        try:
            yield 0
            await asyncio.sleep(pause_s)
            yield 1
        finally:
            closed.append(pause_s)

    with pytest.raises(DeadlinePassed):
        async for _ in from_loop(numbers(30), deadline=Deadline.after(0.03)):
            pass
    async with contextlib.aclosing(from_loop(numbers(20), deadline=NO_DEADLINE)) as items:
        assert await anext(items) == 0
    assert [i async for i in from_loop(numbers(0), deadline=Deadline.after(5))] == [0, 1]
    assert closed == [30, 20, 0]


async def test_own_timeouts_pass() -> None:
    """A TimeoutError of the generator's own is not taken for the deadline."""

    async def numbers() -> AsyncGenerator[int, None]:
        yield 0
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        async for _ in from_loop(numbers(), deadline=Deadline.after(5)):
            pass
