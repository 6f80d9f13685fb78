"""The next branch when one fails: on which errors, how long, and what the caller is told."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import (
    Cancelled,
    Code,
    DeadlinePassed,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
    from_code,
)
from graphmesh.graph.running.actions.blame import WRONG_REQUEST
from graphmesh.graph.running.actions.fallback import FallbackAction
from tests.graph.branches import FakeBranch, Played, branches, floats, play
from tests.graph.host import FakeHost, Reply, frame_of, run_of, virtual

if TYPE_CHECKING:
    from graphmesh.core.errors import GraphmeshError
    from tests.graph.host import Script

DOWN = Reply(after_s=1, error=Unavailable("down"))
ONE = Reply(floats(1))
TWO = Reply(floats(2))


def _play(answers: dict[str, Script], *on: Code, deadline_s: float = float("inf")) -> Played:
    action = FallbackAction(branches=branches("".join(answers)), on=frozenset(on))
    return play(action, answers, deadline_s=deadline_s)


def test_the_first_branch_alone_is_run_while_it_answers() -> None:
    """Nothing is degraded, and no other branch is called."""
    played = _play({"a": ONE, "b": TWO})
    assert played.values() == [1]
    assert played.host.names == ["a"]
    assert played.degraded == []
    assert played.notes == {"chosen": "a"}


def test_the_next_branch_answers_for_one_that_failed() -> None:
    """The answer is marked degraded, and the note says who gave it."""
    played = _play({"a": DOWN, "b": DOWN, "c": TWO})
    assert played.values() == [2]
    assert played.degraded == ["step"]
    assert played.notes == {"chosen": "c"}
    assert played.seconds == 2


def test_what_was_degraded_in_a_branch_that_failed_is_not_told() -> None:
    """Nothing of it is in the answer; what is degraded in the branch that answers is told."""
    played = _play({"a": Reply(error=Unavailable("down"), degraded=("x",)), "b": Reply(floats(2), degraded=("y",))})
    assert played.degraded == ["step/b/y", "step"]


def test_the_last_error_is_the_steps_and_tells_of_those_before() -> None:
    """Class and code are those of the last branch."""
    played = _play({"a": DOWN, "b": Reply(error=Overloaded("full", retry_after_s=2))})
    assert isinstance(played.error, Overloaded)
    assert played.error.retry_after_s == 2
    assert played.error.message == "graph g, node step/b: full; before that: graph g, node step/a: down"


@pytest.mark.parametrize("error", [InvalidRequest("wrong"), NotFound("wrong")])
def test_a_wrong_request_is_not_tried_elsewhere(error: GraphmeshError) -> None:
    """The default leaves out every code that says that the request is wrong."""
    played = _play({"a": Reply(error=error), "b": TWO})
    assert type(played.error) is type(error)
    assert played.host.names == ["a"]


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_the_default_is_every_code_that_does_not_blame_the_request(code: Code) -> None:
    """Walks all codes, as they come over the wire."""
    played = _play({"a": Reply(error=from_code(code, "said so")), "b": TWO})
    assert (played.outputs is None) == (code in WRONG_REQUEST)


def test_listed_codes_replace_the_default() -> None:
    """RESOURCE_EXHAUSTED is in the default, but not in this list; NOT_FOUND the other way round."""
    on = (Code.UNAVAILABLE, Code.NOT_FOUND)
    assert _play({"a": Reply(error=Overloaded("full")), "b": TWO}, *on).host.names == ["a"]
    assert _play({"a": Reply(error=NotFound("gone")), "b": TWO}, *on).host.names == ["a", "b"]


def test_a_call_that_someone_else_cancelled_counts_as_unavailable() -> None:
    """A server that shuts down says CANCELLED; our own cancellations never come back as errors."""
    assert _play({"a": Reply(error=Cancelled("shutting down")), "b": TWO}, Code.UNAVAILABLE).values() == [2]


def test_a_branch_that_is_over_its_own_time_lets_the_next_try() -> None:
    """Whatever codes are listed; its call is cancelled first."""
    action = FallbackAction(branches=[FakeBranch("a", timeout_s=2), FakeBranch("b")], on=frozenset({Code.UNAVAILABLE}))
    played = play(action, {"a": Reply(floats(1), after_s=9), "b": TWO}, deadline_s=5)
    assert played.values() == [2]
    assert played.seconds == 2
    assert played.how == {"a": "cancelled", "b": "answered"}


def test_nothing_is_tried_once_the_steps_own_time_is_up() -> None:
    """The deadline is the caller's: a late answer is none."""
    played = _play({"a": Reply(floats(1), after_s=9), "b": TWO}, deadline_s=5)
    assert isinstance(played.error, DeadlinePassed)
    assert played.host.names == ["a"]
    assert played.seconds == 5


