"""Runs: which calls are made when, and what comes of them."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import Code, DeadlinePassed, GraphmeshError, ModelNotReady, Overloaded, SignatureMismatch
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.running.budget import Budget
from graphmesh.graph.running.host import Answer
from graphmesh.graph.running.plan import make_plan
from graphmesh.graph.running.run import admit, run_plan
from graphmesh.graph.spec import Binding, Graph, GraphInput, Map, ModelCall, Node
from tests.graph.host import FakeHost, Reply, failure, give, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.call import Call
    from tests.graph.host import Script

DIAMOND = parse_yaml("""
    name: diamond
    inputs: [x]
    nodes:
      join: {model: add, inputs: {a: left.y, b: right.y}}
      left: {model: double, inputs: {x: top.y}}
      right: {model: treble, inputs: {x: top.y}}
      top: {model: double, inputs: {x: x}}
    outputs: {y: join.y, x: x}
""")
CHAIN = parse_yaml("""
    name: chain
    inputs: [x]
    nodes:
      a: {model: double, inputs: {x: x}}
      b: {model: treble, inputs: {x: a.y}}
    outputs: {y: b.y}
""")
FUNCTIONS: Mapping[str, Script] = {
    "double": lambda x: {"y": x * 2},
    "treble": lambda x: {"y": x * 3},
    "add": lambda a, b: {"y": a + b, "unread": a},
}
ONE = np.array([1.0])


def test_independent_steps_run_together() -> None:
    """Nothing waits for what it does not read: a diamond takes as long as its longer side."""

    async def work() -> None:
        slow = {name: Reply(FUNCTIONS[name], after_s=pause) for name, pause in (("double", 1.0), ("treble", 3.0))}  # type: ignore[arg-type]
        host = FakeHost({**FUNCTIONS, **slow})
        begun = host.now()
        outputs = await give(host, DIAMOND, {"x": ONE})
        assert {name: value.tolist() for name, value in outputs.items()} == {"y": [10.0], "x": [1.0]}
        assert list(outputs) == ["y", "x"]
        assert host.paths == ["top", "left", "right", "join"]
        assert [made.start - begun for made in host.made] == [0.0, 1.0, 1.0, 4.0]

    virtual(work())


def test_a_step_starts_as_soon_as_what_it_reads_is_there() -> None:
    """It does not wait for others that run beside."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          slow: {model: slow, inputs: {x: x}}
          quick: {model: double, inputs: {x: x}}
          after: {model: treble, inputs: {x: quick.y}}
        outputs: {a: slow.y, b: after.y}
    """)

    async def work() -> None:
        host = FakeHost({**FUNCTIONS, "slow": Reply({"y": ONE}, after_s=9.0)})
        begun = host.now()
        await give(host, graph, {"x": ONE})
        (after,) = host.of("treble")
        assert (after.start - begun, host.now() - begun) == (0.0, 9.0)

    virtual(work())


def test_a_chain_needs_no_task() -> None:
    """Steps one after the other run in the caller's own task."""

    async def work() -> None:
        tasks = set()

        class Watching(FakeHost):
            async def call(self, call: Call) -> Answer:
                tasks.add(asyncio.current_task())
                return await super().call(call)

        await give(Watching(FUNCTIONS), CHAIN, {"x": ONE})
        assert tasks == {asyncio.current_task()}
        await give(Watching(FUNCTIONS), DIAMOND, {"x": ONE})
        assert len(tasks) == 3

    virtual(work())


def test_tensors_are_passed_by_reference_and_let_go_with_their_last_reader() -> None:
    """Readers get what was given, not a copy; nothing keeps it once they have ended, nor what nothing reads."""
    alive: list[Any] = []

    def first(x: Tensor) -> dict[str, Tensor]:
        given, unread = np.zeros(3), np.zeros(3)
        alive.extend([weakref.ref(given), weakref.ref(unread)])
        return {"y": given, "unread": unread}

    def second(x: Tensor) -> dict[str, Tensor]:
        assert x is alive[0]()
        assert alive[1]() is None
        return {"y": np.zeros(3)}

    def third(x: Tensor) -> dict[str, Tensor]:
        assert alive[0]() is None
        return {"y": x}

    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          a: {model: first, inputs: {x: x}}
          b: {model: second, inputs: {x: a.y}}
          c: {model: third, inputs: {x: b.y}}
        outputs: {y: c.y}
    """)

    class Direct(FakeHost):
        """Keeps no calls."""

        async def call(self, call: Call) -> Answer:
            return Answer({"first": first, "second": second, "third": third}[call.target.name](**call.inputs))

    async def work() -> None:
        await give(Direct({}), graph, {"x": ONE})
        assert len(alive) == 2

    virtual(work())


def test_a_missing_input_is_refused() -> None:
    """A run does not start without the graph's inputs."""

    async def work() -> None:
        host = FakeHost(FUNCTIONS)
        with pytest.raises(SignatureMismatch, match="input 'x' is missing; required are x"):
            await give(host, DIAMOND, {"z": ONE})
        assert not host.made

    virtual(work())


