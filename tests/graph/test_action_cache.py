"""Answers are remembered, and equal calls that come together run once: who runs it, who waits, and who takes over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import DeadlinePassed, GraphmeshError, InvalidRequest, Unavailable
from graphmesh.graph.running.actions.cache import CacheAction
from graphmesh.graph.running.actions.memory import CacheMemory
from tests.graph.branches import FakeBranch, Notes, floats
from tests.graph.host import FakeHost, Reply, frame_of, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from graphmesh.core.tensor import Tensor
    from tests.graph.host import Script

X = {"x": np.array([1.0])}
NEVER = float("inf")


class _Caller:
    """Calls one cache again and again, each call a request of its own.

    Args:
        script: What answers the model `a` inside.
        bounds: Of the cache.
    """

    def __init__(self, script: Script, **bounds: float) -> None:
        self.host = FakeHost({"a": script})
        self.now = self.host.now
        settings: dict[str, Any] = {"ttl_s": 0, "max_entries": 0, "max_bytes": 0, "memory": CacheMemory(), **bounds}
        self.cache = CacheAction(body=FakeBranch("a"), **settings)
        self.log: list[tuple[str, float]] = []
        self.degraded: list[list[str]] = []

    async def call(
        self,
        inputs: Mapping[str, Tensor] | None = None,
        *outputs: str,
        deadline_s: float = NEVER,
        **run: Any,  # noqa: ANN401
    ) -> list[float]:
        """Make one call; log what was noted and when it ended."""
        notes = Notes()
        made = run_of(self.host, timeline=notes, **run)
        frame = frame_of(made, "step", *(outputs or ("y",)), deadline=Deadline(self.now() + deadline_s))
        try:
            found = await self.cache.run(X if inputs is None else inputs, frame)
            self.degraded.append(made.degraded)
            values: list[float] = found["y"].tolist()
            return values
        finally:
            self.log.append((str(notes.facts.get("cache", "none")), self.now() - 1000))

    @property
    def calls(self) -> int:
        """How often the model was called."""
        return len(self.host.made)


def _run(script: Script, work: Callable[[_Caller], Coroutine[Any, Any, None]], **bounds: float) -> _Caller:
    async def run() -> _Caller:
        caller = _Caller(script, **bounds)
        await work(caller)
        assert not caller.cache._flights
        assert not caller.host.running
        return caller

    return virtual(run())


def test_an_answer_is_remembered_for_its_time() -> None:
    """A hit takes no time and calls nothing; after the time to live it is a miss again."""

    async def work(caller: _Caller) -> None:
        assert await caller.call() == [7]
        assert await caller.call() == [7]
        await asyncio.sleep(60)
        assert await caller.call() == [7]

    caller = _run(Reply(floats(7), after_s=1), work)
    assert caller.log == [("miss", 1), ("hit", 1), ("miss", 62)]
    stats = caller.cache.statistics()
    assert (stats.hits, stats.misses, stats.shared, stats.entries, stats.held_bytes) == (1, 2, 0, 1, 4)


def test_what_makes_calls_different() -> None:
    """Inputs, parameters, models' versions and the outputs that are wanted; nothing else."""

    async def work(caller: _Caller) -> None:
        await caller.call()
        await caller.call({"x": np.array([2.0])})
        await caller.call(parameters={"k": 1})
        await caller.call(X, "y", "z")
        await caller.call(X, "z", "y")  # a hit: order does not count
        await caller.call(parameters={"explain": True})  # a hit
        await caller.call(headers={"traceparent": "00"})  # a hit
        caller.host._versions["a"] = "2"
        await caller.call()

    caller = _run(Reply({"y": np.array([1.0]), "z": np.array([1.0])}), work)
    assert [how for how, _ in caller.log] == ["miss", "miss", "miss", "miss", "hit", "hit", "hit", "miss"]


