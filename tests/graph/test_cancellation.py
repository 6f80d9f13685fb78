"""Cancellation at every point: nothing begins after it, and all that had begun is cancelled and awaited.

A random graph is run once to count the turns of the event loop that it takes. Then it is run again for each of these
turns, and cancelled there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.core.errors import Unavailable
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.running.budget import Budget
from graphmesh.graph.running.plan import make_plan
from graphmesh.graph.running.positions import stream_plan
from graphmesh.graph.running.run import run_plan
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphInput,
    Join,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Switch,
)
from tests.graph.host import FakeHost, Reply, VirtualLoop, run_of, virtual

if TYPE_CHECKING:
    from graphmesh.graph.running.host import Answer
    from graphmesh.graph.spec import Kind

_SPEC = TensorSpec(name="x", datatype="FP64", shape=("N",))
_SIGNATURE = Signature((_SPEC,), (TensorSpec(name="y", datatype="FP64", shape=("N",)),))
SIGNATURES = {
    "m": _SIGNATURE,
    "flaky": _SIGNATURE,
    "s": Signature(_SIGNATURE.inputs, _SIGNATURE.outputs, streaming=True),
}
_MODELS = st.sampled_from(["m", "flaky"])


def _branch(name: str, kind: Kind) -> Node:
    return Node(name=name, kind=kind)


@st.composite
def _kinds(draw: st.DrawFn, depth: int = 2) -> Kind:
    """Draw what a step does: everything that takes ``x`` and gives ``y``."""
    model = ModelCall(name=draw(_MODELS))
    if not depth or draw(st.booleans()):
        return model
    a, b = (_branch(name, draw(_kinds(depth - 1))) for name in "ab")
    join, quorum = draw(st.sampled_from([(Join.ALL, 0), (Join.ANY, 0), (Join.QUORUM, 1), (Join.FIRST, 0)]))
    one = Aggregate.ONE if join is Join.FIRST else Aggregate.MEAN
    kinds: list[Kind] = [
        Map(target=model, over=("x",), batch_size=1, max_concurrency=2),
        Parallel(branches=(a, b), join=join, quorum=quorum, aggregate=one),
        Fallback(branches=(a, b)),
        Race(branches=(a, b), delay_s=draw(st.sampled_from([0.0, 0.5]))),
        Cascade(branches=(a, b), confidence="y", threshold=2.0),
        Loop(body=a, max_iterations=2, carry=(Binding(name="x", source="y"),)),
        Switch(cases=(Case(when="inputs.x[0] > 0.5", then=a),), default=b),
        Cache(body=a),
    ]
    return draw(st.sampled_from(kinds))


@st.composite
def _graphs(draw: st.DrawFn, *, streaming: bool = False) -> Graph:
    sources, nodes = ["x"], []
    for index in range(draw(st.integers(1, 4))):
        binding = Binding(name="x", source=draw(st.sampled_from(sources)))
        limit = draw(st.sampled_from([0.0, 0.0, 1.5]))
        nodes.append(Node(name=f"n{index}", kind=draw(_kinds()), inputs=(binding,), timeout_s=limit))
        sources.append(f"n{index}.y")
    if streaming:
        binding = Binding(name="x", source=draw(st.sampled_from(sources)))
        for name in ("s0", "s1"):
            nodes.append(Node(name=name, kind=ModelCall(name="s"), inputs=(binding,)))
            after = Binding(name="x", source=f"{name}.y")
            nodes.append(Node(name=f"after-{name}", kind=draw(_kinds()), inputs=(after,)))
            sources += [f"{name}.y", f"after-{name}.y"]
    outputs = tuple(Binding(name=f"o{index}", source=source) for index, source in enumerate(sources[1:]))
    return Graph(name="g", inputs=(GraphInput(name="x"),), nodes=tuple(nodes), outputs=outputs)


class Watching(FakeHost):
    """Notes calls that begin once the run has been cancelled."""

    __slots__ = ("cancelled", "late")

    def __init__(self, answers: Any) -> None:  # noqa: ANN401 - as FakeHost
        super().__init__(answers)
        self.cancelled = False
        self.late: list[str] = []

    def _note(self, path: str) -> None:
        if self.cancelled:
            self.late.append(path)

    async def call(self, call: Any) -> Answer:  # noqa: ANN401 - as FakeHost
        """Note and answer."""
        self._note(call.path)
        return await super().call(call)


def _answers() -> dict[str, Any]:
    times = iter([0.0, 1.0, 0.0, 0.0, 2.0, 1.0] * 500)
    fails = iter([False, True, False] * 500)

    def flaky(x: Any) -> dict[str, Any]:  # noqa: ANN401 - a tensor
        if next(fails):
            raise Unavailable("on purpose")
        return {"y": x}

    return {
        "m": [Reply(lambda x: {"y": x}, after_s=next(times)) for _ in range(500)],
        "flaky": [Reply(flaky, after_s=next(times)) for _ in range(500)],
        "s": Reply(stream=[{"y": np.ones(2)}] * 2, after_s=1.0, every_s=0.0),
    }


async def _all(graph: Graph, hosts: list[Watching], budget: Budget) -> None:
    """Run a graph to its end, whatever that is."""
    host = Watching(_answers())
    hosts.append(host)
    plan = make_plan(graph, SIGNATURES.get)
    run, deadline = run_of(host, budget=budget), host.deadline(7.0)
    inputs = {"x": np.ones(2)}
    if not plan.streams:
        await run_plan(plan, inputs, run, deadline)
        return
    answers = stream_plan(plan, inputs, run, deadline)
    try:
        async for _ in answers:
            await asyncio.sleep(0)
    finally:
        await answers.aclose()


def _check(graph: Graph) -> None:
    async def once(at: int) -> tuple[bool, int]:
        """Cancel at a turn; return whether the run was still going on, and how many turns it had."""
        hosts: list[Watching] = []
        budget, loop = Budget(held=1 << 16), asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        task = asyncio.create_task(_all(graph, hosts, budget))
        await asyncio.sleep(0)
        (host,), turns = hosts, 0
        while not task.done() and turns < at:
            await asyncio.sleep(0)
            turns += 1
            if not turns % 10:
                loop.skip(0.5)  # time passes too, though there is always something to do
        going = not task.done()
        before = len(host.made)
        if going:
            host.cancelled = True
            task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if going:
            assert isinstance(result, asyncio.CancelledError)
            assert (host.late, len(host.made)) == ([], before)
        assert host.running == []
        assert budget.bytes_left == 1 << 16
        return going, turns

    async def every() -> None:
        at = 0
        while (await once(at))[0]:
            at += 1
            assert at < 2_000
            assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(every())


_SETTINGS = settings(max_examples=25)


@_SETTINGS
@given(graph=_graphs())
def test_cancellation_at_every_point_begins_nothing_and_leaves_nothing(graph: Graph) -> None:
    """Whatever the graph is made of and wherever it is: calls in flight end, none begins, no byte stays counted."""
    _check(graph)


@_SETTINGS
@given(graph=_graphs(streaming=True))
def test_cancellation_at_every_point_of_a_stream(graph: Graph) -> None:
    """Also between positions, and while streams are pulled or closed."""
    _check(graph)
