"""Runs: which calls are made when, and what comes of them."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import Code, InvalidRequest, ModelFailed, ModelNotReady, SignatureMismatch
from graphmesh.graph.plan import make_plan
from graphmesh.graph.run import GraphRun
from graphmesh.graph.spec import Binding, Graph, GraphInput, Map, ModelCall, Node
from graphmesh.graph.yaml_form import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]
    Functions = Mapping[str, Callable[..., Mapping[str, Tensor]]]
    Drive = Callable[[GraphRun, Functions], list[str]]

DIAMOND = parse_yaml("""
    name: diamond
    inputs: [x]
    nodes:
      join: {model: add, inputs: {a: left.y, b: right.y}}
      left: {model: double, inputs: {x: top.y}}
      right: {model: double, inputs: {x: top.y}}
      top: {model: double, inputs: {x: x}}
    outputs: {y: join.y, x: x}
""")
MAPPED = parse_yaml("""
    name: mapped
    inputs: [x]
    nodes:
      each: {map: {model: double, over: x, max_concurrency: 2}, inputs: {x: x}}
      sum: {model: total, inputs: {x: each.y}}
    outputs: {y: sum.y}
""")
FUNCTIONS: Functions = {
    "double": lambda x: {"y": x * 2},
    "add": lambda a, b: {"y": a + b, "unread": a},
    "total": lambda x: {"y": np.array(x.sum())},
}


def _run(
    graph: Graph, inputs: Mapping[str, Tensor], signatures: Callable[[str], Signature | None] = lambda _: None
) -> GraphRun:
    return GraphRun(make_plan(graph, signatures), inputs)


def test_independent_nodes_become_ready_together(drive: Drive) -> None:
    """Nothing waits for what it does not read: both sides of a diamond start at once."""
    run = _run(DIAMOND, {"x": np.array(1.0)})
    (top,) = run.ready()
    assert (top.path, run.ready(), run.done) == ("top", [], False)
    run.complete(top, {"y": np.array(2.0)})
    left, right = run.ready()
    assert [left.path, right.path] == ["left", "right"]
    run.complete(right, {"y": np.array(4.0)})
    assert run.ready() == []
    run.complete(left, {"y": np.array(4.0)})
    (join,) = run.ready()
    run.complete(join, FUNCTIONS["add"](**join.inputs))
    assert run.done
    assert run.error is None
    assert run.outputs is not None
    assert {name: float(value) for name, value in run.outputs.items()} == {"y": 8.0, "x": 1.0}
    assert list(run.outputs) == ["y", "x"]


def test_tensors_are_passed_by_reference() -> None:
    """What a node gives is what its readers get, not a copy."""
    run = _run(DIAMOND, {"x": np.array(1.0)})
    (top,) = run.ready()
    given_out = np.array(2.0)
    run.complete(top, {"y": given_out})
    left, right = run.ready()
    assert left.inputs["x"] is given_out
    assert right.inputs["x"] is given_out


def test_a_tensor_is_let_go_once_its_last_reader_started() -> None:
    """A run keeps no tensor that nothing will read any more, and none that nothing reads at all."""
    run = _run(DIAMOND, {"x": np.array(1.0)})
    run.complete(run.ready()[0], {"y": (first := np.array(2.0)), "unread": (unread := np.array(0.0))})
    alive, never = weakref.ref(first), weakref.ref(unread)
    del first, unread
    assert never() is None
    left, right = run.ready()
    assert alive() is not None
    run.complete(left, {"y": np.array(4.0)})
    del left
    assert alive() is not None
    run.complete(right, {"y": np.array(4.0)})
    del right
    assert alive() is None


def test_a_missing_input_is_refused() -> None:
    """A run does not start without the graph's inputs."""
    with pytest.raises(SignatureMismatch, match=r"input 'x' is missing; required are \['x'\]"):
        _run(DIAMOND, {"z": np.array(1.0)})


def test_maps_divide_and_join(drive: Drive) -> None:
    """A map's calls carry their index; what reads it gets the joined tensor."""
    run = _run(MAPPED, {"x": np.arange(5)})
    assert [call.path for call in run.ready()] == ["each[0]", "each[1]"]
    run = _run(MAPPED, {"x": np.arange(5)})
    assert drive(run, FUNCTIONS) == [*(f"each[{i}]" for i in range(5)), "sum"]
    assert run.outputs is not None
    assert run.outputs["y"] == 20


def test_a_map_over_nothing_makes_no_call(sign: Sign, drive: Drive) -> None:
    """Zero items give an empty tensor, from which the graph goes on."""
    catalog = {"double": sign({"x": "INT64 ()"}, {"y": "INT64 ()"})}
    run = _run(MAPPED, {"x": np.arange(0)}, catalog.get)
    assert drive(run, FUNCTIONS) == ["sum"]
    assert run.outputs is not None
    assert run.outputs["y"] == 0


