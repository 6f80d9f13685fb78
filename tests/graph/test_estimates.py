"""How long calls take, learned from calls."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.running.estimates import Estimates, Median, critical_path_s, expected_of
from graphmesh.graph.running.plan import make_plan
from graphmesh.graph.spec import ModelCall


def _learned(median: Median, center: float, spread: float, *, count: int, start: float = 0.0, seed: int = 1) -> Median:
    draw = random.Random(seed)  # noqa: S311 - durations
    for index in range(count):
        median.learn(draw.lognormvariate(math.log(center), spread), start + index * 0.01)
    return median


@pytest.mark.parametrize(("spread", "factor"), [(0.05, 1.15), (0.3, 1.5), (1.0, 2.0)])
def test_the_median_is_found(spread: float, factor: float) -> None:
    """Close for steady calls, within a factor of two where durations vary by e."""
    found = [_learned(Median(), 0.01, spread, count=300, seed=seed).seconds(3.0) for seed in range(20)]
    assert all(0.01 / factor < seconds < 0.01 * factor for seconds in found)


def test_a_change_is_followed_and_one_slow_call_is_not() -> None:
    """Ten times slower or faster is known after thirty calls; a single outlier moves little."""
    median = _learned(Median(), 0.01, 0.2, count=200)
    median.learn(10.0, 2.0)
    assert median.seconds(2.0) < 0.02
    _learned(median, 0.1, 0.2, count=30, start=2.0)
    assert 0.05 < median.seconds(2.5) < 0.2
    _learned(median, 0.01, 0.2, count=40, start=3.0)
    assert 0.005 < median.seconds(3.5) < 0.02


def test_nothing_is_known_at_first_and_after_a_pause() -> None:
    """A few calls are needed; ten seconds without one and it starts anew, so that nobody is refused for ever."""
    median = Median()
    for index in range(4):
        median.learn(1.0, index)
        assert median.seconds(index) == 0.0
    median.learn(1.0, 4.0)
    assert median.seconds(14.0) == 1.0
    assert median.seconds(14.1) == 0.0
    median.learn(0.1, 20.0)
    assert median.seconds(20.0) == 0.0


def test_calls_that_were_given_up_count_if_they_took_longer() -> None:
    """A model so slow that no call ends in time is learned from those; a quick loser of a race says nothing."""
    median = _learned(Median(), 0.01, 0.1, count=100)
    before = median.seconds(1.0)
    for _ in range(50):
        median.learn_longer(0.001, 1.0)
    assert median.seconds(1.0) == before
    for _ in range(50):
        median.learn_longer(0.5, 1.0)
    assert median.seconds(1.0) > 0.25


@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=60))
def test_any_durations_give_one_between_them(durations: list[float]) -> None:
    """Whatever comes, the estimate is a number within what was seen."""
    median = Median()
    for seconds in durations:
        median.learn(seconds, 0.0)
    assert min(durations) <= median.seconds(0.0) * (1 + 1e-9)
    assert median.seconds(0.0) <= max(*durations, 1e-7)


def test_estimates_are_kept_by_target() -> None:
    """Calls too short to matter are not kept, unless the target is known; versions are targets of their own."""
    estimates, one, two = Estimates(), ModelCall(name="m"), ModelCall(name="m", version="2")
    for index in range(10):
        estimates.learn(one, 1e-4, index)
        estimates.learn(two, 0.2, index)
        estimates.learn_longer(ModelCall(name="late"), 3.0, index)
    assert estimates.seconds(one, 9.0) == 0.0
    assert estimates.seconds(two, 9.0) == pytest.approx(0.2)
    assert estimates.seconds(ModelCall(name="late"), 9.0) == 3.0
    for index in range(10, 60):
        estimates.learn(two, 1e-4, index / 10 + 9)
    assert estimates.seconds(two, 15.0) < 0.001


TIMES = {"a": 1.0, "b": 2.0, "c": 4.0}


@pytest.mark.parametrize(
    ("node", "seconds"),
    [
        ("{model: b}", 2.0),
        ("{model: unknown}", 0.0),
        ("{graph: c}", 4.0),
        ("{map: {model: b, over: x}}", 2.0),
        ("{fallback: [{name: p, model: b}, {name: q, model: a}]}", 1.0),
        ("{race: {branches: [{name: p, model: c}, {name: q, model: b}]}}", 2.0),
        ("{parallel: {branches: [{name: p, model: c}, {name: q, model: b}]}}", 4.0),
        ("{parallel: {join: first, branches: [{name: p, model: c}, {name: q, model: b}]}}", 2.0),
        (
            (
                "{parallel: {join: quorum, quorum: 2, aggregate: mean, "
                "branches: [{name: p, model: c}, {name: q, model: b}, {name: r, model: a}]}}"
            ),
            2.0,
        ),
        ("{cascade: {confidence: y, threshold: 1, branches: [{name: p, model: b}, {name: q, model: a}]}}", 2.0),
        ("{loop: {body: {name: p, model: b}, max_iterations: 9}}", 2.0),
        ("{cache: {body: {name: p, model: b}}}", 0.0),
    ],
)
def test_a_step_takes_as_long_as_the_cheapest_it_may_do(node: str, seconds: float) -> None:
    """What is certain to be run counts; what may be avoided does not."""
    graph = parse_yaml(f"{{name: g, inputs: [x], nodes: {{n: {node}}}}}")
    assert expected_of(graph.nodes[0], lambda target: TIMES.get(target.name, 0.0)) == seconds


def test_the_critical_path_is_the_longest_way() -> None:
    """Steps side by side count once, the longer one."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          top: {model: a, inputs: {x: x}}
          left: {model: b, inputs: {x: top.y}}
          right: {model: c, inputs: {x: top.y}}
          join: {model: a, inputs: {x: left.y, z: right.y}}
          beside: {model: c, inputs: {x: x}}
        outputs: {y: join.y, z: beside.y}
    """)
    assert critical_path_s(make_plan(graph, lambda _: None), lambda target: TIMES[target.name]) == 6.0
