"""Threads with a queue in front: order, bounds, cancellation, errors."""

from __future__ import annotations

import asyncio
import threading
from typing import NoReturn

import pytest

from graphmesh.core.errors import ModelNotReady, Overloaded
from graphmesh.worker import instances as module
from graphmesh.worker.instances import Instances


class Gate:
    """Work that waits until it is let through, and notes who came."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.seen: list[object] = []

    def __call__(self, argument: object) -> object:
        """Note, wait, return."""
        self.seen.append(argument)
        self.begun.set()
        assert self.open.wait(5)
        return argument


async def _running(instances: Instances, running: int, waiting: int) -> None:
    """Return once the counts are these."""
    async with asyncio.timeout(5):
        while (instances.statistics.running, instances.statistics.waiting) != (running, waiting):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_result_and_times() -> None:
    """A call returns its result and when it was asked for, begun and ended."""
    instances = Instances("m", 1)
    result, timing = await instances.run(lambda x: x + 1, 1)
    assert result == 2
    assert timing.asked <= timing.begun <= timing.ended
    instances.close()


async def test_calls_beyond_the_count_wait_in_order() -> None:
    """No more calls run at once than there are instances; the others follow in order."""
    instances, gate = Instances("m", 2), Gate()
    calls = [asyncio.create_task(instances.run(gate, i)) for i in range(5)]
    await _running(instances, 2, 3)
    gate.open.set()
    assert [result for result, _ in await asyncio.gather(*calls)] == list(range(5))
    assert sorted(gate.seen[:2], key=str) == [0, 1]
    await _running(instances, 0, 0)
    instances.close()


async def test_cancelled_waiting_call_never_begins() -> None:
    """A call that is cancelled while it waits leaves the queue at once."""
    instances, gate = Instances("m", 1), Gate()
    first = asyncio.create_task(instances.run(gate, "first"))
    waiting = asyncio.create_task(instances.run(gate, "waiting"))
    await _running(instances, 1, 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert instances.statistics.waiting == 0
    gate.open.set()
    await first
    assert gate.seen == ["first"]
    instances.close()


async def test_cancelled_running_call_gives_its_thread_back_when_it_returns() -> None:
    """A running call cannot be stopped: its caller leaves, the next call begins when it returns."""
    instances, gate = Instances("m", 1), Gate()
    running = asyncio.create_task(instances.run(gate, "running"))
    await _running(instances, 1, 0)
    assert await asyncio.to_thread(gate.begun.wait, 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert instances.statistics.running == 1
    following = asyncio.create_task(instances.run(gate, "following"))
    await _running(instances, 1, 1)
    gate.open.set()
    assert (await following)[0] == "following"
    instances.close()


async def test_full_queue_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many calls wait, one more is refused at once."""
    monkeypatch.setattr(module, "_MAX_WAITING", 1)
    instances, gate = Instances("m", 1), Gate()
    calls = [asyncio.create_task(instances.run(gate, i)) for i in range(2)]
    await _running(instances, 1, 1)
    with pytest.raises(Overloaded, match="1 calls are waiting"):
        await instances.run(gate, 3)
    gate.open.set()
    await asyncio.gather(*calls)
    instances.close()


@pytest.mark.parametrize(
    ("raised", "seen"), [(ValueError, ValueError), (StopIteration, RuntimeError), (SystemExit, RuntimeError)]
)
async def test_errors_reach_the_caller(raised: type[BaseException], seen: type[Exception]) -> None:
    """What the work raises is raised to its caller, and the thread lives on."""

    def work(_: object) -> NoReturn:
        raise raised

    instances = Instances("m", 1)
    with pytest.raises(seen):
        await instances.run(work, None)
    assert (await instances.run(str, 1))[0] == "1"
    instances.close()


async def test_close_fails_those_who_wait() -> None:
    """Closing lets running calls end, fails waiting ones, and refuses new ones."""
    instances, gate = Instances("m", 1), Gate()
    running = asyncio.create_task(instances.run(gate, 1))
    waiting = asyncio.create_task(instances.run(gate, 2))
    await _running(instances, 1, 1)
    assert await asyncio.to_thread(gate.begun.wait, 5)
    instances.close()
    with pytest.raises(ModelNotReady):
        await waiting
    with pytest.raises(ModelNotReady):
        await instances.run(gate, 3)
    gate.open.set()
    assert (await running)[0] == 1