def test_a_long_chain_of_maps_over_nothing_ends_without_a_call(sign: Sign) -> None:
    """Maps over nothing finish as soon as they start, however many follow one another."""
    catalog = {"double": sign({"x": "INT64 ()"}, {"y": "INT64 ()"})}
    nodes = tuple(
        Node(
            name=f"n{i}",
            kind=Map(target=ModelCall(name="double"), over=("x",)),
            inputs=(Binding(name="x", source=f"n{i - 1}.y" if i else "x"),),
        )
        for i in range(1500)
    )
    outputs = (Binding(name="y", source="n1499.y"),)
    graph = Graph(name="g", inputs=(GraphInput(name="x"),), nodes=nodes, outputs=outputs)
    run = _run(graph, {"x": np.arange(0)}, catalog.get)
    assert run.done
    assert run.outputs is not None
    assert run.outputs["y"].shape == (0,)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.array(1), "graph mapped, node each: input 'x' is divided along axis 0, but is a scalar"),
        (np.arange(0), "graph mapped, node each: there are no items, and without the signature of double no answer"),
    ],
)
def test_a_map_that_cannot_start_ends_the_run(x: Tensor, expected: str) -> None:
    """What only the request decides is an error of the run, named with its node."""
    run = _run(MAPPED, {"x": x})
    assert run.done
    assert run.ready() == []
    assert isinstance(run.error, InvalidRequest | ModelNotReady)
    assert run.error.message.startswith(expected)


def test_all_maps_of_a_run_share_one_budget_of_calls(drive: Drive) -> None:
    """Maps that are allowed alone are refused when they come to too many calls together."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          a: {map: {model: double, over: x}, inputs: {x: x}}
          b: {map: {model: double, over: x}, inputs: {x: a.y}}
        outputs: {y: b.y}
    """)
    run = _run(graph, {"x": np.arange(6_000)})
    assert len(drive(run, FUNCTIONS)) == 6_000
    assert run.error is not None
    assert run.error.code is Code.RESOURCE_EXHAUSTED
    assert run.error.message.startswith("graph g, node b: one run makes at most 10000 calls for items, 4000 are left")


def test_the_engine_adds_microseconds_to_a_node(drive: Drive) -> None:
    """A node of a chain costs the engine well under the 20 microseconds that a fused node may add in all."""
    chain = "".join(f"  n{i}: {{model: same, inputs: {{x: {f'n{i - 1}.y' if i else 'x'}}}}}\n" for i in range(100))
    graph = parse_yaml(f"name: g\ninputs: [x]\nnodes:\n{chain}outputs: {{y: n99.y}}\n")
    plan, x = make_plan(graph, lambda _: None), np.zeros(1)
    times = []
    for _ in range(20):
        start = time.process_time()
        drive(GraphRun(plan, {"x": x}), {"same": lambda x: {"y": x}})
        times.append(time.process_time() - start)
    assert min(times) / 100 < 20e-6


def test_the_first_failure_ends_the_run() -> None:
    """No call is given out any more, later reports are ignored, and the error keeps its kind."""
    run = _run(MAPPED, {"x": np.arange(5)})
    first, second = run.ready()
    run.complete(first, {"y": np.array(0)})
    run.fail(second, ModelNotReady("no replica"))
    assert run.done
    assert run.outputs is None
    assert run.ready() == []
    assert isinstance(run.error, ModelNotReady)
    assert run.error.message == "graph mapped, node each[1]: no replica"
    run.complete(second, {"y": np.array(0)})
    run.fail(first, ModelFailed("late"))
    assert run.error.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("graph", "answers", "expected"),
    [
        (DIAMOND, [{"z": np.array(1)}], "graph diamond, node top: the answer of double has no output 'y'"),
        (
            MAPPED,
            [{"y": np.zeros(1)}, {"y": np.zeros(2)}],
            "graph mapped, node each: output 'y' must have one shape in all",
        ),
    ],
)
def test_an_answer_that_does_not_fit_ends_the_run(
    graph: Graph, answers: list[dict[str, Tensor]], expected: str
) -> None:
    """A target that leaves out what is read, or items that cannot be joined, are errors with the node's name."""
    run = _run(graph, {"x": np.arange(2)})
    for call, answer in zip(run.ready(), answers, strict=True):
        run.complete(call, answer)
    assert run.error is not None
    assert run.error.message.startswith(expected)


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
    """In whatever order calls are answered: every node runs once, after all it reads, and the result is right."""
    inputs = {"x": np.arange(length), "w": np.arange(length) * 7 + 1}
    run = _run(graph, inputs)
    waiting, seen, answered = run.ready(), set[str](), dict[str, int]()
    while not run.done:
        call = waiting.pop(seed.randrange(len(waiting)))
        node = next(entry for entry in graph.nodes if entry.name == call.node)
        assert call.path not in seen
        seen.add(call.path)
        for binding in node.inputs:
            if binding.node:
                producer = next(entry for entry in graph.nodes if entry.name == binding.node)
                assert answered[binding.node] == _call_count(producer, length)
        answered[call.node] = answered.get(call.node, 0) + 1
        run.complete(call, _mix(**call.inputs))
        waiting += run.ready()
    assert answered == {node.name: _call_count(node, length) for node in graph.nodes}
    assert waiting == []
    assert run.outputs is not None
    for binding in graph.outputs:
        np.testing.assert_array_equal(run.outputs[binding.name], _naive(graph, inputs, binding.source))


def _call_count(node: Node, length: int) -> int:
    return -(-length // (node.kind.batch_size or 1)) if isinstance(node.kind, Map) else 1