def test_the_first_failure_cancels_the_others() -> None:
    """What runs beside it is gone before the error comes, nothing is begun, and the error keeps its kind."""

    async def work() -> None:
        failing = Reply(error=ModelNotReady("no replica"), after_s=1.0)
        host = FakeHost({**FUNCTIONS, "treble": failing, "double": [Reply({"y": ONE}), Reply({"y": ONE}, after_s=5.0)]})
        with pytest.raises(ModelNotReady, match=r"^graph diamond, node right: no replica$") as caught:
            await give(host, DIAMOND, {"x": ONE})
        assert caught.value.code is Code.UNAVAILABLE
        assert [(made.call.path, made.how) for made in host.made] == [
            ("top", "answered"),
            ("left", "cancelled"),
            ("right", "failed"),
        ]

    virtual(work())


def test_an_answer_without_what_is_read_ends_the_run() -> None:
    """A target that leaves out what is read has failed."""

    async def work() -> None:
        with pytest.raises(GraphmeshError) as caught:
            await give(FakeHost({**FUNCTIONS, "double": lambda x: {"z": x}}), DIAMOND, {"x": ONE})
        assert failure(caught.value).startswith("INTERNAL: graph diamond, node top: the answer has no output 'y'")

    virtual(work())


def test_calls_and_bytes_are_budgeted() -> None:
    """A run that would make one call or hold one byte more than it may is refused; what it held is given back."""

    async def work() -> None:
        host = FakeHost(FUNCTIONS)
        budget = Budget(calls=4, held=8 * 3)
        await give(host, DIAMOND, {"x": ONE}, budget=budget)
        assert (budget.calls_left, budget.bytes_left) == (0, 24)
        with pytest.raises(Overloaded, match="graph diamond, node top: one request may lead to 4 calls here, 0 are"):
            await give(host, DIAMOND, {"x": ONE}, budget=budget)
        tight = Budget(held=8 * 3 - 1)
        with pytest.raises(
            Overloaded, match=r"graph diamond, node (left|right): one request may hold .* MiB of tensors at"
        ):
            await give(host, DIAMOND, {"x": ONE}, budget=tight)
        assert tight.bytes_left == 8 * 3 - 1

    virtual(work())


def test_a_call_that_is_expected_to_be_late_is_not_made() -> None:
    """What is left of the deadline decides, before each call."""

    async def work() -> None:
        host = FakeHost({**FUNCTIONS, "double": Reply({"y": ONE}, after_s=2.0)}, expected={"treble": 3.0})
        with pytest.raises(DeadlinePassed, match="node b: model treble takes about 3000 ms, but only 2000 ms are left"):
            await give(host, CHAIN, {"x": ONE}, deadline=host.deadline(4.0))
        assert host.names == ["double"]
        await give(host, CHAIN, {"x": ONE}, deadline=host.deadline(5.0))

    virtual(work())


def test_nothing_is_begun_after_the_deadline() -> None:
    """A step that would begin late does not."""

    async def work() -> None:
        host = FakeHost(FUNCTIONS)
        with pytest.raises(DeadlinePassed, match="node a: the deadline passed before model double was called"):
            await give(host, CHAIN, {"x": ONE}, deadline=Deadline(host.now()))
        assert not host.made

    virtual(work())


def test_runs_are_refused_that_cannot_end_in_time() -> None:
    """The critical path against what is left, before anything is begun."""

    async def work() -> None:
        host = FakeHost({}, expected={"double": 1.0, "treble": 3.0})
        plan, run = make_plan(DIAMOND, lambda _: None), run_of(host)
        admit(plan, run, host.deadline(4.0))
        admit(plan, run, NO_DEADLINE)
        admit(plan, run, host.deadline(1.0), expected_s=0.5)
        with pytest.raises(DeadlinePassed, match="graph diamond: its steps take about 4000 ms, but only 3900 ms"):
            admit(plan, run, host.deadline(3.9))
        with pytest.raises(DeadlinePassed, match="graph diamond: the deadline passed before it began"):
            admit(plan, run, host.deadline(0.0))

    virtual(work())


def test_a_step_that_takes_too_long_is_cancelled() -> None:
    """A step's own limit holds whatever is called keeps to."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes: {a: {model: slow, timeout: 0.5s, inputs: {x: x}}}
        outputs: {y: a.y}
    """)

    class Endless(FakeHost):
        async def call(self, call: Call) -> Answer:
            await asyncio.sleep(100)  # whatever the deadline
            raise AssertionError

    async def work() -> None:
        host = Endless({})
        begun = host.now()
        with pytest.raises(DeadlinePassed, match=r"graph g, node a: the limit of step a, 500 ms, was reached"):
            await give(host, graph, {"x": ONE})
        assert host.now() - begun == 0.5

    virtual(work())


