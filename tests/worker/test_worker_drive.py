"""Time and tasks for runs of graphs, by asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import Code, DeadlinePassed, GraphmeshError, InvalidRequest
from graphmesh.graph.running.ending import ending_of
from graphmesh.worker.drive import Drive, told
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from graphmesh.graph.running.host import Ended


class Work:
    """Coroutines that note what becomes of them."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.ended: list[str] = []

    async def hang(self, name: str = "hang", *, stubborn: int = 0) -> None:
        """Wait for ever; go on for some turns of the loop after a cancellation."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            for _ in range(stubborn):
                await asyncio.sleep(0)
            self.ended.append(name)
            raise

    async def give(self, value: int, *, turns: int = 0) -> int:
        """Return a value after some turns of the loop."""
        for _ in range(turns):
            await asyncio.sleep(0)
        return value

    async def fail(self, error: BaseException) -> None:
        """Raise."""
        raise error


async def test_what_ends_is_returned_once_in_the_order_it_ended() -> None:
    """None follows when nothing runs any more."""
    work = Work()
    async with Drive().tasks() as tasks:
        tasks.start(7, work.give(1, turns=5))
        tasks.start(8, work.give(2))
        found: list[Ended[int] | None] = [await tasks.next() for _ in range(3)]
    assert [ended and (ended.key, ended.result, ended.error) for ended in found] == [(8, 2, None), (7, 1, None), None]


async def test_errors_are_made_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Ours come as they are, others as INTERNAL with an id, a task that cancelled itself as CANCELLED."""
    work = Work()
    async with Drive().tasks() as tasks:
        codes = []
        for error in (InvalidRequest("no"), KeyError("secret"), asyncio.CancelledError()):
            tasks.start(0, work.fail(error))
            ended = await tasks.next()
            assert ended is not None
            assert ended.error is not None
            codes.append(ended.error.code)
            assert "secret" not in ended.error.message
    assert codes == [Code.INVALID_ARGUMENT, Code.INTERNAL, Code.CANCELLED]
    assert "secret" in caplog.text


async def test_waiting_can_be_limited() -> None:
    """Without a task that ends in time there is None, and the task goes on; no time at all only looks."""
    work = Work()
    async with Drive().tasks() as tasks:
        tasks.start(0, work.hang())
        assert await tasks.next(0.01) is None
        assert await tasks.next(0) is None
        assert not work.cancelled
    assert work.cancelled == ["hang"]


async def test_leaving_cancels_and_awaits() -> None:
    """Also those that take a while to end, and those that never began."""
    work = Work()
    async with Drive().tasks() as tasks:
        tasks.start(0, work.hang("stubborn", stubborn=5))
        await asyncio.sleep(0)
        tasks.start(1, work.hang("new"))
    assert work.ended == ["stubborn"]
    assert work.cancelled == ["stubborn"]


