"""What is learned of the cost of batches, and how refusals rest on it."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graphmesh.worker.batching.costs import CostCurve


def learned(seconds: dict[float, float], *, times: int = 5, now: float = 0.0) -> CostCurve:
    """Return a curve that saw each cost some times."""
    curve = CostCurve()
    for _ in range(times):
        for cost, took in seconds.items():
            curve.learn(cost, took, now)
    return curve


def test_nothing_known_takes_no_time() -> None:
    """Before anything was learned nothing is held against a call."""
    curve = CostCurve()
    assert (curve.seconds(8), curve.at_least(8, 0.0), curve.longest) == (0.0, 0.0, 0.0)


def test_between_and_beyond_what_was_seen() -> None:
    """Times are interpolated between points and proportional beyond them."""
    curve = learned({4.0: 0.4, 16.0: 1.0})
    assert curve.seconds(4) == pytest.approx(0.4)
    assert curve.seconds(10) == pytest.approx(0.7)
    assert curve.seconds(32) == pytest.approx(2.0)
    assert curve.seconds(2) == pytest.approx(0.2)
    assert curve.longest == pytest.approx(1.0)


def test_follows_a_model_that_changes() -> None:
    """A model that becomes ten times slower or faster is believed after some tens of batches."""
    curve = learned({1.0: 0.01}, times=50)
    for _ in range(60):
        curve.learn(1.0, 0.1, 1.0)
    assert curve.seconds(1) == pytest.approx(0.1, rel=0.1)
    for _ in range(60):
        curve.learn(1.0, 0.01, 1.0)
    assert curve.seconds(1) == pytest.approx(0.01, rel=0.1)


def test_one_outlier_changes_little() -> None:
    """A batch that takes a thousand times as long moves the mean by less than a third."""
    curve = learned({1.0: 0.01}, times=50)
    curve.learn(1.0, 10.0, 1.0)
    assert curve.seconds(1) < 0.0135
    assert curve.at_least(1, 1.0) == pytest.approx(0.01, rel=0.02)


def test_times_too_short_to_measure_are_no_trap() -> None:
    """A model that took no measurable time at first is believed when it does take some."""
    curve = learned({1.0: 0.0})
    for _ in range(100):
        curve.learn(1.0, 0.01, 0.0)
    assert curve.seconds(1) == pytest.approx(0.01, rel=0.1)


def test_slow_first_batches_are_no_ground_for_refusal_soon() -> None:
    """After a warm-up that took long, the best of few batches counts."""
    curve = CostCurve()
    for took in (10.0, 0.01, 0.01):
        curve.learn(1.0, took, 0.0)
    assert curve.at_least(1, 0.0) == pytest.approx(0.01)


def test_certainty_needs_several_fresh_batches_of_no_more_cost() -> None:
    """Refusals rest on at least three batches, none dearer than the call, seen within the last second."""
    few = learned({4.0: 0.4}, times=2)
    assert few.at_least(4, 0.0) == 0.0
    curve = learned({4.0: 0.4}, now=10.0)
    assert curve.at_least(4, 10.5) == pytest.approx(0.4)
    assert curve.at_least(40, 10.5) == pytest.approx(0.4)
    assert curve.at_least(3, 10.5) == 0.0
    assert curve.at_least(4, 11.5) == 0.0


@given(st.floats(0.0001, 0.01), st.floats(0.0001, 0.01), st.integers(0, 2**32))
def test_affine_costs_are_learned(fixed: float, each: float, seed: int) -> None:
    """Costs of a fixed part and a part for each row, with noise, are predicted within a quarter."""
    noise = random.Random(seed)  # noqa: S311 - a seeded generator, not a secret
    curve = CostCurve()
    for _ in range(600):
        rows = noise.randint(1, 64)
        curve.learn(rows, (fixed + each * rows) * noise.uniform(0.9, 1.1), 0.0)
    for rows in (2, 5, 17, 33, 60):
        assert curve.seconds(rows) == pytest.approx(fixed + each * rows, rel=0.25)


@given(st.lists(st.tuples(st.floats(1e-9, 1e18), st.floats(0, 1e6)), max_size=50), st.floats(1e-9, 1e18))
@example([(97.0, 1.875), (4.8783234195355603e17, 0.0)], 4.8783234195355603e17)  # a line down to 0, at its end
def test_predictions_are_numbers(seen: list[tuple[float, float]], cost: float) -> None:
    """Whatever was seen, a prediction is a number that is not negative, and the bound is below the longest."""
    curve = CostCurve()
    for seen_cost, took in seen:
        curve.learn(seen_cost, took, 0.0)
    assert curve.seconds(cost) >= 0
    assert 0 <= curve.at_least(cost, 0.0) <= curve.longest * 1.000001
