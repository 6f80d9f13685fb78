"""Threads and tasks that run what the queue says: order, bounds, cancellation, errors, closing."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from graphmesh.core.errors import DeadlinePassed, ModelNotReady, Overloaded
from graphmesh.worker.batching.call import Call, Limits
from graphmesh.worker.batching.tasks import Tasks
from graphmesh.worker.batching.threads import Threads
from graphmesh.worker.hosting.context import Context
from graphmesh.worker.metrics.counts import CallMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphmesh.worker.batching.driver import Driver


class Gate:
    """A model that waits until it is let through, and notes the batches it saw; it fails on "bad"."""

    def __init__(self) -> None:
        self._passes = threading.Semaphore(0)
        self.begun = threading.Event()
        self.seen: list[list[object]] = []

    def let(self, batches: int = 1_000_000) -> None:
        """Let so many batches through."""
        self._passes.release(batches)

    def note(self, calls: Sequence[Call]) -> list[object]:
        """Note a batch, and return what each call gives: its own inputs."""
        self.seen.append([call.inputs for call in calls])
        self.begun.set()
        return [call.inputs for call in calls]

    def compute(self, calls: Sequence[Call]) -> list[object]:
        """Note, wait, return."""
        given = self.note(calls)
        assert self._passes.acquire(timeout=5)
        return _checked(given)

    async def compute_async(self, calls: Sequence[Call]) -> list[object]:
        """Note, wait, return."""
        given = self.note(calls)
        async with asyncio.timeout(5):
            while not self._passes.acquire(blocking=False):  # noqa: ASYNC110
                await asyncio.sleep(0)
        return _checked(given)


def _checked(given: list[object]) -> list[object]:
    if "bad" in given:
        message = f"bad one among {len(given)}"
        raise ValueError(message)
    return given


@pytest.fixture
def gate() -> Gate:
    """A closed gate."""
    return Gate()


@pytest.fixture(params=["threads", "tasks"])
def make(request: pytest.FixtureRequest, gate: Gate) -> Callable[..., Driver]:
    """Makes a driver of either kind in front of the gate."""

    def made(**limits: Any) -> Driver:  # noqa: ANN401
        chosen, metrics = Limits(**{"max_rows": 1, **limits}), CallMetrics()
        if request.param == "threads":
            return Threads("m", chosen, metrics, gate.compute)
        return Tasks("m", chosen, metrics, gate.compute_async)

    return made


def ask(driver: Driver, inputs: object, **options: object) -> asyncio.Task[Any]:
    """Submit a call; all of them can share a batch."""
    call = Call(inputs, time.monotonic())
    call.key = "all"
    for name, value in options.items():
        setattr(call, name, value)
    return asyncio.create_task(driver.submit(call))


async def until(driver: Driver, running: int, waiting: int) -> None:
    """Return once the counts are these."""
    async with asyncio.timeout(5):
        while (driver.statistics.running, driver.statistics.waiting) != (running, waiting):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def begun(gate: Gate) -> None:
    """Return once the model has begun."""
    async with asyncio.timeout(5):
        while not gate.begun.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_calls_beyond_the_instances_wait_in_order(make: Callable[..., Driver], gate: Gate) -> None:
    """No more batches run at once than there are instances; the others follow in order."""
    driver = make(instances=2)
    calls = [ask(driver, i) for i in range(5)]
    await until(driver, 2, 3)
    gate.let()
    assert await asyncio.gather(*calls) == list(range(5))
    assert sorted(gate.seen[:2], key=str) == [[0], [1]]
    assert driver.statistics.running == driver.statistics.waiting == 0
    driver.close()


async def test_calls_gather_into_a_batch(make: Callable[..., Driver], gate: Gate) -> None:
    """The first call runs at once and alone, those that came meanwhile run together, each gets its own answer."""
    driver = make(max_rows=8)
    first = ask(driver, 0)
    await begun(gate)
    others = [ask(driver, i) for i in range(1, 6)]
    await until(driver, 1, 5)
    gate.let()
    assert await asyncio.gather(first, *others) == list(range(6))
    assert gate.seen == [[0], [1, 2, 3, 4, 5]]
    assert driver._metrics.batches[1].executions == driver._metrics.batches[5].executions == 1
    assert driver._metrics.queue.count == 6
    driver.close()


async def test_waits_for_a_batch_to_fill(make: Callable[..., Driver], gate: Gate) -> None:
    """With a delay, an instance that becomes idle waits until the batch is full or the delay is over."""
    driver = make(max_rows=2, max_delay_s=0.3)
    first = ask(driver, 0)
    await begun(gate)
    waiting = ask(driver, 1)
    await until(driver, 1, 1)
    started = time.monotonic()
    gate.let()
    await first
    assert await waiting == 1
    assert time.monotonic() - started > 0.25
    assert gate.seen == [[0], [1]]
    driver.close()


async def test_full_batch_ends_the_wait(make: Callable[..., Driver], gate: Gate) -> None:
    """The call that fills the batch wakes the instance that waits for it."""
    driver = make(max_rows=2, max_delay_s=60.0)
    first = ask(driver, 0)
    await begun(gate)
    waiting = ask(driver, 1)
    await until(driver, 1, 1)
    gate.let()
    assert await first == 0
    filling = ask(driver, 2)
    assert [await waiting, await filling] == [1, 2]
    assert gate.seen == [[0], [1, 2]]
    driver.close()


async def test_one_bad_call_fails_alone(make: Callable[..., Driver], gate: Gate) -> None:
    """A batch that raises is run again call by call: only the bad one fails, with what it raised alone."""
    driver = make(max_rows=8)
    first = ask(driver, 0)
    await begun(gate)
    others = [ask(driver, inputs) for inputs in (1, "bad", 3)]
    await until(driver, 1, 3)
    gate.let()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert [answers[0], answers[1], answers[3]] == [0, 1, 3]
    assert isinstance(answers[2], ValueError)
    assert str(answers[2]) == "bad one among 1"
    assert gate.seen == [[0], [1, "bad", 3], [1], ["bad"], [3]]
    await until(driver, 0, 0)
    driver.close()


async def test_caller_that_leaves_while_it_waits(make: Callable[..., Driver], gate: Gate) -> None:
    """A call that is cancelled while it waits leaves the queue at once and never begins."""
    driver = make()
    first = ask(driver, "first")
    await begun(gate)
    waiting = ask(driver, "waiting")
    await until(driver, 1, 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert driver.statistics.waiting == 0
    gate.let()
    await first
    assert gate.seen == [["first"]]
    assert driver._metrics.refusals == {"cancelled": 1}
    driver.close()


async def test_caller_that_leaves_a_batch(make: Callable[..., Driver], gate: Gate) -> None:
    """A caller that leaves a running batch is told to its context; the batch goes on for the others."""
    driver = make(max_rows=8)
    first = ask(driver, 0)
    await begun(gate)
    context = Context()
    leaves, stays = ask(driver, 1, context=context), ask(driver, 2)
    await until(driver, 1, 2)
    gate.begun.clear()
    gate.let(1)
    await first
    await begun(gate)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    assert context.cancelled
    gate.let()
    assert await stays == 2
    await until(driver, 0, 0)
    driver.close()


async def test_batch_that_was_formed_does_not_begin_for_callers_that_left(gate: Gate) -> None:
    """Those who leave before the task of their batch has its first turn are left out; without any others it ends."""
    driver = Tasks("m", Limits(max_rows=8), CallMetrics(), gate.compute_async)
    gone = ask(driver, "gone")
    await asyncio.sleep(0)
    assert driver.statistics.running == 1
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await until(driver, 0, 0)
    first = ask(driver, "first")
    await begun(gate)
    context = Context()
    leaves, stays, waits = ask(driver, "leaves", rows=3), ask(driver, "stays", context=context), ask(driver, "waits")
    await until(driver, 1, 3)
    gate.let(1)
    await until(driver, 3, 0)
    leaves.cancel()
    gate.let()
    assert [await call for call in (first, stays, waits)] == ["first", "stays", "waits"]
    assert leaves.cancelled()
    assert gate.seen == [["first"], ["stays", "waits"]]
    assert driver._metrics.batches[2].executions == 1
    assert driver._metrics.refusals == {"cancelled": 2}
    assert not context.cancelled
    await until(driver, 0, 0)
    driver.close()


async def test_caller_that_has_left_but_is_still_in_the_queue(gate: Gate) -> None:
    """A thread that takes the next batch before the event loop had a turn takes nobody who was cancelled."""
    driver = Threads("m", Limits(max_rows=2), CallMetrics(), gate.compute)
    first = ask(driver, "first")
    await begun(gate)
    calls = [ask(driver, inputs) for inputs in ("gone", "gone too", "leaves", "stays")]
    await until(driver, 1, 4)
    gate.begun.clear()
    for call in calls[:3]:
        call.cancel()
    gate.let()
    assert gate.begun.wait(5), "blocks the event loop, so that no caller hears of its cancellation before this"
    assert gate.seen == [["first"], ["stays"]]
    assert await first == "first"
    assert await calls[3] == "stays"
    await asyncio.gather(*calls, return_exceptions=True)
    assert driver._metrics.refusals == {"cancelled": 3}
    assert driver._metrics.batches[1].executions == 2
    await until(driver, 0, 0)
    driver.close()


async def test_a_thread_is_idle_again_before_its_callers_hear() -> None:
    """A caller that asks again as soon as it has its answer is not told to wait for the batch that answered it."""
    driver = Threads("m", Limits(), CallMetrics(), lambda calls: [call.inputs for call in calls])
    for number in range(500):
        assert await ask(driver, number) == number
        wait, _ = driver._queue.predict(Call(0, time.monotonic()), time.monotonic())
        assert wait == 0
    driver.close()


async def test_timeout_in_the_queue(make: Callable[..., Driver], gate: Gate) -> None:
    """A call that was not begun within its timeout is refused then, though the model hangs."""
    driver = make()
    first = ask(driver, 0)
    await begun(gate)
    started = time.monotonic()
    with pytest.raises(Overloaded, match="timeout") as refused:
        await ask(driver, 1, start_by=started + 0.05)
    assert 0.04 < time.monotonic() - started < 1
    assert refused.value.retry_after_s > 0
    assert driver._metrics.refusals == {"wait_too_long": 1}
    gate.let()
    assert await first == 0
    await until(driver, 0, 0)
    driver.close()


async def test_expired_call_never_runs(make: Callable[..., Driver], gate: Gate) -> None:
    """A call whose deadline passed while it waited is refused before compute."""
    driver = make()
    first = ask(driver, 0)
    await begun(gate)
    late = ask(driver, 1, deadline=time.monotonic() + 0.02)
    await until(driver, 1, 1)
    await asyncio.sleep(0.03)
    gate.let()
    assert await first == 0
    with pytest.raises(DeadlinePassed):
        await late
    assert gate.seen == [[0]]
    assert driver._metrics.refusals == {"expired": 1}
    await until(driver, 0, 0)
    driver.close()


async def test_full_queue_refuses(make: Callable[..., Driver], gate: Gate) -> None:
    """When too many calls wait, one more is refused at once and counted."""
    driver = make(max_waiting=1)
    first = ask(driver, 0)
    await begun(gate)
    second = ask(driver, 1)
    await until(driver, 1, 1)
    with pytest.raises(Overloaded, match="1 calls are waiting"):
        await ask(driver, 2)
    assert driver._metrics.refusals == {"queue_full": 1}
    gate.let()
    assert [await first, await second] == [0, 1]
    driver.close()


async def test_close_fails_those_who_wait(make: Callable[..., Driver], gate: Gate) -> None:
    """Closing lets running calls end, fails waiting ones, and refuses new ones."""
    driver = make()
    running = ask(driver, 1)
    await begun(gate)
    waiting = ask(driver, 2)
    await until(driver, 1, 1)
    driver.close()
    with pytest.raises(ModelNotReady):
        await waiting
    with pytest.raises(ModelNotReady):
        await ask(driver, 3)
    gate.let()
    assert await running == 1
    await until(driver, 0, 0)


async def test_running_call_keeps_its_thread_when_its_caller_leaves(gate: Gate) -> None:
    """What runs on a thread cannot be stopped: the next call begins when it returns."""
    driver = Threads("m", Limits(), CallMetrics(), gate.compute)
    running = ask(driver, "running")
    await begun(gate)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert driver.statistics.running == 1
    following = ask(driver, "following")
    await until(driver, 1, 1)
    gate.let()
    assert await following == "following"
    driver.close()


async def test_async_batch_is_cancelled_when_all_its_callers_have_left(gate: Gate) -> None:
    """An async batch that nobody waits for is cancelled, and its instance is free at once."""
    driver = Tasks("m", Limits(max_rows=8), CallMetrics(), gate.compute_async)
    running = ask(driver, "running")
    await begun(gate)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(driver, 0, 0)
    gate.let()
    assert await ask(driver, "following") == "following"
    driver.close()


async def test_async_model_that_cancels_itself() -> None:
    """A model that raises CancelledError fails its calls; nobody waits for ever."""

    async def cancels(_: Sequence[Call]) -> NoReturn:
        raise asyncio.CancelledError

    driver = Tasks("m", Limits(max_rows=8), CallMetrics(), cancels)
    with pytest.raises(RuntimeError, match="cancelled its own task"):
        await ask(driver, 1)
    await until(driver, 0, 0)


@pytest.mark.parametrize(
    ("raised", "seen"), [(ValueError, ValueError), (StopIteration, RuntimeError), (SystemExit, RuntimeError)]
)
async def test_errors_reach_the_caller(raised: type[BaseException], seen: type[Exception]) -> None:
    """What a model raises is raised to its caller, and the thread lives on."""

    def compute(calls: Sequence[Call]) -> list[object]:
        if calls[0].inputs is None:
            raise raised
        return [calls[0].inputs]

    driver = Threads("m", Limits(), CallMetrics(), compute)
    with pytest.raises(seen):
        await ask(driver, None)
    assert await ask(driver, 1) == 1
    driver.close()


async def test_any_function_on_an_instance(gate: Gate) -> None:
    """A function can take the place of a call: it has an instance to itself and waits its turn."""
    driver = Threads("m", Limits(max_rows=8), CallMetrics(), gate.compute)
    first = ask(driver, 0)
    await begun(gate)
    function = asyncio.create_task(driver.run(lambda argument: (argument, threading.current_thread().name), "given"))
    await until(driver, 1, 1)
    gate.let()
    assert await first == 0
    result, timing = await function
    assert result == ("given", "m-0")
    assert timing.asked <= timing.begun <= timing.ended
    assert timing.batch_rows == 1
    driver.close()


async def test_many_calls_from_many_tasks() -> None:
    """Under a flood every call gets its own answer exactly once, and no batch is too large."""
    sizes: list[int] = []

    def compute(calls: Sequence[Call]) -> list[object]:
        sizes.append(len(calls))
        return [call.inputs for call in calls]

    driver = Threads("m", Limits(instances=3, max_rows=16, max_waiting=10_000), CallMetrics(), compute)

    async def caller(number: int) -> list[Any]:
        return [await ask(driver, (number, i)) for i in range(40)]

    answers = await asyncio.gather(*(caller(number) for number in range(50)))
    assert answers == [[(number, i) for i in range(40)] for number in range(50)]
    assert max(sizes) <= 16
    assert sum(sizes) == 2000
    await until(driver, 0, 0)
    driver.close()