def test_a_branch_inside_sees_nothing_that_is_not_in_the_key() -> None:
    """Neither headers nor parameters that say how the request is answered: no answer may depend on them."""

    async def work(caller: _Caller) -> None:
        unseen = {"degraded": "a", "explain": True, "priority": 1, "timeout": 5}
        await caller.call(headers={"user": "me"}, parameters={"k": 1, **unseen})
        assert caller.host.made[0].call.run.headers == {}
        assert caller.host.made[0].call.run.parameters == {"k": 1}

    _run(Reply(floats(1)), work)


def test_answers_are_nobody_elses_memory() -> None:
    """A model may use its buffer again, and whoever ran the body shares what is kept: neither changes an answer."""
    buffer = np.array([1.0])

    async def work(caller: _Caller) -> None:
        first = await caller.cache.run(X, frame_of(run_of(caller.host), "step", "y"))
        with pytest.raises(ValueError, match="read-only"):
            first["y"][0] = 3
        buffer[0] = 7
        assert first["y"].tolist() == [1]
        assert await caller.call() == [1]

    _run(Reply({"y": buffer}), work)


def test_equal_calls_that_come_together_run_once() -> None:
    """All get the answer of the one that runs, when it is there."""

    async def work(caller: _Caller) -> None:
        assert await asyncio.gather(*(caller.call() for _ in range(20))) == [[7]] * 20

    caller = _run(Reply(floats(7), after_s=1), work)
    assert caller.calls == 1
    assert sorted(caller.log) == [("miss", 1), *[("shared", 1)] * 19]
    assert caller.cache.statistics().shared == 19


