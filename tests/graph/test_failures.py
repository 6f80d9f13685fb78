"""Every cell of the table of failures, run by the engine in virtual time; and what holds for all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import DeadlinePassed, GraphmeshError, InvalidRequest, Unavailable
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.running.plan import make_plan
from graphmesh.graph.running.run import run_plan
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphCall,
    GraphInput,
    Join,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    Transform,
    parse_type,
)
from graphmesh.graph.transforms.operations import Cast, Operation
from tests.graph.failure_table import FAULTS, KINDS, Cell, Fault
from tests.graph.host import FakeHost, Reply, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.spec import Kind
    from tests.graph.host import Made, Outputs, Script

TIMEOUT_S = 3.0
NAMES = "abc"
_TARGETS = ModelCall, GraphCall, Map


def _branch(name: str, timeout_s: float = 0.0) -> Node:
    return Node(name=name, kind=ModelCall(name=name), timeout_s=timeout_s if name == "a" else 0.0)


def _parallel(join: Join, how: Aggregate = Aggregate.CONCAT, quorum: int = 0) -> Callable[[Sequence[Node]], Kind]:
    return lambda nodes: Parallel(branches=tuple(nodes), join=join, quorum=quorum, aggregate=how)


STEPS: dict[str, Callable[[Sequence[Node]], Kind]] = {
    "model": lambda _: ModelCall(name="a"),
    "graph": lambda _: GraphCall(name="a"),
    "map": lambda _: Map(target=ModelCall(name="a"), over=("x",)),
    "switch": lambda nodes: Switch(cases=(Case(when="true", then=nodes[0]),), default=nodes[1]),
    "split": lambda nodes: Split(shares=(Share(weight=1, then=nodes[0]), Share(weight=0, then=nodes[1]))),
    "parallel, all": _parallel(Join.ALL),
    "parallel, any": _parallel(Join.ANY),
    "parallel, quorum of 2": _parallel(Join.QUORUM, quorum=2),
    "parallel, first": _parallel(Join.FIRST, Aggregate.ONE),
    "fallback": lambda nodes: Fallback(branches=tuple(nodes[:2])),
    "cascade": lambda nodes: Cascade(branches=tuple(nodes[:2]), confidence="p", threshold=0.5),
    "race": lambda nodes: Race(branches=tuple(nodes[:2]), delay_s=4.0),
    "loop": lambda nodes: Loop(body=nodes[0], max_iterations=2),
    "cache": lambda nodes: Cache(body=nodes[0]),
    "transform": lambda _: Transform(
        operations=(Operation(what=Cast(datatype="INT32"), inputs=("x",), outputs=("y",)),)
    ),
}


def _spec(name: str, written: str) -> TensorSpec:
    datatype, shape, text = parse_type(written)
    return TensorSpec(name=name, datatype=datatype, shape=shape, text=text)


def _signature(kind: str) -> Signature:
    shape = "" if kind == "map" else "N"
    return Signature(
        inputs=(_spec("x", f"FP32 ({shape})"),), outputs=(_spec("y", f"FP32 ({shape})"), _spec("p", f"FP32 ({shape})"))
    )


def _graph(kind: str, fault: Fault | None) -> Graph:
    timeout_s = TIMEOUT_S if fault is Fault.TIMEOUT else 0.0
    what = STEPS[kind]([_branch(name, timeout_s) for name in NAMES])
    step = Node(
        name="step",
        kind=what,
        inputs=(Binding(name="x", source="x"),),
        timeout_s=timeout_s if isinstance(what, _TARGETS) else 0.0,
    )
    return Graph(name="g", inputs=(GraphInput(name="x"),), nodes=(step,), outputs=(Binding(name="y", source="step.y"),))


def _answer(kind: str, name: str) -> Outputs:
    """Return an answer that tells whose it is."""
    shape = () if kind == "map" else (1,)
    value = np.full(shape, 1 + NAMES.index(name), dtype=np.float32)
    return {"y": value, "p": np.ones_like(value)}


def _faulty(kind: str, fault: Fault | None) -> Reply:
    good, empty = _answer(kind, "a"), np.zeros(0, np.float32)
    wrong = {"y": good["y"].astype(np.int64)} if kind == "parallel, all" else {"z": good["y"]}
    return {
        None: Reply(good, after_s=2),
        Fault.ERROR: Reply(after_s=1, error=Unavailable("down")),
        Fault.REQUEST: Reply(after_s=1, error=InvalidRequest("wrong")),
        Fault.TIMEOUT: Reply(good, after_s=9),
        Fault.SLOW: Reply(good, after_s=9),
        Fault.EMPTY: Reply({"y": empty, "p": empty}, after_s=2),
        Fault.WRONG: Reply(wrong, after_s=2),
    }[fault]


def _script(kind: str, fault: Fault | None) -> dict[str, Script]:
    well = {name: Reply(_answer(kind, name), after_s=2) for name in NAMES}
    first = _faulty(kind, fault)
    if kind == "map":
        return {"a": [first, well["b"], well["c"]]}
    if kind == "loop":
        again = first if fault is Fault.EMPTY else well["a"]
        return {"a": [first, again]}
    return {**well, "a": first}


def _input(kind: str, fault: Fault | None) -> Tensor:
    if fault is Fault.EMPTY and kind in {"map", "transform"}:
        return np.zeros(0, np.float32)
    return np.full(3, np.nan if fault is Fault.REQUEST else 1, dtype=np.float32)


class Outcome:
    """One run of a graph of one step."""

    def __init__(self, kind: str, fault: Fault | None) -> None:
        self._kind = kind
        self._fault = fault
        signature = _signature(kind)
        self.plan = make_plan(_graph(kind, fault), lambda _: signature)
        self.host: FakeHost
        self.values: list[float] | None = None
        self.error: GraphmeshError | None = None
        self.degraded: list[str] = []
        self.seconds = 0.0

    async def run(self, deadline_s: float = float("inf")) -> None:
        """Run it once, as a worker does, until its caller's deadline."""
        host = self.host = FakeHost(_script(self._kind, self._fault))
        start, run = host.now(), run_of(host)
        deadline = Deadline(start + deadline_s)
        try:
            async with host.limit(deadline.at, "the deadline passed"):
                outputs = await run_plan(self.plan, {"x": _input(self._kind, self._fault)}, run, deadline)
            self.values = outputs["y"].tolist()
        except GraphmeshError as error:
            self.error = error
        self.seconds, self.degraded = round(host.now() - start, 6), run.degraded

    @property
    def cell(self) -> Cell:
        """What happened, as the table has it."""
        whose = dict.fromkeys(NAMES[int(value) - 1] for value in self.values or ())
        return Cell(
            self.seconds,
            answer="" if self.values is None else " ".join(whose) or "empty",
            code="" if self.error is None else self.error.code.name,
            degraded=bool(self.degraded),
            cancelled=" ".join(self._label(made.call.path) for made in self.host.made if _cut_short(made)),
        )

    def _label(self, path: str) -> str:
        """Return a call's letter: its branch, or a map's item."""
        last = path.rpartition("/")[2]
        return NAMES[int(last[5])] if last.startswith("step[") else "a" if last == "step" else last