async def test_some_can_be_stopped() -> None:
    """They are not returned any more, whether they had ended or not."""
    work = Work()
    async with Drive().tasks() as tasks:
        tasks.start(0, work.hang("a", stubborn=3))
        tasks.start(1, work.give(1))
        tasks.start(2, work.give(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await tasks.stop([0, 1])
        assert work.ended == ["a"]
        ended = await tasks.next()
        assert ended is not None
        assert ended.key == 2
        assert await tasks.next() is None


async def test_a_second_cancellation_does_not_leave_anything_behind() -> None:
    """Whoever is cancelled while it awaits what it cancelled still awaits it."""
    work = Work()

    async def outer() -> None:
        async with Drive().tasks() as tasks:
            tasks.start(0, work.hang(stubborn=20))
            await tasks.next()

    task = asyncio.create_task(outer())
    for _ in range(3):
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended == ["hang"]


async def test_nothing_begins_once_the_request_is_cancelled() -> None:
    """However deep it is, and whatever those around it wait for."""
    begun = []

    async def inner() -> None:
        while True:
            await asyncio.sleep(0)
            begun.append(root.cancelling())

    async def middle() -> None:
        async with Drive().tasks() as tasks:
            tasks.start(0, inner())
            tasks.start(1, Work().give(1))
            tasks.start(2, Work().hang(stubborn=9))
            await tasks.next()
            await tasks.stop([2])

    async def outer() -> None:
        async with Drive().tasks() as tasks:
            tasks.start(0, inner())
            tasks.start(1, middle())
            await tasks.next()

    for turns in range(3, 20):
        root = asyncio.create_task(outer())
        for _ in range(turns):
            await asyncio.sleep(0)
        root.cancel()
        with pytest.raises(asyncio.CancelledError):
            await root
        assert set(begun) == {0}


async def test_a_limit_cancels_and_says_so() -> None:
    """At its instant, and what it cancelled has ended by then."""
    work, drive = Work(), Drive()
    begun = time.monotonic()
    with pytest.raises(DeadlinePassed, match="too late"):
        async with drive.limit(drive.now() + 0.05, "too late"):
            await work.hang()
    assert work.cancelled == ["hang"]
    assert time.monotonic() - begun >= 0.05
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()


async def test_a_limit_that_has_passed_begins_nothing() -> None:
    """And one without an end does nothing."""
    drive = Drive()
    with pytest.raises(DeadlinePassed, match="too late"):
        async with drive.limit(drive.now(), "too late"):
            pytest.fail("it has begun")
    async with drive.limit(float("inf"), "never"):
        await asyncio.sleep(0)


async def test_a_limit_is_not_taken_for_a_cancellation_from_outside() -> None:
    """Who is cancelled by someone else stays so; errors inside stay what they are; each limit is its own."""
    drive = Drive()

    async def patient() -> None:
        async with drive.limit(drive.now() + 60, "too late"):
            await asyncio.Event().wait()

    task = asyncio.create_task(patient())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(InvalidRequest):
        async with drive.limit(drive.now() + 60, "too late"):
            raise InvalidRequest("no")
    with pytest.raises(DeadlinePassed, match="inner"):
        async with drive.limit(drive.now() + 60, "outer"), drive.limit(drive.now() + 0.01, "inner"):
            await asyncio.Event().wait()


async def _lossy(seen: list[str]) -> None:
    """Wait in what makes a cancellation of its own of each that comes, and note what is told of it."""
    try:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise asyncio.CancelledError from None
    except asyncio.CancelledError as error:
        ending = ending_of(told(error))
        seen.append(f"{ending.outcome}: {ending.reason}")
        raise


async def test_why_something_is_cancelled_is_told_whatever_is_in_between() -> None:
    """A limit, a sibling that failed, one that came first, a caller that left: each down to the last task."""
    drive, seen = Drive(), list[str]()

    async def inside(how: str) -> None:
        async with drive.tasks() as tasks:
            for key in range(2):
                tasks.start(key, _lossy(seen))
            await asyncio.sleep(0)
            if how == "fails":
                raise InvalidRequest("no")
            if how == "waits":
                await tasks.next()

    with contextlib.suppress(DeadlinePassed):
        async with drive.limit(drive.now() + 0.01, "late", cut="cut off by a limit"):
            await inside("waits")
    with contextlib.suppress(InvalidRequest):
        await inside("fails")
    await inside("ends")
    task = asyncio.create_task(inside("waits"))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    reasons = (
        "DEADLINE_EXCEEDED: cut off by a limit",
        "CANCELLED: another step or branch failed",
        "CANCELLED: another answer came first",
        "CANCELLED: the caller left",
    )
    assert seen == [reason for reason in reasons for _ in range(2)]


async def test_a_limit_that_has_passed_is_no_reason_for_what_comes_later() -> None:
    """A task that went on after it was cut off, as in a fallback, may be cancelled by its caller then."""
    drive, seen = Drive(), list[str]()

    async def work() -> None:
        with contextlib.suppress(DeadlinePassed):
            async with drive.limit(drive.now() + 0.01, "late"):
                await _lossy(seen)
        await _lossy(seen)

    task = asyncio.create_task(work())
    await eventually(lambda: len(seen) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert seen == ["DEADLINE_EXCEEDED: cut off by the call's deadline", "CANCELLED: the caller left"]


async def test_a_signal_reaches_all_who_wait() -> None:
    """Before it is set and after; a wait can be limited."""
    drive = Drive()
    signal = drive.signal()
    assert not await signal.wait(0.01)
    assert not await signal.wait(0)
    waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    signal.set()
    signal.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await signal.wait(0)


async def test_heavy_work_runs_beside_the_loop() -> None:
    """What it returns comes back, and so does what it raises."""
    drive, turns = Drive(), 0

    def work() -> int:
        time.sleep(0.05)
        return 7

    task = asyncio.create_task(drive.compute(work))
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert (task.result(), turns > 3) == (7, True)
    with pytest.raises(GraphmeshError, match="no"):
        await drive.compute(lambda: (_ for _ in ()).throw(InvalidRequest("no")))
