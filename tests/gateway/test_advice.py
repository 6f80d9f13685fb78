"""What moving a model would save."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.gateway.advice import advise
from graphmesh.gateway.placement import place_graphs
from graphmesh.graph.placing.usage import ITEMS
from tests.gateway.meshes import record, signature, snapshot

if TYPE_CHECKING:
    from graphmesh.registry import GraphRecord, Snapshot

FIXED = signature("FP32 (4,)", "FP32 (8,)")
BACK = signature("FP32 (8,)", "FP32 (4,)")
OPEN = signature("FP32 (4,)", "FP32 (N,)")
CHAIN = """
name: chain
inputs: [{name: x}]
nodes:
  - {name: one, model: a, inputs: {x: x}}
  - {name: two, model: b, inputs: {x: one.y}}
  - {name: three, model: a, inputs: {x: two.y}}
outputs: {y: three.y}
"""
TYPES = {"a": FIXED, "b": BACK}
OUTER = """
name: outer
inputs: [{name: x}]
nodes:
  - {name: first, model: a, inputs: {x: x}}
  - {name: inner, graph: chain, inputs: {x: x}}
outputs: {y: inner.y, z: first.y}
"""


def test_fused_graphs_have_nothing_to_move() -> None:
    """All in one process: no call over the network, nothing to save."""
    found = advise("chain", snapshot({"w1": TYPES}, record(CHAIN, TYPES)), {})
    assert (found.workers, found.network_calls, found.calls, found.moves) == (("w1",), 0, 3, ())


def test_one_model_elsewhere() -> None:
    """Hosting the odd one where the rest is saves its call and tensors; the other way round saves no less calls."""
    mesh = snapshot({"w1": {"a": FIXED}, "w2": {"b": BACK}}, record(CHAIN, TYPES))
    found = advise("chain", mesh, {})
    assert (found.workers, found.network_calls, found.calls) == (("w1",), 1, 3)
    first, second = found.moves
    assert (first.model, first.to_worker, first.from_workers, first.movable) == ("a", "w2", ("w1",), True)
    assert (second.model, second.to_worker, second.from_workers, second.movable) == ("b", "w1", ("w2",), True)
    for move in found.moves:
        assert move.network_calls == 0
        assert move.tensors == ("two.x", "two.y")
        assert (move.known_bytes, move.unsized_tensors) == (8 * 4 + 4 * 4, 0)


def test_best_first() -> None:
    """A map's model counts for its items, so that it is moved first; sizes that a request decides are counted apart."""
    text = """
name: g
inputs: [{name: x}]
nodes:
  - {name: one, model: a, inputs: {x: x}}
  - {name: same, model: a, inputs: {x: x}}
  - {name: odd, model: b, inputs: {x: x}}
  - {name: many, map: {model: m, over: [x]}, inputs: {x: x}}
outputs: {y: one.y, s: same.y, o: odd.y, m: many.y}
"""
    types = {"a": OPEN, "b": OPEN, "m": signature("FP32 ()", "FP32 ()")}
    hosted = {"w1": {"m": types["m"]}, "w2": {"a": OPEN}, "w3": {"b": OPEN}}
    found = advise("g", snapshot(hosted, record(text, types)), {})
    assert (found.workers, found.network_calls) == (("w1",), 3)
    assert [(move.model, move.to_worker, move.network_calls) for move in found.moves] == [
        ("a", "w1", 1),
        ("m", "w2", 1),
        ("b", "w1", 2),
        ("m", "w3", 2),
    ]
    assert found.calls == ITEMS + 3
    assert set(found.moves[0].tensors) == {"one.x", "one.y", "same.x", "same.y"}
    assert (found.moves[0].known_bytes, found.moves[0].unsized_tensors) == (2 * 16, 2)


def test_a_move_must_not_cost_other_graphs() -> None:
    """A model that another graph has beside it is advised to be hosted twice, not to be moved."""
    other = CHAIN.replace("chain", "other").replace("model: a", "model: c")
    types = {**TYPES, "c": FIXED}
    graphs = (record(CHAIN, types), record(other, types))
    mesh = snapshot({"w1": {"a": FIXED}, "w2": {"b": BACK, "c": FIXED}}, *graphs)
    moves = {(move.model, move.to_worker): move.movable for move in advise("chain", mesh, {}).moves}
    assert moves == {("a", "w2"): True, ("b", "w1"): False}


