"""Graphs that stream: one answer for each position."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import DeadlinePassed, ModelFailed
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.running.budget import Budget
from tests.graph.host import FakeHost, Reply, stream, virtual

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.tensor import Tensor

_Y = (TensorSpec(name="y", datatype="INT64"),)
SIGNATURES = {
    **{name: Signature((), _Y, streaming=True) for name in ("s", "t")},
    **{name: Signature((TensorSpec(name="x", datatype="INT64"),), _Y) for name in ("double", "add", "base")},
}
WORDS = parse_yaml("""
    name: g
    inputs: [x]
    nodes:
      base: {model: base, inputs: {x: x}}
      words: {model: s, inputs: {x: base.y}}
      twice: {model: double, inputs: {x: words.y}}
      sum: {model: add, inputs: {x: twice.y, k: base.y}}
    outputs: {y: sum.y, raw: words.y, x: x}
""")
JOINED = parse_yaml("""
    name: g
    inputs: [x]
    nodes:
      a: {model: s, inputs: {x: x}}
      b: {model: t, inputs: {x: x}}
      sum: {model: add, inputs: {x: a.y, k: b.y}}
    outputs: {y: sum.y}
""")


def _numbers(*values: int) -> list[dict[str, Tensor]]:
    return [{"y": np.array(value)} for value in values]


def _answers(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - any script
    return {
        "base": lambda x: {"y": x + 100},
        "double": lambda x: {"y": x * 2},
        "add": lambda x, k: {"y": x + k},
        "s": Reply(stream=_numbers(1, 2, 3), after_s=1.0, every_s=1.0),
        **more,
    }


def _one(outputs: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: int(tensor) for name, tensor in outputs.items()}


def test_steps_after_a_stream_run_once_for_each_answer() -> None:
    """What the stream does not reach runs once and is repeated; every answer has all outputs."""

    async def work() -> None:
        host = FakeHost(_answers())
        found = [_one(outputs) async for outputs in stream(host, WORDS, {"x": np.array(0)}, SIGNATURES.get)]
        assert found == [{"y": 100 + 2 * i, "raw": i, "x": 0} for i in (1, 2, 3)]
        assert [len(host.of(name)) for name in ("base", "s", "double", "add")] == [1, 1, 3, 3]

    virtual(work())


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    """The next position is pulled when the client wants it, and not before: back-pressure reaches the model."""

    async def work() -> None:
        host = FakeHost(_answers())
        async with aclosing(stream(host, WORDS, {"x": np.array(0)}, SIGNATURES.get)) as answers:
            assert not host.made
            await anext(answers)
            assert (host.of("s")[0].answers, len(host.of("double"))) == (1, 1)
            await anext(answers)
            assert (host.of("s")[0].answers, len(host.of("double"))) == (2, 2)
            assert host.of("s")[0].how == "running"
        assert host.of("s")[0].how == "cancelled"
        assert (len(host.of("double")), host.running) == (2, [])

    virtual(work())


@given(st.lists(st.integers(0, 9), max_size=6), st.lists(st.integers(0, 9), max_size=6), st.booleans())
def test_streams_are_joined_by_position(left: list[int], right: list[int], slow: bool) -> None:  # noqa: FBT001
    """Equal positions come together however fast each stream is; unequal lengths end the call with an error."""

    async def work() -> None:
        pause = 3.0 if slow else 0.5
        host = FakeHost(
            _answers(s=Reply(stream=_numbers(*left), every_s=pause), t=Reply(stream=_numbers(*right), every_s=1.0))
        )
        found: list[int] = []

        async def collect() -> None:
            async for outputs in stream(host, JOINED, {"x": np.array(0)}, SIGNATURES.get):
                found.append(int(outputs["y"]))  # noqa: PERF401 - what came before the error counts

        if len(left) == len(right):
            await collect()
        else:
            shorter = "a" if len(left) < len(right) else "b"
            with pytest.raises(ModelFailed, match=f"graph g, node {shorter}: its stream ended, and that of node"):
                await collect()
        assert found == [a + b for a, b in zip(left, right, strict=False)]
        assert not host.running

    virtual(work())


def test_streams_are_pulled_at_once() -> None:
    """A position takes as long as its slowest stream, not as all together."""

    async def work() -> None:
        streams = {name: Reply(stream=_numbers(1, 2), after_s=2.0, every_s=2.0) for name in ("s", "t")}
        host = FakeHost(_answers(**streams))
        begun = host.now()
        assert len([1 async for _ in stream(host, JOINED, {"x": np.array(0)}, SIGNATURES.get)]) == 2
        assert host.now() - begun == 4.0

    virtual(work())


def test_an_error_in_a_stream_or_after_it_ends_all() -> None:
    """It is led by its step, and every stream is closed."""

    async def work() -> None:
        endless = Reply(stream=_numbers(*range(100)))
        broken = Reply(stream=_numbers(1), error=ModelFailed("boom"))
        for answers, step in ((_answers(s=endless, t=broken), "b"), (_answers(s=endless, t=endless), "sum")):
            if step == "sum":
                answers["add"] = Reply(error=ModelFailed("boom"))
            host = FakeHost(answers)
            with pytest.raises(ModelFailed, match=f"^graph g, node {step}: boom$"):
                async for _ in stream(host, JOINED, {"x": np.array(0)}, SIGNATURES.get):
                    pass
            assert not host.running
            assert host.of("s")[0].how == "cancelled"

    virtual(work())


async def _count(answers: AsyncGenerator[dict[str, Tensor], None], seen: list[int]) -> None:
    """Note the answers that come."""
    async for outputs in answers:
        seen.append(int(outputs["y"]))  # noqa: PERF401 - what came before an error counts


def test_the_deadline_ends_a_stream() -> None:
    """At its instant, whatever the model does."""

    async def work() -> None:
        host, seen = FakeHost(_answers()), list[int]()
        begun = host.now()
        answers = stream(host, WORDS, {"x": np.array(0)}, SIGNATURES.get, deadline=host.deadline(2.5))
        with pytest.raises(DeadlinePassed):
            await _count(answers, seen)
        assert (len(seen), host.now() - begun, host.running) == (2, 2.5, [])

    virtual(work())


def test_a_steps_own_limit_holds_for_its_whole_stream() -> None:
    """From its start to its last answer."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes: {words: {model: s, timeout: 1.5s, inputs: {x: x}}}
        outputs: {y: words.y}
    """)

    async def work() -> None:
        host, seen = FakeHost(_answers(s=Reply(stream=_numbers(1, 2, 3), every_s=1.0))), list[int]()
        with pytest.raises(DeadlinePassed, match="graph g, node words"):
            await _count(stream(host, graph, {"x": np.array(0)}, SIGNATURES.get), seen)
        assert seen == [1, 2]

    virtual(work())


def test_positions_give_back_what_they_held() -> None:
    """A stream of any length holds no more than one position."""

    async def work() -> None:
        host = FakeHost(_answers(s=Reply(stream=_numbers(*range(50)))))
        budget = Budget(held=4 * 8)
        assert len([1 async for _ in stream(host, WORDS, {"x": np.array(0)}, SIGNATURES.get, budget=budget)]) == 50
        assert budget.bytes_left == 4 * 8

    virtual(work())


def test_an_empty_stream_gives_no_answer() -> None:
    """Not even one of what ran before it."""

    async def work() -> None:
        host = FakeHost(_answers(s=Reply(stream=[])))
        assert [1 async for _ in stream(host, WORDS, {"x": np.array(0)}, SIGNATURES.get)] == []
        assert host.names == ["base", "s"]

    virtual(work())


def test_a_switch_passes_a_stream_on() -> None:
    """One branch streams, another gives one answer: the step gives what the chosen one does."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          route:
            switch:
              cases: [{when: inputs.x > 0, then: {name: many, model: s}}]
              default: {name: single, model: double}
            inputs: {x: x}
          after: {model: double, inputs: {x: route.y}}
        outputs: {y: after.y}
    """)
    signatures = {**SIGNATURES, "s": Signature(SIGNATURES["double"].inputs, _Y, streaming=True)}

    async def work() -> None:
        for x, expected in ((1, [2, 4, 6]), (-4, [-16])):
            host = FakeHost(_answers())
            found = [int(o["y"]) async for o in stream(host, graph, {"x": np.array(x)}, signatures.get)]
            assert found == expected

    virtual(work())
