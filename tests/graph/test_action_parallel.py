"""All branches at once: which must answer, and what becomes of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidRequest, ModelFailed, Overloaded, Unavailable
from graphmesh.graph.running.actions.parallel import ParallelAction
from graphmesh.graph.running.budget import Budget
from graphmesh.graph.spec import Aggregate, Join
from tests.graph.branches import Played, branches, floats, play
from tests.graph.host import Reply

if TYPE_CHECKING:
    from tests.graph.host import Script


def _play(join: Join, answers: dict[str, Script], *, quorum: int = 0, how: Aggregate = Aggregate.CONCAT) -> Played:
    action = ParallelAction(branches=branches("".join(answers)), join=join, quorum=quorum, aggregate=how)
    return play(action, answers)


def _now(*values: float) -> Reply:
    return Reply(floats(*values))


def test_all_answers_are_joined_in_written_order_whatever_order_they_come_in() -> None:
    """The slowest decides when, the author decides the order."""
    played = _play(Join.ALL, {"a": Reply(floats(1), after_s=3), "b": Reply(floats(2), after_s=1)})
    assert played.values() == [1, 2]
    assert played.seconds == 3
    assert played.degraded == []
    assert played.notes == {"answered": "a, b"}


def test_all_fails_with_the_first_failure_and_cancels_the_rest() -> None:
    """Nobody waits for an answer that is not used any more; the error says whose it is."""
    played = _play(Join.ALL, {"a": Reply(floats(1), after_s=9), "b": Reply(after_s=2, error=Unavailable("down"))})
    assert isinstance(played.error, Unavailable)
    assert played.error.message == "graph g, node step/b: down"
    assert played.seconds == 2
    assert played.how == {"a": "cancelled", "b": "failed"}


def test_any_waits_for_all_and_is_degraded_when_one_failed() -> None:
    """One answer is enough, but no answer is thrown away."""
    played = _play(
        Join.ANY, {"a": Reply(error=Unavailable("down")), "b": Reply(floats(2), after_s=1), "c": Reply(floats(3))}
    )
    assert played.values() == [2, 3]
    assert played.seconds == 1
    assert played.degraded == ["step"]
    assert played.notes == {"answered": "b, c", "failed": "a"}


def test_any_fails_with_the_error_written_first_that_tells_of_the_others() -> None:
    """The code is that of the branch written first, not of the one that failed first."""
    played = _play(
        Join.ANY, {"a": Reply(after_s=2, error=Unavailable("down")), "b": Reply(error=InvalidRequest("wrong"))}
    )
    assert isinstance(played.error, Unavailable)
    assert played.error.message == (
        "graph g, node step/a: down; other branches failed, too: graph g, node step/b: wrong"
    )


def test_a_quorum_ends_with_the_last_answer_that_it_needs() -> None:
    """What is slower is cancelled, and its degradation does not count."""
    played = _play(
        Join.QUORUM,
        {"a": Reply(floats(1), after_s=9, degraded=("x",)), "b": Reply(floats(2), after_s=2), "c": _now(3)},
        quorum=2,
    )
    assert played.values() == [2, 3]
    assert played.seconds == 2
    assert played.how == {"a": "cancelled", "b": "answered", "c": "answered"}
    assert played.degraded == []


def test_a_quorum_fails_as_soon_as_it_cannot_be_reached() -> None:
    """Two of three have failed: the third is not waited for."""
    failing = Reply(after_s=1, error=Unavailable("down"))
    played = _play(Join.QUORUM, {"a": Reply(floats(1), after_s=9), "b": failing, "c": failing}, quorum=2)
    assert isinstance(played.error, Unavailable)
    assert played.seconds == 1
    assert played.how["a"] == "cancelled"


def test_a_quorum_after_a_failure_is_degraded() -> None:
    """As many as asked answered, but not all that were asked could."""
    played = _play(
        Join.QUORUM, {"a": Reply(error=Unavailable("down")), "b": _now(2), "c": Reply(floats(3), after_s=1)}, quorum=2
    )
    assert played.values() == [2, 3]
    assert played.degraded == ["step"]


def test_first_takes_one_answer_as_it_is() -> None:
    """A failure before it does not matter: no more than one answer was asked for."""
    played = _play(
        Join.FIRST,
        {"a": Reply(error=Unavailable("down")), "b": Reply(floats(2), after_s=1), "c": Reply(floats(3), after_s=2)},
        how=Aggregate.ONE,
    )
    assert played.values() == [2]
    assert played.seconds == 1
    assert played.degraded == []
    assert played.how == {"a": "failed", "b": "answered", "c": "cancelled"}


def test_what_became_degraded_in_a_branch_that_counts_is_told() -> None:
    """Paths of branches come in written order."""
    played = _play(
        Join.ALL, {"a": Reply(floats(1), after_s=1, degraded=("x",)), "b": Reply(floats(2), degraded=("y",))}
    )
    assert played.degraded == ["step/a/x", "step/b/y"]


def test_answers_that_do_not_go_together_fail_the_step() -> None:
    """The error names output, shapes and branches."""
    played = _play(Join.ALL, {"a": _now(1, 2), "b": _now(1)}, how=Aggregate.MEAN)
    assert isinstance(played.error, ModelFailed)
    assert played.error.message == (
        "output 'y' must have one datatype and shape in all branches, got FP32 [2] of a and FP32 [1] of b"
    )


def test_answers_that_wait_for_others_count_in_the_budget() -> None:
    """More than one request may hold is refused, and the rest is cancelled; afterwards nothing is counted."""
    budget = Budget(held=12)
    action = ParallelAction(branches=branches("abc"), join=Join.ALL, quorum=0, aggregate=Aggregate.CONCAT)
    answers: dict[str, Script] = {"a": _now(1, 2), "b": Reply(floats(3, 4), after_s=1), "c": Reply(after_s=9)}
    played = play(action, answers, budget=budget)
    assert isinstance(played.error, Overloaded)
    assert played.how == {"a": "answered", "b": "answered", "c": "cancelled"}
    assert budget.bytes_left == 12


_scripts = st.lists(
    st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=6
)  # each branch: seconds before it ends, and whether it answers


def _oracle(join: Join, quorum: int, script: list[tuple[int, bool]]) -> tuple[list[int] | None, int]:
    """Return whose answers are joined (None: it fails) and after how many seconds, by going through time."""
    needed = {Join.ALL: len(script), Join.ANY: 1, Join.QUORUM: quorum, Join.FIRST: 1}[join]
    order = sorted(range(len(script)), key=lambda index: (script[index][0], index))
    answered: list[int] = []
    failed = 0
    for index in order:
        seconds, answers = script[index]
        if answers:
            answered.append(index)
        else:
            failed += 1
        if len(script) - failed < needed:
            return None, seconds
        if len(answered) >= needed and join is not Join.ANY:
            return sorted(answered), seconds
    return sorted(answered), max(seconds for seconds, _ in script)


@pytest.mark.parametrize("join", Join)
@given(script=_scripts, data=st.data())
def test_any_script_of_branches_ends_as_the_table_says(
    join: Join, script: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """Whatever answers and fails whenever: the same branches count, at the same instant, and nothing goes on."""
    quorum = data.draw(st.integers(1, len(script)))
    answers: dict[str, Script] = {
        chr(97 + index): Reply(floats(index), after_s=seconds, error=None if good else Unavailable("down"))
        for index, (seconds, good) in enumerate(script)
    }
    played = _play(join, answers, quorum=quorum)
    expected, seconds = _oracle(join, quorum, script)
    assert (None if played.outputs is None else played.values()) == expected
    assert played.seconds == seconds
    assert (played.error is None) == (expected is not None)
    failed_before = any(not good and after <= seconds for after, good in script)
    if expected is not None and join in {Join.ALL, Join.FIRST}:
        assert played.degraded == []
    if expected is not None and join is Join.ANY:
        assert bool(played.degraded) == failed_before
