"""Plans: names become indexes, and what can run when is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.running.plan import make_plan
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, ModelCall, Node

if TYPE_CHECKING:
    from collections.abc import Iterable

GRAPH = parse_yaml("""
    name: g
    inputs: [x, w]
    nodes:
      c: {map: {graph: h, over: p, batch_size: 8}, inputs: {p: a.y, q: b.y, w: w}}
      b: {model: {name: m, version: 2}, inputs: {x: a.y, w: w}}
      a: {model: m, inputs: {x: x, w: w}}
      d: {map: {model: m, over: p, max_concurrency: 9}, inputs: {p: a.y}}
    outputs: {y: c.y, z: c.z, again: c.y, d: d.y, w: w}
""")


def _streaming(*names: str) -> dict[str, Signature]:
    return {name: Signature((), (TensorSpec(name="y", datatype="FP32"),), streaming=True) for name in names}


def test_steps_come_in_running_order_with_slots_resolved() -> None:
    """Every step knows the slots it reads and writes; only outputs that something reads have one."""
    plan = make_plan(GRAPH, lambda _: None)
    assert (plan.graph, plan.inputs, plan.streams) == ("g", ("x", "w"), False)
    assert [step.node for step in plan.steps] == ["a", "b", "d", "c"]
    assert [step.index for step in plan.steps] == [0, 1, 2, 3]
    a, b, d, c = plan.steps
    slots = dict(plan.outputs)
    assert a.reads == (("x", 0), ("w", 1))
    assert (b.reads[0], d.reads[0], c.reads[0]) == (("x", a.writes[0][1]), ("p", a.writes[0][1]), ("p", a.writes[0][1]))
    assert c.outputs == ("y", "z")
    assert dict(c.writes) == {"y": slots["y"], "z": slots["z"]}
    assert slots["again"] == slots["y"]
    assert sorted({*range(2), *(slot for step in plan.steps for _, slot in step.writes)}) == list(range(len(plan.uses)))


def test_readers_and_uses_are_counted() -> None:
    """Steps wait for each producer once; slots count every read, outputs of the graph included."""
    plan = make_plan(GRAPH, lambda _: None)
    a, b, d, c = plan.steps
    assert plan.before.first == (a,)
    assert plan.before.waits == (0, 1, 1, 2)
    assert a.readers == (b.index, d.index, c.index)
    assert c.readers == ()
    assert plan.uses[0] == 1
    assert plan.uses[1] == 4
    assert plan.uses[a.writes[0][1]] == 3
    assert plan.uses[dict(plan.outputs)["y"]] == 2


def test_everything_that_may_be_called_is_known() -> None:
    """Targets count once, those inside composed steps too."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          a: {model: m, inputs: {x: x}}
          b: {fallback: [{name: p, model: m}, {name: q, graph: h}], inputs: {x: a.y}}
        outputs: {y: b.y}
    """)
    assert make_plan(graph, lambda _: None).targets == (ModelCall(name="m"), GraphCall(name="h"))


def test_the_headers_that_conditions_name_are_known() -> None:
    """Those of switches, splits and loops, however deep inside; not a name that only a request tells."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          a:
            inputs: {x: x}
            fallback:
              - name: p
                switch:
                  cases:
                    - {when: 'headers["x-a"] == headers[params.name] || headers.b == ""', then: {name: s, model: m}}
                  default: {name: d, model: m}
              - name: q
                split: {shares: [{weight: 1, then: {name: t, model: m}}], key: 'headers["x-c"]'}
              - name: r
                loop: {body: {name: l, model: m}, until: 'headers.d == "1"', max_iterations: 2, carry: {x: y}}
        outputs: {y: a.y}
    """)
    assert make_plan(graph, lambda _: None).headers == {"x-a", "b", "x-c", "d"}


def test_a_chain_is_seen(tmp_path: object) -> None:
    """A graph whose steps can only run one after the other needs no tasks at all."""
    assert make_plan(_chain(3), lambda _: None).before.chain
    assert not make_plan(GRAPH, lambda _: None).before.chain


def test_streams_divide_a_plan() -> None:
    """What no stream reaches runs before; what streams is pulled; what reads it runs for each position."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          once: {model: m, inputs: {x: x}}
          words: {model: s, inputs: {x: once.y}}
          upper: {model: m, inputs: {x: words.y}}
          mixed: {model: m, inputs: {x: upper.y, k: once.y}}
          beside: {model: m, inputs: {x: once.y}}
        outputs: {y: mixed.y, z: beside.y}
    """)
    plan = make_plan(graph, _streaming("s").get)
    assert plan.streams
    assert _names(plan.before.steps) == ["once", "beside"]
    assert _names(plan.sources) == ["words"]
    assert _names(plan.after.steps) == ["upper", "mixed"]
    assert (_names(plan.before.first), _names(plan.after.first)) == (["once"], ["upper"])
    assert plan.before.chain
    assert plan.after.chain


def test_a_version_that_is_fixed_has_its_own_signature() -> None:
    """Whether a step streams is asked of the version that it calls."""
    graph = parse_yaml("{name: g, inputs: [x], nodes: {a: {model: {name: m, version: 2}, inputs: {x: x}}}}")
    assert not make_plan(graph, lambda _: None).streams
    assert make_plan(graph, lambda _: None, pinned=lambda call: _streaming("m")[call.name]).streams


def test_tensors_may_stay_where_only_plain_calls_read_them() -> None:
    """One that a map, a composed step or the caller reads does not."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          a: {model: m, inputs: {x: x}}
          b: {model: n, inputs: {x: a.stays, k: a.both}}
          c: {graph: h, inputs: {x: a.stays, o: a.given}}
          d: {map: {model: m, over: x}, inputs: {x: a.both}}
        outputs: {y: b.y, z: a.given, c: c.y, d: d.y}
    """)
    plan = make_plan(graph, lambda _: None)
    assert {step.node: dict(step.stay) for step in plan.steps} == {
        "a": {"stays": (ModelCall(name="n"), GraphCall(name="h"))},
        "b": {},
        "c": {},
        "d": {},
    }


def test_a_cycle_has_no_plan() -> None:
    """A graph that was never validated is refused, not looped over."""
    graph = parse_yaml("{name: g, nodes: {a: {model: m, inputs: {x: b.y}}, b: {model: m, inputs: {x: a.y}}}}")
    with pytest.raises(InvalidGraph, match="cycle"):
        make_plan(graph, lambda _: None)


def test_a_thousand_steps_are_planned_in_milliseconds() -> None:
    """Planning is linear in nodes and edges."""

    def seconds(length: int) -> float:
        graph, best = _chain(length), float("inf")
        for _ in range(5):
            start = time.process_time()
            make_plan(graph, lambda _: None)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(1000) < 0.2
    assert seconds(1000) < 20 * seconds(100)


def _chain(length: int) -> Graph:
    nodes = tuple(
        Node(
            name=f"n{i}",
            kind=ModelCall(name="m"),
            inputs=(Binding(name="x", source=f"n{i - 1}.y" if i else "x"),),
        )
        for i in range(length)
    )
    outputs = (Binding(name="y", source=f"n{length - 1}.y"),)
    return Graph(name="g", inputs=(GraphInput(name="x"),), nodes=nodes, outputs=outputs)


def _names(steps: Iterable[object]) -> list[object]:
    return [getattr(step, "node") for step in steps]  # noqa: B009 - of any kind of step
