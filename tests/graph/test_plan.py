"""Plans: names become indexes."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.plan import make_plan
from graphmesh.graph.yaml_form import parse_yaml

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


def test_steps_come_in_running_order_with_slots_resolved() -> None:
    """Every step knows the slots it reads and writes; only outputs that something reads have one."""
    plan = make_plan(GRAPH, lambda _: None)
    assert (plan.graph, plan.inputs) == ("g", ("x", "w"))
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


def test_steps_know_what_they_call() -> None:
    """Target, version and how a map divides are resolved, defaults included."""
    a, b, d, c = make_plan(GRAPH, lambda _: None).steps
    assert [(step.target, step.target_is_graph, step.version) for step in (a, b, c)] == [
        ("m", False, ""),
        ("m", False, "2"),
        ("h", True, ""),
    ]
    assert a.map is None
    assert c.map is not None
    assert d.map is not None
    assert (c.map.over, c.map.batch_size, c.map.max_concurrency) == (("p",), 8, 4)
    assert (d.map.batch_size, d.map.max_concurrency) == (0, 9)


def test_readers_and_uses_are_counted() -> None:
    """Steps wait for each producer once; slots count every read, outputs of the graph included."""
    plan = make_plan(GRAPH, lambda _: None)
    a, b, d, c = plan.steps
    assert plan.first == (a,)
    assert plan.waits == (0, 1, 1, 2)
    assert a.readers == (b.index, d.index, c.index)
    assert c.readers == ()
    assert plan.uses[0] == 1
    assert plan.uses[1] == 4
    assert plan.uses[a.writes[0][1]] == 3
    assert plan.uses[dict(plan.outputs)["y"]] == 2


def test_a_cycle_has_no_plan() -> None:
    """A graph that was never validated is refused, not looped over."""
    graph = parse_yaml("{name: g, nodes: {a: {model: m, inputs: {x: b.y}}, b: {model: m, inputs: {x: a.y}}}}")
    with pytest.raises(InvalidGraph, match="cycle"):
        make_plan(graph, lambda _: None)