def test_an_error_goes_to_those_who_wait_and_to_nobody_after() -> None:
    """Each gets one of its own; the next call tries again."""

    async def work(caller: _Caller) -> None:
        found = await asyncio.gather(*(caller.call() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [Unavailable] * 3
        assert len({id(error) for error in found}) == 3
        assert {error.message for error in found if isinstance(error, GraphmeshError)} == {"graph g, node step/a: down"}
        assert await caller.call() == [7]

    caller = _run([Reply(after_s=1, error=Unavailable("down")), Reply(floats(7))], work)
    assert caller.calls == 2


def test_degraded_answers_are_shared_but_not_remembered() -> None:
    """Those who wait get what there is, and are told; the next call may get better."""

    async def work(caller: _Caller) -> None:
        await asyncio.gather(caller.call(), caller.call())
        await caller.call()

    caller = _run([Reply(floats(1), after_s=1, degraded=("x",)), Reply(floats(2))], work)
    assert caller.degraded == [["step/a/x"], ["step/a/x"], []]
    assert [how for how, _ in caller.log] == ["miss", "shared", "miss"]


def test_one_that_waits_takes_over_when_the_caller_leaves() -> None:
    """The call that ran is cancelled; exactly one of the others runs it anew, and the rest wait for that."""

    async def work(caller: _Caller) -> None:
        leader = asyncio.create_task(caller.call())
        others = [asyncio.create_task(caller.call()) for _ in range(5)]
        await asyncio.sleep(2)
        leader.cancel()
        assert await asyncio.gather(*others) == [[7]] * 5
        assert leader.cancelled()

    caller = _run(Reply(floats(7), after_s=3), work)
    assert [made.how for made in caller.host.made] == ["cancelled", "answered"]
    assert [made.start - 1000 for made in caller.host.made] == [0, 2]
    assert sorted(caller.log) == [("miss", 2), ("miss", 5), *[("shared", 5)] * 4]


def test_one_that_waits_may_leave() -> None:
    """The call that runs is not touched."""

    async def work(caller: _Caller) -> None:
        leader, other = asyncio.create_task(caller.call()), asyncio.create_task(caller.call())
        await asyncio.sleep(1)
        other.cancel()
        assert await leader == [7]

    caller = _run(Reply(floats(7), after_s=3), work)
    assert [made.how for made in caller.host.made] == ["answered"]


def test_all_may_leave_at_once() -> None:
    """Nobody takes over who is cancelled, too: no call begins."""

    async def work(caller: _Caller) -> None:
        tasks = [asyncio.create_task(caller.call()) for _ in range(5)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    caller = _run(Reply(floats(7), after_s=3), work)
    assert [made.how for made in caller.host.made] == ["cancelled"]


def test_each_keeps_its_own_deadline() -> None:
    """One that waits gives up when its time is up; the others go on."""

    async def work(caller: _Caller) -> None:
        leader = asyncio.create_task(caller.call())
        await asyncio.sleep(0)
        with pytest.raises(DeadlinePassed, match="while an equal call ran"):
            await caller.call(deadline_s=2)
        assert caller.now() == 1002
        assert await leader == [7]

    _run(Reply(floats(7), after_s=3), work)


def test_the_time_of_one_caller_is_not_that_of_another() -> None:
    """When the one that runs is out of time, one that has more takes over; one that has no more shares the error."""

    async def work(caller: _Caller) -> None:
        leader = asyncio.create_task(caller.call(deadline_s=2))
        patient = asyncio.create_task(caller.call(deadline_s=9))
        equal = asyncio.create_task(caller.call(deadline_s=2))
        found = await asyncio.gather(leader, patient, equal, return_exceptions=True)
        assert [type(result) for result in found] == [DeadlinePassed, list, DeadlinePassed]

    caller = _run(Reply(floats(7), after_s=3), work)
    assert [made.start - 1000 for made in caller.host.made] == [0, 2]


def test_an_answer_that_is_too_large_is_shared_but_not_remembered() -> None:
    """It would push out everything else, for nothing."""

    async def work(caller: _Caller) -> None:
        await asyncio.gather(caller.call(), caller.call())
        await caller.call()

    caller = _run(Reply(floats(1, 2, 3), after_s=1), work, max_bytes=8)
    assert [how for how, _ in caller.log] == ["miss", "shared", "miss"]
    assert caller.cache.statistics().entries == 0


def test_an_answer_is_not_remembered_if_the_model_changed_meanwhile() -> None:
    """It may be the old one's."""

    async def work(caller: _Caller) -> None:
        call = asyncio.create_task(caller.call())
        await asyncio.sleep(0.5)
        caller.host._versions["a"] = "2"
        await call
        await caller.call()
        caller.host._versions["a"] = "1"
        await caller.call()

    caller = _run(Reply(floats(1), after_s=1), work)
    assert [how for how, _ in caller.log] == ["miss", "miss", "miss"]
    assert caller.cache.statistics().entries == 2


_callers = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from([2.5, 5.5, NEVER])), min_size=1, max_size=8
)


@given(callers=_callers, outcomes=st.lists(st.booleans(), min_size=1, max_size=8))
def test_whoever_comes_and_leaves_whenever_nobody_waits_in_vain(
    callers: list[tuple[int, int, float]], outcomes: list[bool]
) -> None:
    """Callers come, leave and have deadlines at random; the model answers or fails at random.

    Everyone who stays ends with an answer or an error in its own time, no two calls of the model ever overlap, and
    nothing is left behind.
    """

    async def work(caller: _Caller) -> None:
        async def come(start: int, stay: int, deadline_s: float) -> None:
            await asyncio.sleep(start)
            arrived = caller.now()
            task = asyncio.create_task(caller.call(deadline_s=deadline_s))
            leave = asyncio.get_running_loop().call_later(stay, task.cancel) if stay else None
            try:
                assert await task == [7]
            except (Unavailable, DeadlinePassed, asyncio.CancelledError):
                pass
            finally:
                if leave is not None:
                    leave.cancel()
            assert caller.now() - arrived <= deadline_s

        await asyncio.gather(*(come(*entry) for entry in callers))

    script = [Reply(floats(7), after_s=3, error=None if good else Unavailable("down")) for good in outcomes]
    caller = _run(script, work)
    for before, after in zip(caller.host.made, caller.host.made[1:], strict=False):
        assert before.end is not None
        assert before.end <= after.start


def test_a_wrong_request_is_not_remembered_either() -> None:
    """Errors never are: a model may be repaired."""

    async def work(caller: _Caller) -> None:
        for _ in range(2):
            with pytest.raises(InvalidRequest):
                await caller.call()

    assert _run(Reply(error=InvalidRequest("wrong")), work).calls == 2