def test_a_branch_that_would_take_too_long_lets_the_next_try() -> None:
    """It says DEADLINE_EXCEEDED before its time is up, so that there is some left."""
    assert _play({"a": Reply(error=DeadlinePassed("takes 9 s")), "b": TWO}, deadline_s=5).values() == [2]


_outcomes = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["answers", "down", "wrong"])), min_size=2, max_size=5
)


@given(script=_outcomes, deadline_s=st.integers(1, 8))
def test_any_script_of_branches_ends_as_trying_them_by_hand(script: list[tuple[int, str]], deadline_s: int) -> None:
    """The same branches are called at the same instants, whatever they do; the outcome is the same."""
    errors: dict[str, GraphmeshError | None] = {
        "answers": None,
        "down": Unavailable("down"),
        "wrong": InvalidRequest("wrong"),
    }
    answers: dict[str, Script] = {
        chr(97 + index): Reply(floats(index), after_s=seconds, error=errors[outcome])
        for index, (seconds, outcome) in enumerate(script)
    }
    played = _play(answers, deadline_s=deadline_s)

    called, now, result = [], 0, "down"
    for index, (seconds, outcome) in enumerate(script):
        called.append(chr(97 + index))
        now, result = (now + seconds, outcome) if now + seconds <= deadline_s else (deadline_s, "late")
        if result != "down" or now >= deadline_s:
            break
    assert played.host.names == called
    assert played.seconds == now
    assert (played.error is None) == (result == "answers")
    assert bool(played.degraded) == (result == "answers" and len(called) > 1)


def _stream(answers: dict[str, Script], wanted: int = 99) -> tuple[list[float], str, FakeHost, list[str]]:
    """Run a fallback of streams; return values, the error's message, the host, and what was degraded."""

    async def work() -> tuple[list[float], str, FakeHost, list[str]]:
        action = FallbackAction(branches=[FakeBranch(name, streams=True) for name in answers], on=frozenset())
        assert action.streams
        host, values = FakeHost(answers), list[float]()
        run = run_of(host)
        frame = frame_of(run, "step", "y", deadline=Deadline(host.now() + 60))
        message = ""
        try:
            async with aclosing(action.stream({}, frame)) as stream:
                async for outputs in stream:
                    values.extend(outputs["y"].tolist())
                    if len(values) == wanted:
                        break
        except Unavailable as error:
            message = error.message
        assert not host.running
        return values, message, host, run.degraded

    return virtual(work())


def test_a_stream_may_fall_back_before_its_first_answer() -> None:
    """Then all answers are the next branch's."""
    values, message, _, degraded = _stream(
        {"a": Reply(stream=[], error=Unavailable("down")), "b": Reply(stream=[floats(1), floats(2)])}
    )
    assert (values, message, degraded) == ([1, 2], "", ["step"])


def test_a_stream_whose_first_answer_lacks_an_output_falls_back() -> None:
    """As a single answer would."""
    values, message, _, degraded = _stream({"a": Reply(stream=[{}, floats(1)]), "b": TWO})
    assert (values, message, degraded) == ([2], "", ["step"])


def test_a_stream_that_has_begun_does_not_fall_back() -> None:
    """Answers of two branches are never mixed."""
    values, message, host, degraded = _stream({"a": Reply(stream=[floats(1)], error=Unavailable("down")), "b": TWO})
    assert (values, message, degraded) == ([1], "graph g, node step/a: down", [])
    assert host.names == ["a"]


def test_an_empty_stream_is_an_answer() -> None:
    """A stream without answers did not fail."""
    values, _, host, _ = _stream({"a": Reply(stream=[]), "b": TWO})
    assert (values, host.names) == ([], ["a"])


def test_a_stream_that_nobody_wants_any_more_is_closed() -> None:
    """Whoever stops asking ends the call."""
    values, _, host, _ = _stream({"a": Reply(stream=[floats(1), floats(2)]), "b": TWO}, wanted=1)
    assert values == [1]
    assert [made.how for made in host.made] == ["cancelled"]
