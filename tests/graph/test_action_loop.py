"""A branch, run again on what it gave before."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import DeadlinePassed, FailedPrecondition, ModelFailed, Unavailable
from graphmesh.graph.conditions import Condition
from graphmesh.graph.running.actions.loop import LoopAction
from tests.graph.branches import FakeBranch, Played, play
from tests.graph.host import FakeHost, Reply, VirtualLoop, frame_of, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Frame
    from tests.graph.host import Script


def _add(x: Tensor, step: Tensor) -> dict[str, Tensor]:
    return {"y": x + step, "rest": 10 - x - step}


def _play(
    until: str = "",
    most: int = 5,
    script: Script = _add,
    carry: Sequence[tuple[str, str]] = (("x", "y"),),
    **more: Any,  # noqa: ANN401
) -> Played:
    condition = Condition.parse(until, sees=frozenset({"inputs", "outputs", "iteration"})) if until else None
    action = LoopAction(body=FakeBranch("a"), until=condition, max_iterations=most, carry=carry)
    return play(action, {"a": script}, inputs={"x": np.array([0]), "step": np.array([2])}, **more)


def test_it_runs_to_the_limit_without_a_condition() -> None:
    """What one time gives the next starts from; other inputs stay."""
    played = _play()
    assert played.values() == [10]
    assert played.notes == {"iterations": 5}


def test_it_ends_once_the_condition_holds() -> None:
    """Asked after each time, over the outputs of the last."""
    played = _play("outputs.y >= 6")
    assert played.values() == [6]
    assert played.notes == {"iterations": 3}


def test_it_runs_at_least_once() -> None:
    """Also if the condition holds from the start."""
    assert _play("true").notes == {"iterations": 1}


def test_the_condition_sees_the_inputs_of_the_last_time_and_its_number() -> None:
    """The first time is 1."""
    assert _play("inputs.x == 4").values() == [6]
    assert _play("iteration == 2").values() == [4]


def test_what_the_condition_and_the_next_time_need_is_asked_for() -> None:
    """Beside what somebody reads of the step."""
    played = _play("outputs.rest < 3 || shapes.y[0] > 7", outputs=("other",), script=lambda x, step: {**_add(x, step)})
    assert set(played.host.made[0].call.outputs) == {"other", "y", "rest"}
    assert set(_play('"rest" in outputs', outputs=("y",)).host.made[0].call.outputs) == {"y", "rest"}
    assert _play("size(outputs) == 2", outputs=("y",)).host.made[0].call.outputs == ()


def test_nothing_is_carried_unless_said() -> None:
    """Each time then has the same inputs."""
    assert _play(carry=(), most=3).values() == [2]


def test_a_failure_ends_it() -> None:
    """The error is the body's."""
    played = _play(script=[_add, Reply(error=Unavailable("down"))])
    assert isinstance(played.error, Unavailable)
    assert played.error.message == "graph g, node step/a: down"
    assert played.notes == {"iterations": 1}


def test_no_time_begins_after_the_deadline() -> None:
    """The error says how far it came."""
    played = _play(script=Reply(_add, after_s=2), deadline_s=4)
    assert isinstance(played.error, DeadlinePassed)
    assert played.error.message == "the deadline passed after 2 of at most 5 times"
    assert len(played.host.made) == 2
    assert played.seconds == 4


def test_a_condition_that_cannot_be_answered_ends_it() -> None:
    """It is not taken for false, which would run to the limit."""
    played = _play('headers["x-stop"] == "now"')
    assert isinstance(played.error, FailedPrecondition)
    assert len(played.host.made) == 1


@pytest.mark.parametrize("until", ["", "iteration > 9"])
def test_an_answer_without_what_the_next_time_needs_is_refused(until: str) -> None:
    """The error names the output; the input is not just kept."""
    played = _play(until, script=Reply({"other": np.array([1])}), outputs=("other",))
    assert isinstance(played.error, ModelFailed)
    assert played.error.message == "the answer of a has no output 'y' for the next time"


class Transform(FakeBranch):
    """A branch that changes tensors and waits for nothing; it takes a millisecond of virtual time."""

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Return what a transform step does."""
        return self._change(inputs)

    def _change(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.skip(0.001)
        return {"y": inputs["x"] + 1}


async def _transforms(deadline: Deadline = NO_DEADLINE) -> Mapping[str, Tensor]:
    """Run 1,000 transforms in a loop, a second of work without any pause."""
    action = LoopAction(body=Transform("a"), until=None, max_iterations=1000, carry=(("x", "y"),))
    frame = frame_of(run_of(FakeHost({})), "step", "y", deadline=deadline)
    return await action.run({"x": np.zeros(1)}, frame)


def test_a_loop_of_transforms_lets_others_go_on() -> None:
    """Whoever wants a turn has one at least every 50 ms, though the body never waits."""
    turns = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(_transforms())
        while not task.done():
            turns.append(loop.time())
            await asyncio.sleep(0)
        assert (await task)["y"] == [1000]

    virtual(work())
    assert turns[-1] - turns[0] > 0.9
    assert max(after - before for before, after in pairwise(turns)) <= 0.05


def test_a_loop_of_transforms_is_cancelled_within_50_ms() -> None:
    """Not when it has ended."""

    async def work() -> float:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(_transforms())
        left_at = loop.time() + 0.1
        loop.call_at(left_at, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return loop.time() - left_at

    assert 0 <= virtual(work()) <= 0.05


@pytest.mark.parametrize("limited", [False, True])
def test_a_loop_of_transforms_is_at_most_50_ms_late(*, limited: bool) -> None:
    """By the deadline that it sees itself, and by one that a step around it has."""

    async def work() -> float:
        host = FakeHost({})
        at = host.now() + 0.1
        with pytest.raises(DeadlinePassed):
            async with host.limit(at if limited else float("inf"), "late"):
                await _transforms(NO_DEADLINE if limited else Deadline(at))
        return host.now() - at

    assert 0 <= virtual(work()) <= 0.05
