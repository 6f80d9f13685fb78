"""The first answer of all: when branches are started, which one wins, and what becomes of the losers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidRequest, Overloaded, Unavailable
from graphmesh.graph.running.actions.race import RaceAction
from tests.graph.branches import Played, branches, floats, play
from tests.graph.host import Reply

if TYPE_CHECKING:
    from graphmesh.core.errors import GraphmeshError
    from tests.graph.host import Script


def _play(answers: dict[str, Script], delay_s: float = 2, *, deadline_s: float = float("inf")) -> Played:
    action = RaceAction(branches=branches("".join(answers)), delay_s=delay_s)
    return play(action, answers, deadline_s=deadline_s)


def _starts(played: Played) -> dict[str, float]:
    return {made.name: made.start - played.host.made[0].start for made in played.host.made}


def test_a_branch_that_answers_in_time_runs_alone() -> None:
    """The next is not started at all."""
    played = _play({"a": Reply(floats(1), after_s=1), "b": Reply(floats(2))})
    assert played.values() == [1]
    assert played.host.names == ["a"]
    assert played.notes == {"winner": "a", "hedged": False, "attempt": 1}


def test_the_next_branch_is_started_after_the_delay() -> None:
    """The first answer wins; the slower call is cancelled before the answer leaves. Nothing is degraded."""
    played = _play({"a": Reply(floats(1), after_s=9), "b": Reply(floats(2), after_s=1), "c": Reply(floats(3))})
    assert played.values() == [2]
    assert _starts(played) == {"a": 0, "b": 2}
    assert played.seconds == 3
    assert played.how == {"a": "cancelled", "b": "answered"}
    assert played.degraded == []
    assert played.notes == {"winner": "b", "hedged": True, "attempt": 2}


def test_the_first_branch_may_still_win() -> None:
    """Being hedged is not losing."""
    played = _play({"a": Reply(floats(1), after_s=3), "b": Reply(floats(2), after_s=9, degraded=("x",))})
    assert played.values() == [1]
    assert played.how == {"a": "answered", "b": "cancelled"}
    assert played.degraded == []


def test_what_became_degraded_in_the_winner_is_told() -> None:
    """Its answer is the step's."""
    assert _play({"a": Reply(floats(1), degraded=("x",)), "b": Reply()}).degraded == ["step/a/x"]


def test_a_failure_starts_the_next_at_once() -> None:
    """And the one after that a delay later."""
    played = _play(
        {
            "a": Reply(after_s=1, error=Unavailable("down")),
            "b": Reply(floats(2), after_s=9),
            "c": Reply(floats(3), after_s=1),
        }
    )
    assert _starts(played) == {"a": 0, "b": 1, "c": 3}
    assert played.values() == [3]
    assert played.how == {"a": "failed", "b": "cancelled", "c": "answered"}


def test_without_a_delay_all_start_at_once() -> None:
    """Of two that answer at once the one written first wins."""
    played = _play({"a": Reply(floats(1), after_s=1), "b": Reply(floats(2), after_s=1)}, 0)
    assert _starts(played) == {"a": 0, "b": 0}
    assert played.values() == [1]


def test_a_single_branch_is_started_a_second_time() -> None:
    """A hedge: the same model, asked again."""
    played = _play({"a": [Reply(floats(1), after_s=9), Reply(floats(2), after_s=1)]})
    assert played.values() == [2]
    assert [made.how for made in played.host.made] == ["cancelled", "answered"]
    assert played.notes == {"winner": "a", "hedged": True, "attempt": 2}


def test_a_wrong_request_ends_the_race_at_once() -> None:
    """Whoever else is asked would say the same; what runs is cancelled."""
    played = _play(
        {"a": Reply(floats(1), after_s=9), "b": Reply(after_s=1, error=InvalidRequest("wrong")), "c": Reply(floats(3))}
    )
    assert isinstance(played.error, InvalidRequest)
    assert played.error.message == "graph g, node step/b: wrong"
    assert played.seconds == 3
    assert played.how == {"a": "cancelled", "b": "failed"}


def test_if_all_fail_the_first_error_tells_of_the_others() -> None:
    """The code is the first one's."""
    played = _play({"a": Reply(error=Unavailable("down")), "b": Reply(after_s=1, error=Overloaded("full"))})
    assert isinstance(played.error, Unavailable)
    assert played.error.message == "graph g, node step/a: down; after that: graph g, node step/b: full"
    assert played.seconds == 1


_scripts = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["answers", "down", "wrong"])), min_size=2, max_size=5)


def _oracle(script: list[tuple[int, str]], delay: int) -> tuple[str, int, int]:
    """Return the outcome, when it was there, and how many branches were started, by going through the seconds."""
    ends: dict[int, int] = {}
    failed: set[int] = set()
    due = now = 0
    while True:
        while len(ends) < len(script) and due <= now:
            ends[len(ends)] = now + script[len(ends)][0]
            due = now + delay
        for index in sorted(index for index, end in ends.items() if end <= now and index not in failed):
            if script[index][1] != "down":
                return (chr(97 + index) if script[index][1] == "answers" else "wrong"), now, len(ends)
            failed.add(index)
            if len(failed) == len(script):
                return "down", now, len(ends)
            due = now
            break
        else:
            now += 1


@given(rough=_scripts, delays=st.integers(0, 4))
def test_any_script_of_branches_ends_as_going_through_the_seconds(rough: list[tuple[int, str]], delays: int) -> None:
    """The same winner or error at the same instant after as many starts, and nothing goes on."""
    # Each branch has a bit of its own in the time that it takes, so that no two things happen at the same instant.
    script = [(100 * seconds + (1 << index), outcome) for index, (seconds, outcome) in enumerate(rough)]
    delay = 100 * delays
    errors: dict[str, GraphmeshError | None] = {
        "answers": None,
        "down": Unavailable("down"),
        "wrong": InvalidRequest("wrong"),
    }
    answers: dict[str, Script] = {
        chr(97 + index): Reply(floats(index), after_s=seconds, error=errors[outcome])
        for index, (seconds, outcome) in enumerate(script)
    }
    played = _play(answers, delay)
    expected, seconds, started = _oracle(script, delay)
    if played.error is not None:
        assert expected == ("wrong" if isinstance(played.error, InvalidRequest) else "down")
    else:
        assert played.notes["winner"] == expected
    assert played.seconds == seconds
    assert len(played.host.made) == started