def _cut_short(made: Made) -> bool:
    """Return whether a call was cancelled, or ended itself at the very instant at which it would have been."""
    return made.how == "cancelled" or (made.end is not None and made.end >= made.call.deadline.at)


CELLS = [
    pytest.param(kind, fault, cell, id=f"{kind}-{fault.name.lower()}")
    for kind, cells in KINDS.items()
    for fault, cell in zip(FAULTS, cells, strict=True)
    if cell is not None
]


@pytest.mark.parametrize(("kind", "fault", "expected"), CELLS)
def test_each_fault_has_the_outcome_of_the_table(kind: str, fault: Fault, expected: Cell) -> None:
    """The same outcome at the same instant; what is not needed is cancelled, and has ended before the step does."""

    async def work() -> Outcome:
        outcome = Outcome(kind, fault)
        await outcome.run()
        assert not outcome.host.running
        return outcome

    outcome = virtual(work())
    assert outcome.cell == expected
    if outcome.error is not None:
        assert outcome.error.message.startswith("graph g, node step")
    assert outcome.degraded == (["step"] if expected.degraded else [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_in_which_all_is_well_answers_and_is_not_degraded(kind: str) -> None:
    """So that the cells above show the fault and nothing else."""

    async def work() -> Cell:
        outcome = Outcome(kind, None)
        await outcome.run()
        return outcome.cell

    cell = virtual(work())
    assert (cell.code, cell.degraded) == ("", False)
    assert cell.answer.startswith("a")


@pytest.mark.parametrize(("kind", "fault", "expected"), CELLS)
def test_a_fault_is_never_part_of_an_answer(kind: str, fault: Fault, expected: Cell) -> None:
    """Whoever failed is not in the answer, and an answer without anybody is an error, not an empty success."""
    if fault in {Fault.ERROR, Fault.REQUEST, Fault.TIMEOUT, Fault.WRONG}:
        assert "a" not in expected.answer.split()
        assert expected.answer != "empty"
    assert bool(expected.answer) != bool(expected.code)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave_s", [0.0, 1.0, 1.5, 2.5, 4.5, 8.0])
def test_a_caller_that_leaves_stops_everything(kind: str, leave_s: float) -> None:
    """All calls that run are cancelled at that instant, and none begins after; some steps have answered before."""

    async def work() -> None:
        outcome = Outcome(kind, Fault.SLOW)
        task = asyncio.create_task(outcome.run())
        await asyncio.sleep(leave_s)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() == (outcome.values is None)
        assert not outcome.host.running
        for made in outcome.host.made:
            assert made.start - 1000 <= leave_s
            assert made.end is not None
            assert made.end - 1000 <= leave_s

    virtual(work())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "transform"])
def test_a_step_that_is_over_the_callers_time_ends_at_that_instant(kind: str) -> None:
    """DEADLINE_EXCEEDED, whatever the kind: an answer that comes too late is none, and a fallback has no time left."""

    async def work() -> Outcome:
        outcome = Outcome(kind, Fault.SLOW)
        await outcome.run(deadline_s=1.5)
        assert not outcome.host.running
        return outcome

    outcome = virtual(work())
    assert isinstance(outcome.error, DeadlinePassed)
    assert outcome.seconds == 1.5
    assert {made.how for made in outcome.host.made} <= {"cancelled", "failed"}


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.TIMEOUT, Fault.WRONG])
def test_a_cache_remembers_no_fault(fault: Fault) -> None:
    """The next equal call runs the branch again."""

    async def work() -> int:
        outcome = Outcome("cache", fault)
        await outcome.run()
        await outcome.run()
        return len(outcome.host.made)

    assert virtual(work()) == 1
