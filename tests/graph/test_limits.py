"""A step's own limit: one code and one wording, whether it cut a call off or the call was refused because of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.errors import DeadlinePassed, Overloaded
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.running.limits import MISSES_DEADLINE
from graphmesh.graph.running.timeline import Timeline
from tests.graph.host import FakeHost, Reply, give, virtual

if TYPE_CHECKING:
    from graphmesh.graph.spec import Graph

ONE = np.ones(1, np.float32)
CALLED = parse_yaml(
    "{name: g, inputs: [x], nodes: {dear: {model: slow, timeout: 0.1s, inputs: {x: x}}}, outputs: {y: dear.y}}"
)
SAFE = parse_yaml("""
    name: g
    inputs: [x]
    nodes:
      - name: safe
        inputs: {x: x}
        fallback:
          branches:
            - {name: dear, model: slow, inputs: {x: x}, timeout: 0.1s}
            - {name: cheap, model: quick, inputs: {x: x}}
          on: [UNAVAILABLE]
    outputs: {y: safe.y}
""")
AROUND = parse_yaml("""
    name: g
    inputs: [x]
    nodes:
      - name: safe
        timeout: 0.1s
        inputs: {x: x}
        fallback: [{name: dear, model: slow, inputs: {x: x}}, {name: other, model: slow, inputs: {x: x}}]
    outputs: {y: safe.y}
""")
QUEUE = Overloaded("model 'slow' version 1: a call would wait 138 ms", retry_after_s=0.138, metadata=MISSES_DEADLINE)
ALONE = DeadlinePassed("model 'slow' version 1 alone takes 300 ms, the deadline leaves 100 ms")
CAUSES = {
    "cut off": (Reply({"y": ONE}, after_s=0.3), {}, "was reached"),
    "alone too slow": (Reply(error=ALONE), {}, "would be missed: model 'slow' version 1 alone takes 300 ms"),
    "queue too long": (Reply(error=QUEUE), {}, "would be missed: model 'slow' version 1: a call would wait 138 ms"),
    "known to be slow": (Reply({"y": ONE}), {"slow": 0.3}, "would be missed: model slow takes about 300 ms"),
}


def _host(reply: Reply, expected: dict[str, float]) -> FakeHost:
    return FakeHost({"slow": reply, "quick": Reply({"y": ONE * 2})}, expected=expected)


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize(("graph", "path"), [(CALLED, "dear"), (AROUND, "safe")])
def test_whatever_misses_a_steps_limit_says_whose_it_is(cause: str, graph: Graph, path: str) -> None:
    """Also for a call inside the step that has the limit; the next step is said."""
    reply, expected, said = CAUSES[cause]

    async def work() -> None:
        wanted = re.escape(f"the limit of step {path}, 100 ms, {said}")
        with pytest.raises(DeadlinePassed, match=f"{wanted}.*; raise its `timeout`, or scale what it calls"):
            await give(_host(reply, expected), graph, {"x": ONE})

    virtual(work())


@pytest.mark.parametrize("cause", CAUSES)
def test_a_fallback_goes_on_whatever_misses_the_limit_and_says_so(cause: str) -> None:
    """It is a timeout of the branch, whatever codes are listed; the explanation has the branch, with the reason."""
    reply, expected, said = CAUSES[cause]

    async def work() -> None:
        host = _host(reply, expected)
        timeline = Timeline(SAFE, revision=1, start=host.now())
        assert (await give(host, SAFE, {"x": ONE}, timeline=timeline))["y"] == 2
        document: dict[str, Any] = timeline.to_dict(end=host.now())
        (safe,) = document["nodes"]
        if cause != "cut off":  # which the host tells, as it knows of the call
            dear = next(one for one in safe["branches"] if one["node"] == "safe/dear")
            assert (dear["outcome"], dear["target"]) == ("DEADLINE_EXCEEDED", "slow")
            assert said in dear["reason"]
            assert "safe/dear" in document["critical_path"]

    virtual(work())


@pytest.mark.parametrize("error", [QUEUE, ALONE])
def test_what_the_caller_left_is_not_blamed_on_a_step(error: Overloaded | DeadlinePassed) -> None:
    """A refusal stays what it is: its caller may wait and repeat it."""

    async def work() -> None:
        host = _host(Reply(error=error), {})
        with pytest.raises(type(error)) as caught:
            await give(host, CALLED, {"x": ONE}, deadline=host.deadline(0.05))
        assert caught.value.message == f"graph g, node dear: {error.message}"

    virtual(work())


def test_other_refusals_are_not_the_limits() -> None:
    """A queue that is full is full, however long its caller waits."""

    async def work() -> None:
        with pytest.raises(Overloaded, match="full"):
            await give(_host(Reply(error=Overloaded("full")), {}), CALLED, {"x": ONE})

    virtual(work())


def test_a_limit_further_in_stays_the_cause() -> None:
    """Of a graph that was called, whose own step had less time."""
    inner = DeadlinePassed("graph h, node a: the limit of step a, 10 ms, was reached; raise its `timeout`")

    async def work() -> None:
        with pytest.raises(DeadlinePassed) as caught:
            await give(_host(Reply(error=inner), {}), CALLED, {"x": ONE})
        assert caught.value.message == f"graph g, node dear: {inner.message}"

    virtual(work())


def test_a_branch_that_is_refused_before_it_began_is_told() -> None:
    """Nobody knows what it takes; the branch after it answers."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          - name: safe
            inputs: {x: x}
            fallback: [{name: dear, model: slow}, {name: cheap, model: quick, inputs: {x: x}}]
        outputs: {y: safe.y}
    """)

    async def work() -> None:
        host = FakeHost({"quick": Reply({"y": ONE})})
        timeline = Timeline(graph, revision=1, start=host.now())
        await give(host, graph, {"x": ONE}, timeline=timeline)
        document: dict[str, Any] = timeline.to_dict(end=host.now())
        (safe,) = document["nodes"]
        dear = next(one for one in safe["branches"] if one["node"] == "safe/dear")
        assert (dear["kind"], dear["target"], dear["outcome"]) == ("model", "slow", "UNAVAILABLE")
        assert "no worker serves model slow now" in dear["reason"]

    virtual(work())