def test_what_a_nested_graph_lacks_is_told_by_its_path() -> None:
    """Degraded steps of a called graph are named with the calling step in front."""
    graph = parse_yaml("{name: g, inputs: [x], nodes: {a: {graph: h, inputs: {x: x}}}, outputs: {y: a.y}}")

    async def work() -> None:
        host = FakeHost({"h": Reply({"y": ONE}, degraded=("route", "deep/er"))})
        degraded: list[str] = []
        await give(host, graph, {"x": ONE}, degraded=degraded)
        assert degraded == ["a/route", "a/deep/er"]

    virtual(work())


def test_the_engine_adds_microseconds_to_a_step() -> None:
    """A step of a chain costs the engine well under the 20 microseconds that a fused node may add in all."""
    chain = "".join(f"  n{i}: {{model: same, inputs: {{x: {f'n{i - 1}.y' if i else 'x'}}}}}\n" for i in range(100))
    graph = parse_yaml(f"name: g\ninputs: [x]\nnodes:\n{chain}outputs: {{y: n99.y}}\n")
    plan, x = make_plan(graph, lambda _: None), np.zeros(1)

    class Instant(FakeHost):
        async def call(self, call: Call) -> Answer:
            return Answer({"y": call.inputs["x"]})

    async def work() -> float:
        host, best = Instant({}), float("inf")
        for _ in range(20):
            start = time.process_time()
            await run_plan(plan, {"x": x}, run_of(host), NO_DEADLINE)
            best = min(best, time.process_time() - start)
        return best

    assert virtual(work()) / 100 < 10e-6


@st.composite
def _graphs(draw: st.DrawFn) -> Graph:
    """Draw a graph over vectors of one length: nodes that add two tensors, some of them mapped."""
    count = draw(st.integers(1, 12))
    sources = ["x", "w"]
    nodes = []
    for index in range(count):
        chosen = [draw(st.sampled_from(sources)) for _ in range(2)]
        target, mapped = ModelCall(name="mix"), draw(st.booleans())
        size, at_once = draw(st.integers(0, 3)), draw(st.integers(1, 3))
        kind = Map(target=target, over=("a", "b"), batch_size=size, max_concurrency=at_once) if mapped else target
        bindings = tuple(Binding(name=name, source=source) for name, source in zip("ab", chosen, strict=True))
        nodes.append(Node(name=f"n{index}", kind=kind, inputs=bindings))
        sources += [f"n{index}.y", f"n{index}.z"]
    order = draw(st.permutations(nodes))
    ends = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=4))
    outputs = tuple(Binding(name=f"o{index}", source=source) for index, source in enumerate(ends))
    inputs = (GraphInput(name="x"), GraphInput(name="w"))
    return Graph(name="g", inputs=inputs, nodes=tuple(order), outputs=outputs)


def _mix(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    return {"y": 3 * a + b, "z": a - b}


def _naive(graph: Graph, inputs: Mapping[str, Tensor], source: str) -> Tensor:
    """Evaluate one source by the definition: first what it reads, then itself."""
    node, dot, tensor = source.partition(".")
    if not dot:
        return inputs[source]
    bindings = next(entry for entry in graph.nodes if entry.name == node).inputs
    return _mix(*(_naive(graph, inputs, binding.source) for binding in bindings))[tensor]


@given(graph=_graphs(), seed=st.randoms(use_true_random=False), length=st.integers(1, 5))
def test_any_graph_gives_what_its_definition_gives(graph: Graph, seed: Any, length: int) -> None:  # noqa: ANN401
    """However long calls take: every step runs once, after all it reads, and the result is right."""
    inputs = {"x": np.arange(length), "w": np.arange(length) * 7 + 1}

    async def work() -> None:
        host = FakeHost({"mix": [Reply(_mix, after_s=seed.choice([0.0, 1.0, 1.0, 2.0])) for _ in range(60)]})
        outputs = await give(host, graph, inputs)
        counts = {node.name: _call_count(node, length) for node in graph.nodes}
        assert sorted(host.paths) == sorted(set(host.paths))
        assert {name: sum(made.call.node == name for made in host.made) for name in counts} == counts
        for made in host.made:
            node = next(entry for entry in graph.nodes if entry.name == made.call.node)
            for binding in node.inputs:
                ends = [other.end for other in host.made if other.call.node == binding.node]
                assert all(end is not None and end <= made.start for end in ends)
        for binding in graph.outputs:
            np.testing.assert_array_equal(outputs[binding.name], _naive(graph, inputs, binding.source))

    virtual(work())


def _call_count(node: Node, length: int) -> int:
    return -(-length // (node.kind.batch_size or 1)) if isinstance(node.kind, Map) else 1