def test_nested_graphs_count() -> None:
    """A nested graph that is not all here is called over the network and runs where it is placed itself."""
    chain = record(CHAIN, TYPES)
    outer = record(OUTER, TYPES, chain)
    mesh = snapshot({"w1": {"a": FIXED}, "w2": {"b": BACK}}, chain, outer)
    found = advise("outer", mesh, {})
    assert (found.network_calls, found.calls) == (2, 4)
    best = found.moves[0]
    assert best.network_calls == 0
    assert set(best.tensors) == {"inner.x", "inner.y", "inner/two.x", "inner/two.y"}


@pytest.mark.parametrize("version", ["", "1"])
def test_versions_that_are_held_do_not_count(version: str) -> None:
    """A worker that hosts only a version which the graph does not use is no place for the model."""
    text = CHAIN.replace("model: b", f"model: {{name: b, version: '{version}'}}") if version else CHAIN
    wrong = signature("INT64 (4,)")
    mesh = snapshot({"w1": {"a": FIXED, "b@2": wrong}, "w2": {"b": BACK}}, record(text, TYPES))
    found = advise("chain", mesh, {} if version else {"chain": {"b": "1"}})
    assert found.network_calls == 1
    assert {(move.model, move.to_worker) for move in found.moves} == {("a", "w2"), ("b", "w1")}


def test_a_nested_graph_that_is_gone_is_no_local_call() -> None:
    """A branch whose graph was deleted counts as a call, though it names no model; nothing can be moved for it."""
    text = """
name: g
inputs: [{name: x}]
nodes:
  - name: n
    inputs: {x: x}
    fallback: [{name: own, model: a}, {name: lost, graph: chain}]
outputs: {y: n.y}
"""
    outer = record(text, TYPES, record(CHAIN, TYPES))
    found = advise("g", snapshot({"w1": {"a": FIXED}}, outer), {})
    assert (found.workers, found.moves) == (("w1",), ())
    assert found.network_calls == pytest.approx(0.1)


MODELS, WORKERS, GRAPHS = "abcd", ("w1", "w2", "w3"), ("g0", "g1", "g2")


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[GraphRecord, ...]:
    """Return chains of models and of the graphs before them."""
    found: list[GraphRecord] = []
    for name in GRAPHS:
        callees = [f"model: {model}" for model in MODELS] + [f"graph: {one.name}" for one in found]
        kinds = draw(st.lists(st.sampled_from(callees), min_size=1, max_size=5))
        steps = (
            f"  - {{name: n{at}, {kind}, inputs: {{x: {f'n{at - 1}.y' if at else 'x'}}}}}"
            for at, kind in enumerate(kinds)
        )
        last = f"n{len(kinds) - 1}.y"
        text = "\n".join([f"name: {name}", "inputs: [{name: x}]", "nodes:", *steps, f"outputs: {{y: {last}}}"])
        found.append(record(text, {}, *found))
    return tuple(found)


_HOSTED = st.fixed_dictionaries({model: st.sets(st.sampled_from(WORKERS), min_size=1) for model in MODELS})


@settings(max_examples=50)
@given(_graphs(), _HOSTED)
def test_nothing_that_saves_is_missed(graphs: tuple[GraphRecord, ...], hosted: dict[str, set[str]]) -> None:
    """Advice tells where a graph is placed, and of all models on all workers those with which it makes fewer calls."""

    def mesh(model: str = "", worker: str = "") -> Snapshot:
        there = {**hosted, model: {worker, *hosted.get(model, ())}}
        return snapshot({one: {name: signature() for name in there if one in there[name]} for one in WORKERS}, *graphs)

    placed = place_graphs(mesh(), {})
    for name in GRAPHS:
        workers = [worker for worker in WORKERS if name in placed.get(worker, ())]
        assert list(advise(name, mesh(), {}).workers) == workers
    found = advise(GRAPHS[-1], mesh(), {})
    calls = {pair: advise(GRAPHS[-1], mesh(*pair), {}).network_calls for pair in product(MODELS, WORKERS)}
    saving = {pair: after for pair, after in calls.items() if after < found.network_calls}
    assert {(move.model, move.to_worker): move.network_calls for move in found.moves} == saving


def test_an_empty_mesh_has_no_advice() -> None:
    """Without workers there is nothing to count and nothing to move."""
    found = advise("chain", snapshot({}, record(CHAIN, TYPES)), {})
    assert (found.workers, found.moves) == ((), ())
