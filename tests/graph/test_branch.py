"""An action in its place: what it is given, what comes back, how long it may take, what its errors say."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.errors import DeadlinePassed, ModelFailed, ModelNotReady, Overloaded, SignatureMismatch
from graphmesh.graph.running.branch import Branch
from graphmesh.graph.running.budget import Budget
from graphmesh.graph.running.ending import Ending, ending_of
from graphmesh.graph.running.timeline import Timeline
from graphmesh.graph.spec import Binding, Graph, ModelCall, Node, Transform
from graphmesh.graph.transforms.operations import Cast, Operation
from tests.graph.host import FakeHost, VirtualLoop, frame_of, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Frame

A, B = np.array(1), np.array(2)


@dataclass
class Busy:
    """An action that works for a while, and meanwhile nothing else does."""

    pause_s: float
    streams: bool = False

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Give what it is given."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.skip(self.pause_s)
        return inputs

    def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Never called."""
        raise NotImplementedError


@dataclass
class Noting:
    """An action that notes what it is given."""

    streams: bool = False
    pause_s: float = 0.0
    error: Exception | None = None
    seen: list[tuple[dict[str, int], Frame]] = field(default_factory=list)

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Give y and z."""
        self.seen.append(({name: int(tensor) for name, tensor in inputs.items()}, frame))
        await frame.run.host.signal().wait(self.pause_s)
        if self.error is not None:
            raise self.error
        return {"y": A, "z": B}

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Give two answers."""
        for _ in range(2):
            yield await self.run(inputs, frame)


def _node(*, inputs: str = "", outputs: str = "", **more: Any) -> Node:  # noqa: ANN401 - any field
    def bindings(text: str) -> tuple[Binding, ...]:
        return tuple(Binding(name=name, source=source) for name, source in (pair.split("=") for pair in text.split()))

    kind = more.pop("kind", ModelCall(name="m"))
    return Node(name="cheap", kind=kind, inputs=bindings(inputs), outputs=bindings(outputs), **more)


def _run(branch: Branch, *outputs: str, inputs: Mapping[str, Tensor] | None = None, **run: Any) -> Mapping[str, Tensor]:  # noqa: ANN401
    async def work() -> Mapping[str, Tensor]:
        frame = frame_of(run_of(FakeHost({}), **run), "route", *outputs)
        return await branch.run(inputs or {"p": A, "q": B}, frame)

    return virtual(work())


def test_bound_inputs_come_under_their_own_names() -> None:
    """A branch's bindings name inputs of the step around it, and one that is not there is an error."""
    action = Noting()
    _run(Branch(_node(inputs="x=p k=q"), action))
    _run(Branch(_node(inputs="x=q"), action))
    assert [inputs for inputs, _ in action.seen] == [{"x": 1, "k": 2}, {"x": 2}]
    with pytest.raises(SignatureMismatch, match="node route/cheap: input 'r' is missing"):
        _run(Branch(_node(inputs="x=r"), action))


def test_without_bindings_a_branch_takes_what_it_has_inputs_for() -> None:
    """By name; all if it is itself composed; none of it is guessed while a signature is unknown."""
    action = Noting()
    _run(Branch(_node(), action, takes=frozenset({"p", "other"})))
    _run(Branch(_node(), action))
    assert [inputs for inputs, _ in action.seen] == [{"p": 1}, {"p": 1, "q": 2}]
    with pytest.raises(ModelNotReady, match="no worker serves model m now, so that its inputs are not known"):
        _run(Branch(_node(), action, unknown="model m"))
    _run(Branch(_node(inputs="x=p"), action, unknown="model m"))


def test_outputs_are_renamed_and_what_is_wanted_with_them() -> None:
    """The action is asked for what is read, by its own names; what others give is left out."""
    action = Noting()
    renamed = Branch(_node(outputs="label=y"), action)
    assert _run(renamed, "label", "score") == {"label": A}
    assert _run(renamed) == {"label": A}
    _run(Branch(_node(), action, gives=frozenset({"y", "z"})), "y", "elsewhere")
    _run(Branch(_node(), action), "y")
    assert [frame.outputs for _, frame in action.seen] == [("y",), (), ("y",), ()]
    assert {frame.path for _, frame in action.seen} == {"route/cheap"}


def test_errors_are_led_by_the_path() -> None:
    """Once, of a stream too."""
    with pytest.raises(ModelFailed, match=r"^graph g, node route/cheap: boom$"):
        _run(Branch(_node(), Noting(error=ModelFailed("boom"))))

    async def work() -> None:
        branch = Branch(_node(), Noting(streams=True, error=ModelFailed("boom")))
        async with aclosing(branch.stream({}, frame_of(run_of(FakeHost({})), "route"))) as answers:
            with pytest.raises(ModelFailed, match=r"^graph g, node route/cheap: boom$"):
                await anext(answers)

    virtual(work())


