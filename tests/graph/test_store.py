"""The tensors of one run, counted while they are held."""

from __future__ import annotations

import numpy as np
import pytest

from graphmesh.core.errors import ModelFailed, Overloaded, SignatureMismatch
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.running.budget import Budget
from graphmesh.graph.running.plan import make_plan
from graphmesh.graph.running.store import Store

PLAN = make_plan(
    parse_yaml("""
        name: g
        inputs: [x]
        nodes:
          a: {model: m, inputs: {x: x}}
          b: {model: m, inputs: {x: a.y, k: a.z}}
          c: {model: m, inputs: {x: a.y}}
        outputs: {y: b.y, z: c.y}
    """),
    lambda _: None,
)
X = np.zeros(4)


def test_a_tensor_counts_until_its_last_reader_has_ended() -> None:
    """The request's own tensors belong to who sent them; outputs count to the end."""
    budget = Budget(held=1000)
    a, b, c = PLAN.steps
    store = Store(PLAN, {"x": X}, budget)
    assert store.take(a)["x"] is X
    store.put(a, {"y": np.zeros(1), "z": np.zeros(2), "unread": np.zeros(100)})
    assert budget.bytes_left == 1000 - 8 - 16
    assert list(store.take(b)) == ["x", "k"]
    store.put(b, {"y": np.zeros(3)})
    assert budget.bytes_left == 1000 - 8 - 24
    store.put(c, {"y": np.zeros(4)})
    assert budget.bytes_left == 1000 - 24 - 32
    assert {name: len(tensor) for name, tensor in store.outputs(PLAN).items()} == {"y": 3, "z": 4}
    store.close()
    assert budget.bytes_left == 1000


def test_a_position_leaves_the_rest_as_it_was() -> None:
    """What comes into it is forgotten with it, what was there stays."""
    budget = Budget(held=1000)
    a, b, _ = PLAN.steps
    store = Store(PLAN, {"x": X}, budget)
    store.put(a, {"y": np.zeros(1), "z": np.zeros(2)})
    for _ in range(3):
        position = store.position()
        assert len(position.take(b)["k"]) == 2
        position.put(b, {"y": np.zeros(3)})
        position.close()
        assert budget.bytes_left == 1000 - 8 - 16
    assert len(store.take(b)["k"]) == 2


def test_what_does_not_fit_or_is_missing_is_an_error() -> None:
    """And nothing of it stays counted."""
    budget = Budget(held=20)
    store = Store(PLAN, {"x": X}, budget)
    with pytest.raises(Overloaded):
        store.put(PLAN.steps[0], {"y": np.zeros(1), "z": np.zeros(2)})
    with pytest.raises(ModelFailed, match=r"the answer has no output 'y', but \['z'\]"):
        store.put(PLAN.steps[0], {"z": np.zeros(1)})
    store.close()
    assert budget.bytes_left == 20
    with pytest.raises(SignatureMismatch, match="input 'x' is missing"):
        Store(PLAN, {}, budget)
