"""The first branch whose condition holds."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.errors import DeadlinePassed, FailedPrecondition, Unavailable
from graphmesh.graph.conditions import Condition
from graphmesh.graph.running.actions.switch import SwitchAction
from tests.graph.branches import FakeBranch, Notes, Played, branches, floats, play
from tests.graph.host import FakeHost, Reply, VirtualLoop, frame_of, run_of, virtual

if TYPE_CHECKING:
    from graphmesh.graph.conditions import Scope
    from graphmesh.graph.running.action import Inner

ANSWERS = {"a": Reply(floats(1)), "b": Reply(floats(2)), "c": Reply(floats(3))}
A, B, C = branches("abc")


def _when(source: str) -> Condition:
    return Condition.parse(source, sees=frozenset({"inputs"}))


def _play(*cases: tuple[str, Inner], default: Inner | None = None, **more: Any) -> Played:  # noqa: ANN401 - of `play`
    action = SwitchAction(cases=[(_when(source), branch) for source, branch in cases], default=default)
    return play(action, ANSWERS, inputs={"x": np.array([5.0])}, **more)


def test_the_first_condition_that_holds_chooses() -> None:
    """Only its branch is called, and the note says which."""
    played = _play(("inputs.x > 9.0", A), ("inputs.x > 4.0", B), ("inputs.x > 3.0", C))
    assert played.values() == [2]
    assert played.host.names == ["b"]
    assert played.notes == {"chosen": "b"}


def test_the_default_is_run_if_none_holds() -> None:
    """It is a branch like any other."""
    played = _play(("inputs.x > 9.0", A), default=C)
    assert played.values() == [3]
    assert played.notes == {"chosen": "c"}


def test_without_a_default_such_a_request_is_refused() -> None:
    """The error says what was asked."""
    played = _play(("inputs.x > 9.0", A), ('params.mode == "fast"', B), parameters={"mode": "slow"})
    assert isinstance(played.error, FailedPrecondition)
    assert '`inputs.x > 9.0`, `params.mode == "fast"`' in played.error.message
    assert played.host.names == []


def test_conditions_see_parameters_and_headers() -> None:
    """Those of the request."""
    cases = (('params.mode == "fast"', A), ('headers["x-tenant"] == "me"', B))
    assert _play(*cases, parameters={"mode": "fast"}).values() == [1]
    assert _play(*cases, parameters={"mode": ""}, headers={"x-tenant": "me"}).values() == [2]


def test_a_condition_that_cannot_be_answered_is_not_taken_for_false() -> None:
    """The step fails before anything is called."""
    played = _play(('headers["x-tenant"] == "me"', A), default=C)
    assert isinstance(played.error, FailedPrecondition)
    assert "x-tenant" in played.error.message
    assert played.host.names == []


def test_no_condition_is_asked_after_the_deadline() -> None:
    """Each takes time in which nothing else goes on."""
    asked: list[float] = []

    class Slow(Condition):
        """A condition that takes a second."""

        def holds(self, scope: Scope) -> bool:
            """Return that it does not hold, a second later."""
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            asked.append(loop.time())
            loop.skip(1)
            return False

    action = SwitchAction(cases=[(Slow(_when("true").expression), A)] * 9, default=C)
    played = play(action, ANSWERS, deadline_s=2.5)
    assert isinstance(played.error, DeadlinePassed)
    assert len(asked) == 3
    assert played.host.names == []


@pytest.mark.parametrize(("pause_s", "turns"), [(0.0, 0), (0.01, 1)])
def test_others_go_on_before_the_branch_does(pause_s: float, turns: int) -> None:
    """If asking took a while: a graph may have a thousand switches, one after the other."""
    given = []

    class Host(FakeHost):
        """Counts turns, and has a clock that goes on with each look."""

        __slots__ = ("looks",)

        def __init__(self) -> None:
            super().__init__(ANSWERS)
            self.looks = 0

        def now(self) -> float:
            """Return a later time at each look."""
            self.looks += 1
            return super().now() + self.looks * pause_s

        async def turn(self) -> None:
            """Note it."""
            given.append(self.names)

    async def work() -> None:
        host = Host()
        await SwitchAction(cases=[(_when("true"), A)], default=None).run({}, frame_of(run_of(host), "step", "y"))

    virtual(work())
    assert given == [[]] * turns


def test_the_chosen_branchs_error_is_the_steps() -> None:
    """A switch tries nothing else."""
    action = SwitchAction(cases=[(_when("true"), A)], default=C)
    played = play(action, {"a": Reply(error=Unavailable("down")), "c": Reply(floats(3))})
    assert isinstance(played.error, Unavailable)
    assert played.error.message == "graph g, node step/a: down"
    assert played.host.names == ["a"]


def test_the_chosen_branchs_stream_is_passed_on() -> None:
    """A branch that answers once gives a stream of one; whoever stops asking ends the call."""
    streaming = FakeBranch("a", streams=True)
    action = SwitchAction(cases=[(_when("inputs.x > 4.0"), streaming)], default=B)
    assert action.streams
    assert not SwitchAction(cases=[(_when("true"), A)], default=B).streams

    async def work(x: float, wanted: int) -> tuple[list[float], list[str]]:
        host = FakeHost({"a": Reply(stream=[floats(1), floats(2), floats(3)]), "b": Reply(floats(9))})
        frame, values = frame_of(run_of(host, timeline=Notes()), "step", "y"), list[float]()
        async with aclosing(action.stream({"x": np.array([x])}, frame)) as stream:
            async for outputs in stream:
                values.extend(outputs["y"].tolist())
                if len(values) == wanted:
                    break
        return values, [made.how for made in host.made]

    assert virtual(work(5, 9)) == ([1, 2, 3], ["answered"])
    assert virtual(work(5, 2)) == ([1, 2], ["cancelled"])
    assert virtual(work(1, 9)) == ([9], ["answered"])
