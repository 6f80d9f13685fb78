"""Whom a death is blamed on, and who may be in a process beside whom: without any process."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.core.errors import Overloaded
from graphmesh.worker.isolation.gate import Gate, Pass
from graphmesh.worker.isolation.suspects import GUILTY, Suspects
from tests.registry.fakes import FakeClock


def _inputs(*values: float, name: str = "x") -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return {name: np.array(values, dtype=np.float32)}


async def test_strikes_are_of_the_content() -> None:
    """Two deaths with equal inputs are two strikes; other values, names, dtypes or shapes are another request."""
    suspects = Suspects()
    assert await suspects.strike(_inputs(1, 2), object(), alone=False) == 1
    assert await suspects.strike(_inputs(1, 2), object(), alone=True) == GUILTY
    assert await suspects.strikes(_inputs(1, 2)) == GUILTY
    for other in (_inputs(2, 1), _inputs(1, 2, name="y"), _inputs(1, 2, 3), {"x": np.array([[1, 2]], np.float32)}):
        assert await suspects.strikes(other) == 0
    assert await suspects.strikes({"x": np.array([1, 2], np.int32)}) == 0
    assert len(suspects) == 1


async def test_a_death_is_one_strike() -> None:
    """However many calls of a content a process died with, that is one strike; the second takes one that was alone."""
    suspects, first, second = Suspects(), object(), object()
    for alone in (False, True, True):
        assert await suspects.strike(_inputs(1), first, alone=alone) == 1
    assert await suspects.strike(_inputs(1), second, alone=False) == 1
    assert await suspects.strike(_inputs(1), second, alone=True) == GUILTY


async def test_text_and_large_inputs() -> None:
    """Text counts by its bytes, and parts of it cannot be shifted; large inputs are hashed as well."""
    suspects = Suspects()
    await suspects.strike({"t": np.array([b"ab", b"c"], dtype=object)}, object(), alone=True)
    assert await suspects.strikes({"t": np.array([b"a", b"bc"], dtype=object)}) == 0
    await suspects.strike({"x": np.ones(1 << 18)}, object(), alone=True)
    assert await suspects.strikes({"x": np.ones(1 << 18)}) == 1


async def test_suspicion_is_dropped() -> None:
    """A suspect that ran without harm is none any more; clearing nobody is no error."""
    suspects = Suspects()
    await suspects.strike(_inputs(1), object(), alone=True)
    await suspects.clear(_inputs(1))
    await suspects.clear(_inputs(1))
    assert (len(suspects), await suspects.strikes(_inputs(1))) == (0, 0)


async def test_suspects_are_forgotten() -> None:
    """After an hour, and when there are too many, the oldest first."""
    clock = FakeClock()
    suspects = Suspects(clock)
    await suspects.strike(_inputs(0), object(), alone=True)
    await clock.advance(3599)
    assert await suspects.strikes(_inputs(0)) == 1
    await clock.advance(2)
    assert await suspects.strikes(_inputs(0)) == 0
    for number in range(1030):
        await suspects.strike(_inputs(number), object(), alone=True)
    assert len(suspects) == 1024
    assert await suspects.strikes(_inputs(5)) == 0
    assert await suspects.strikes(_inputs(6)) == 1


async def test_one_that_is_alone() -> None:
    """Calls pass together; one that must be alone waits for them, and those behind it wait for it."""
    gate, order = Gate(10), list[str]()
    release = {name: asyncio.Event() for name in "abXcd"}

    async def call(name: str) -> None:
        async with Pass(gate, alone=name == "X"):
            order.append(f"{name} in")
            await release[name].wait()
            order.append(f"{name} out")

    tasks = []
    for name in "abXcd":
        tasks.append(asyncio.create_task(call(name)))
        await asyncio.sleep(0)
    assert order == ["a in", "b in"]
    for name in "baXdc":
        release[name].set()
        for _ in range(5):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["a in", "b in", "b out", "a out", "X in", "X out", "c in", "d in", "d out", "c out"]


async def test_the_queue_is_bounded() -> None:
    """More than so many callers do not wait."""
    gate = Gate(2)
    await gate.enter(alone=True)
    waiting = [asyncio.create_task(gate.enter(alone=False)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await gate.enter(alone=False)
    gate.leave()
    await asyncio.gather(*waiting)


async def test_one_that_is_alone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody stays inside, one that must be alone keeps the rest out for a moment, once; repeats do not."""
    monkeypatch.setattr("graphmesh.worker.isolation.gate.PATIENCE_S", 0.05)
    gate = Gate(10)
    await gate.enter(alone=False)  # and stays
    suspects = [asyncio.create_task(gate.enter(alone=True)) for _ in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await gate.enter(alone=False)
    for result in await asyncio.gather(*suspects, return_exceptions=True):
        assert isinstance(result, Overloaded)
        assert result.retry_after_s == 10
    with pytest.raises(Overloaded) as refused:
        await gate.enter(alone=True)
    assert 9 < refused.value.retry_after_s <= 10
    assert (gate._inside, len(gate._waiting), gate._timer) == (2, 0, None)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.booleans()), max_size=25))
def test_nobody_is_forgotten(calls: list[tuple[bool, int, bool]]) -> None:
    """Whatever leaves in whatever order, cancelled or not: one alone is alone, and the gate is empty in the end."""

    async def run() -> None:
        gate, inside, alone_inside = Gate(100), 0, 0

        async def call(steps: int, *, alone: bool) -> None:
            nonlocal inside, alone_inside
            async with Pass(gate, alone=alone):
                inside += 1
                alone_inside += alone
                assert not alone_inside or inside == 1
                try:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                        assert not alone_inside or inside == 1
                finally:
                    inside -= 1
                    alone_inside -= alone

        tasks = []
        for alone, steps, cancelled in calls:
            tasks.append(asyncio.create_task(call(steps, alone=alone)))
            await asyncio.sleep(0)
            if cancelled:
                tasks[len(tasks) // 2].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert (gate._inside, len(gate._waiting), inside) == (0, 0, 0)
        async with asyncio.timeout(1), Pass(gate, alone=True):
            pass

    asyncio.run(run())