def test_a_branch_that_does_not_stream_gives_its_one_answer() -> None:
    """So that what is around it needs to know one way only."""

    async def work() -> None:
        frame = frame_of(run_of(FakeHost({})), "route")
        for branch, count in ((Branch(_node(), Noting()), 1), (Branch(_node(), Noting(streams=True)), 2)):
            assert [1 async for _ in branch.stream({}, frame)] == [1] * count

    virtual(work())


def test_what_it_cut_off_is_told_whose_limit_it_was() -> None:
    """By the cancellation itself, however deep it reaches."""
    seen: list[BaseException] = []

    class Waiting(Noting):
        async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
            async def wait() -> None:
                try:
                    await asyncio.sleep(9)
                except BaseException as error:
                    seen.append(error)
                    raise

            async with frame.run.host.tasks() as tasks:
                tasks.start(0, wait())
                tasks.start(1, wait())
                await tasks.next()
            return inputs

    async def work() -> None:
        with pytest.raises(DeadlinePassed):
            await Branch(_node(timeout_s=0.05), Waiting()).run({}, frame_of(run_of(FakeHost({})), "route"))

    virtual(work())
    cut = Ending("DEADLINE_EXCEEDED", "cut off after 50 ms by the limit of route/cheap")
    assert [ending_of(error) for error in seen] == [cut, cut]


def test_its_own_limit_is_within_what_is_left() -> None:
    """The earlier of both is what the action sees; its own one ends it."""

    async def work() -> None:
        host = FakeHost({})
        action = Noting(pause_s=2.0)
        branch = Branch(_node(timeout_s=1.0), action)
        begun = host.now()
        with pytest.raises(
            DeadlinePassed,
            match="graph g, node route/cheap: the limit of step route/cheap, 1000 ms, was reached; raise its `timeout`",
        ):
            await branch.run({}, frame_of(run_of(host), "route"))
        assert host.now() - begun == 1.0
        action.pause_s = 0.5
        await branch.run({}, frame_of(run_of(host), "route", deadline=host.deadline(0.5)))
        assert [frame.deadline.at - begun for _, frame in action.seen] == [1.0, 1.5]

    virtual(work())


def test_a_branch_that_calls_nothing_counts_as_a_call() -> None:
    """Or loops of transforms inside loops would go on without bound."""
    kind = Transform(operations=(Operation(what=Cast(datatype="FP32"), inputs=("p",), outputs=("y",)),))
    budget = Budget(calls=1)
    _run(Branch(_node(kind=kind), Noting()), budget=budget)
    with pytest.raises(Overloaded, match="graph g, node route/cheap: one request may lead to 1 calls here, 0 are left"):
        _run(Branch(_node(kind=kind), Noting()), budget=budget)
    _run(Branch(_node(), Noting()), budget=budget)


def test_when_it_ran_is_recorded_if_it_makes_no_call() -> None:
    """Whoever makes a call records that."""
    kind = Transform(operations=(Operation(what=Cast(datatype="FP32"), inputs=("p",), outputs=("y",)),))
    node = _node(kind=kind)
    graph = Graph(name="g", nodes=(Node(name="route", kind=kind), node))

    async def work() -> None:
        host = FakeHost({})
        timeline = Timeline(graph, revision=1, start=host.now())
        run = run_of(host, timeline=timeline)
        await Branch(node, Noting(pause_s=2.0)).run_step({}, frame_of(run, "cheap"))
        with pytest.raises(ModelFailed):
            await Branch(node, Noting(error=ModelFailed("boom"))).run_step({}, frame_of(run, "route"))
        forms: Any = timeline.to_dict(end=host.now())["nodes"]
        assert [(form["node"], form["outcome"], form["duration_ms"]) for form in forms] == [
            ("cheap", "ok", 2000.0),
            ("route", "INTERNAL", 0.0),
        ]

    virtual(work())


@pytest.mark.parametrize(("own_s", "left_s"), [(0.0, 2.0), (2.0, 9.0)])
@pytest.mark.parametrize(("works_s", "late"), [(1.0, False), (3.0, True)])
def test_an_action_that_waits_for_nothing_keeps_to_its_time_too(
    own_s: float, left_s: float, works_s: float, *, late: bool
) -> None:
    """No limit is heard of while it works: its answer is too late all the same."""
    node = _node(kind=Transform(operations=()), timeout_s=own_s)

    async def work() -> None:
        host = FakeHost({})
        frame = frame_of(run_of(host), "step", "y", deadline=host.deadline(left_s))
        await Branch(node, Busy(works_s)).run_step({"y": A}, frame)

    if not late:
        virtual(work())
        return
    with pytest.raises(
        DeadlinePassed,
        match="the limit of step step, 2000 ms, was reached" if own_s else "the deadline passed before it had ended",
    ):
        virtual(work())
