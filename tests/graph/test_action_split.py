"""One branch, chosen by weight: how often each is taken, and which keys move when weights change."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.core.errors import FailedPrecondition
from graphmesh.graph.conditions import Key
from graphmesh.graph.running.actions.split import SplitAction
from tests.graph.branches import FakeBranch, floats, play
from tests.graph.host import FakeHost, Reply, frame_of, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = [f"user-{number}" for number in range(4000)]
# Where the first of them go, of three branches of equal weight, by a process that ended long ago.
KNOWN = "acccabbaccbb"
# Five standard deviations of a share, of as many draws or keys.
FAR = 5 * (0.25 / len(KEYS)) ** 0.5


def _split(weights: Mapping[str, int], *, key: str = "params.user", draw: Any = random.random) -> SplitAction:  # noqa: ANN401
    shares = [(weight, FakeBranch(name)) for name, weight in weights.items()]
    return SplitAction(shares=shares, key=Key.parse(key) if key else None, draw=draw)


def _placed(weights: Mapping[str, int], path: str = "step", graph: str = "g") -> list[str]:
    """Return the branch of each key."""

    async def work() -> list[str]:
        action, host, found = _split(weights), FakeHost({}), []
        for user in KEYS:
            frame = frame_of(run_of(host, graph=graph, parameters={"user": user}), path, "y")
            found.append(action._choose({}, frame).name)
        return found

    return virtual(work())


def _drawn(weights: Mapping[str, int]) -> list[str]:
    async def work() -> list[str]:
        action = _split(weights, key="", draw=random.Random(1).random)  # noqa: S311 - repeatable
        frame = frame_of(run_of(FakeHost({})), "step", "y")
        return [action._choose({}, frame).name for _ in KEYS]

    return virtual(work())


@pytest.mark.parametrize("choose", [_placed, _drawn])
@pytest.mark.parametrize("weights", [{"a": 1}, {"a": 1, "b": 1}, {"a": 90, "b": 9, "c": 1}, {"a": 5, "b": 0, "c": 3}])
def test_each_branch_is_taken_in_proportion_to_its_weight(choose: Any, weights: Mapping[str, int]) -> None:  # noqa: ANN401
    """With keys and without; a weight of 0 takes a branch out."""
    taken = Counter(choose(weights))
    for name, weight in weights.items():
        assert taken[name] / len(KEYS) == pytest.approx(weight / sum(weights.values()), abs=FAR)
        assert weight or not taken[name]


def test_the_shares_are_divided_without_gaps() -> None:
    """The smallest and the largest number that can be drawn choose a branch, and so does every border."""

    async def work(drawn: float) -> str:
        action = _split({"a": 1, "b": 0, "c": 3}, key="", draw=lambda: drawn)
        return action._choose({}, frame_of(run_of(FakeHost({})), "step")).name

    assert [virtual(work(drawn)) for drawn in (0.0, 0.2499, 0.25, 1 - 2**-53)] == ["a", "a", "c", "c"]


def test_equal_keys_take_the_same_branch() -> None:
    """In every process, on every machine, forever."""
    assert _placed({"a": 1, "b": 1, "c": 1})[:12] == list(KNOWN)


def test_only_as_many_keys_move_as_a_share_changes() -> None:
    """From 10 to 20 percent: a tenth of all keys moves, all of them to the branch that grew."""
    before, after = _placed({"a": 90, "b": 10}), _placed({"a": 80, "b": 20})
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {("a", "b")}
    assert len(moved) / len(KEYS) == pytest.approx(0.1, abs=FAR)


@settings(max_examples=15)
@given(weights=st.lists(st.integers(0, 20), min_size=2, max_size=5), data=st.data())
def test_keys_move_only_between_the_branch_that_changes_and_the_others(weights: list[int], data: st.DataObject) -> None:
    """Whatever the weights: one that grows takes keys from others, and none moves between those."""
    index = data.draw(st.integers(0, len(weights) - 1))
    changed = [*weights]
    changed[index] += data.draw(st.integers(1, 20))
    if not sum(weights):
        return
    names = "abcde"
    before, after = _placed(dict(zip(names, weights, strict=False))), _placed(dict(zip(names, changed, strict=False)))
    assert {new for old, new in zip(before, after, strict=True) if old != new} <= {names[index]}


def test_a_branch_that_comes_or_goes_moves_no_other_keys() -> None:
    """Taking `b` out divides its keys among the others; the order in which branches are written does not matter."""
    before, after = _placed({"a": 1, "b": 1, "c": 2}), _placed({"c": 2, "a": 1})
    assert all(old in {new, "b"} for old, new in zip(before, after, strict=True))


def test_two_splits_by_one_key_are_independent() -> None:
    """One inside a branch of the other still divides what comes there; other graphs divide otherwise, too."""
    weights = {"a": 1, "b": 1}
    outer = _placed(weights)
    for inner in (_placed(weights, path="step/a/inner"), _placed(weights, graph="h")):
        together = Counter(zip(outer, inner, strict=True))
        for pair in together.values():
            assert pair / len(KEYS) == pytest.approx(0.25, abs=FAR)


def test_neither_the_item_nor_what_is_around_changes_the_branch() -> None:
    """A graph may run by itself or inside another, and a step for each item."""
    weights = {"a": 1, "b": 1}
    assert _placed(weights) == _placed(weights, path="outer/step[3]")


def test_the_chosen_branch_is_called() -> None:
    """The note says which."""
    played = play(_split({"a": 0, "b": 1}), {"b": Reply(floats(2))}, parameters={"user": "me"})
    assert played.values() == [2]
    assert played.notes == {"chosen": "b"}


def test_a_key_that_is_missing_fails_the_step() -> None:
    """It is not taken for an empty one, which would send all such requests to one branch."""
    played = play(_split({"a": 1}), {})
    assert isinstance(played.error, FailedPrecondition)
    assert "user" in played.error.message


def test_the_chosen_branchs_stream_is_passed_on() -> None:
    """A stream as soon as one branch is."""

    async def work() -> list[float]:
        action = SplitAction(
            shares=[(1, FakeBranch("a", streams=True)), (0, FakeBranch("b"))], key=None, draw=lambda: 0
        )
        assert action.streams
        frame = frame_of(run_of(FakeHost({"a": Reply(stream=[floats(1), floats(2)])})), "step", "y")
        async with aclosing(action.stream({}, frame)) as stream:
            return [outputs["y"].item() async for outputs in stream]

    assert virtual(work()) == [1, 2]
