"""What an author wrote becomes what runs: every kind, by what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from graphmesh.core.errors import InvalidGraph, ModelFailed
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.running.compile import compile_step
from tests.graph.host import FakeHost, Reply, give, virtual

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.running.branch import Branch
    from graphmesh.graph.spec import Node
    from tests.graph.host import Script

SIGNATURES = {
    name: Signature((TensorSpec(name="x", datatype="FP64"),), (TensorSpec(name="y", datatype="FP64"),))
    for name in ("double", "treble", "broken", "sure")
}
ANSWERS: dict[str, Script] = {
    "double": lambda x: {"y": x * 2},
    "treble": lambda x: {"y": x * 3},
    "broken": Reply(error=ModelFailed("boom")),
}
PAIR = "[{name: p, model: double}, {name: q, model: treble}]"


@pytest.mark.parametrize(
    ("step", "expected", "paths"),
    [
        ("{model: double}", 4.0, ["n"]),
        ("{switch: {cases: [{when: inputs.x > 1.0, then: {name: p, model: treble}}]}}", 6.0, ["n/p"]),
        (
            ("{switch: {cases: [{when: inputs.x > 9.0, then: {name: p, model: treble}}], "
            "default: {name: d, model: double}}}"),
            4.0,
            ["n/d"],
        ),
        ("{split: [{weight: 0, then: {name: p, model: double}}, {weight: 1, then: {name: q, model: treble}}]}", 6.0,
         ["n/q"]),
        (f"{{parallel: {{aggregate: mean, branches: {PAIR}}}}}", 5.0, ["n/p", "n/q"]),
        (f"{{fallback: {PAIR}}}", 4.0, ["n/p"]),
        (f"{{cascade: {{confidence: y, threshold: 5, branches: {PAIR}}}}}", 6.0, ["n/p", "n/q"]),
        (f"{{race: {{delay: 1s, branches: {PAIR}}}}}", 4.0, ["n/p"]),
        (
            "{loop: {body: {name: b, model: double}, until: 'outputs.y > 10.0', max_iterations: 9, carry: {x: y}}}",
            16.0,
            ["n/b"] * 3,
        ),
        ("{cache: {body: {name: b, model: double}}}", 4.0, ["n/b"]),
    ],
)  # fmt: skip
def test_every_kind_does_what_it_says(step: str, expected: float, paths: list[str]) -> None:
    """Branches take their inputs by name and are named in paths."""
    graph = parse_yaml(f"""
        name: g
        inputs: [x]
        nodes: {{n: {step[:-1]}, inputs: {{x: x}}}}}}
        outputs: {{y: n.y}}
    """)

    async def work() -> None:
        host = FakeHost(ANSWERS)
        outputs = await give(host, graph, {"x": np.array([2.0])}, SIGNATURES.get)
        assert outputs["y"].tolist() == [expected]
        assert host.paths == paths

    virtual(work())


def test_branches_inside_branches() -> None:
    """Renamed outputs, bound inputs and paths go through all levels."""
    graph = parse_yaml("""
        name: g
        inputs: [a, b]
        nodes:
          n:
            inputs: {left: a, right: b}
            parallel:
              branches:
                - name: first
                  fallback:
                    - {name: broken, model: broken, inputs: {x: left}, outputs: {one: y}}
                    - {name: good, model: double, inputs: {x: left}, outputs: {one: y}}
                - {name: second, model: treble, inputs: {x: right}, outputs: {two: y}}
        outputs: {one: n.one, two: n.two}
    """)

    async def work() -> None:
        degraded: list[str] = []
        host = FakeHost(ANSWERS)
        outputs = await give(host, graph, {"a": np.array(1.0), "b": np.array(10.0)}, SIGNATURES.get, degraded=degraded)
        assert {name: float(tensor) for name, tensor in outputs.items()} == {"one": 2.0, "two": 30.0}
        assert sorted(host.paths) == ["n/first/broken", "n/first/good", "n/second"]
        assert {made.call.outputs for made in host.made} == {("y",)}
        assert degraded == ["n/first"]

    virtual(work())


def test_a_transform_changes_tensors_without_a_call() -> None:
    """Its operations are compiled with the plan."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes: {n: {transform: [{cast: {datatype: FP32}, inputs: x, outputs: y}], inputs: {x: x}}}
        outputs: {y: n.y}
    """)

    async def work() -> None:
        host = FakeHost({})
        outputs = await give(host, graph, {"x": np.array([1.0])})
        assert (outputs["y"].dtype, host.made) == (np.float32, [])

    virtual(work())


def _compiled(text: str, signatures: Mapping[str, Signature] = SIGNATURES) -> Branch:
    return compile_step(_node(text), lambda target: signatures.get(target.name))


def _node(text: str) -> Node:
    return parse_yaml(f"{{name: g, inputs: [x], nodes: {{n: {text}}}}}").nodes[0]


@pytest.mark.parametrize(
    ("step", "gives"),
    [
        ("{model: double}", {"y"}),
        ("{model: unknown}", None),
        (f"{{fallback: {PAIR}}}", {"y"}),
        ("{fallback: [{name: p, model: double}, {name: q, model: unknown}]}", None),
        ("{parallel: [{name: p, model: double, outputs: {a: y}}, {name: q, model: treble, outputs: {b: y}}]}",
         {"a", "b"}),
        ("{transform: [{cast: {datatype: FP32}, inputs: x, outputs: a}, {softmax: {}, inputs: a, outputs: b}]}",
         {"b"}),
    ],
)  # fmt: skip
def test_what_a_step_gives_is_known_from_signatures(step: str, gives: set[str] | None) -> None:
    """So that branches are asked only for what they have."""
    assert _compiled(step).gives == gives


def test_a_condition_that_cannot_be_read_has_no_plan() -> None:
    """Though `validate` has refused it before."""
    with pytest.raises(InvalidGraph):
        _compiled("{switch: {cases: [{when: 'inputs.x >', then: {name: p, model: double}}]}}")
