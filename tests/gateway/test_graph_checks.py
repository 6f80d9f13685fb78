"""What may become the live revision of a graph."""

from __future__ import annotations

import dataclasses
import re

import pytest

from graphmesh.core.errors import FailedPrecondition, InvalidGraph
from graphmesh.gateway.absent import reason
from graphmesh.gateway.graph_checks import check_apply, check_delete, check_rollback
from graphmesh.graph.forms.text import parse_yaml
from graphmesh.registry import HostedModel, ModelState
from tests.gateway.meshes import record, signature, snapshot

GRAPH = """
name: g
inputs: [{name: x}]
nodes:
  - {name: one, model: a, inputs: {x: x}}
outputs: {y: one.y}
"""
CALLER = """
name: caller
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: inner, graph: g, inputs: {x: x}}
  - {name: two, model: a, inputs: {x: inner.y}}
outputs: {y: two.y}
"""
TYPED = GRAPH.replace("[{name: x}]", '{x: "FP32 (N,)"}')
OLD, NEW = signature(), signature("INT64 (N,)", "INT64 (N,)")


def test_the_newest_version_that_fits_counts() -> None:
    """A graph takes the newest version's types; one that says its own takes the newest that fits them."""
    mesh = snapshot({"w1": {"a": OLD}, "w2": {"a@2": NEW}})
    assert check_apply(parse_yaml(GRAPH), mesh) == NEW
    assert check_apply(parse_yaml(TYPED), mesh) == OLD


def test_a_fixed_version_counts_alone() -> None:
    """A node's own version gives its types, one that does not exist is refused."""
    mesh = snapshot({"w1": {"a": OLD}, "w2": {"a@2": NEW}})
    assert check_apply(parse_yaml(GRAPH.replace("model: a", "model: {name: a, version: '1'}")), mesh) == OLD
    with pytest.raises(InvalidGraph, match="no version 3"):
        check_apply(parse_yaml(GRAPH.replace("model: a", "model: {name: a, version: '3'}")), mesh)


def test_no_version_that_fits_is_refused() -> None:
    """A graph that no version fits is refused with the edge, an unknown model with a near name."""
    with pytest.raises(InvalidGraph, match=r"edge x -> one\.x"):
        check_apply(parse_yaml(TYPED), snapshot({"w2": {"a@2": NEW}}))
    with pytest.raises(InvalidGraph, match="did you mean 'aa'"):
        check_apply(parse_yaml(TYPED), snapshot({"w2": {"aa": OLD}}))


def test_a_model_of_the_graphs_own_name_promises_nothing_for_it() -> None:
    """Whether the name is free is the registry's to say; here it must not be mistaken for an earlier revision."""
    mesh = snapshot({"w1": {"a": OLD, "g": signature("TEXT ()", "TEXT ()")}})
    assert check_apply(parse_yaml(GRAPH), mesh) == OLD


def test_callers_are_kept() -> None:
    """A new signature that would break a live graph which calls this one is refused, naming it and its edge."""
    live = record(TYPED)
    caller = record(CALLER, {}, live)
    mesh = snapshot({"w1": {"a": OLD, "b": NEW}}, live, caller)
    assert check_apply(parse_yaml(TYPED), mesh) == OLD
    with pytest.raises(InvalidGraph, match=r"graph caller calls g and would break: edge x -> inner\.x"):
        check_apply(parse_yaml(GRAPH.replace("model: a", "model: b")), mesh)


def test_callers_of_a_graph_that_is_gone_are_kept() -> None:
    """Deleted and applied anew, a graph must still fit what calls it, unless that lacks something else as well."""
    live = record(TYPED)
    caller = record(CALLER, {}, live)
    mesh = snapshot({"w1": {"a": OLD, "b": NEW}}, caller)
    assert check_apply(parse_yaml(TYPED), mesh) == OLD
    changed = parse_yaml(GRAPH.replace("model: a", "model: b"))
    with pytest.raises(InvalidGraph, match=r"graph caller calls g and would break: edge x -> inner\.x.*delete caller"):
        check_apply(changed, mesh)
    assert check_apply(changed, snapshot({"w1": {"b": NEW}}, caller)) == NEW


def test_what_others_call_is_not_deleted() -> None:
    """A graph that live graphs call is kept, and they are named; others may go, and unknown names are not judged."""
    live = record(TYPED)
    caller = record(CALLER, {}, live)
    mesh = snapshot({"w1": {"a": OLD}}, live, caller)
    with pytest.raises(FailedPrecondition, match=r"graph 'g' is called by caller; .*--force"):
        check_delete("g", mesh)
    check_delete("caller", mesh)
    check_delete("g", snapshot({"w1": {"a": OLD}}, live))
    check_delete("g", snapshot({"w1": {"a": OLD}}, caller))


def test_a_model_that_is_not_available_is_not_said_to_be_unknown() -> None:
    """Why it failed to load is said, and its own name is not suggested for it; nor is a graph's for a model."""
    mesh = snapshot({"w1": {"a": OLD}})
    failed = HostedModel(name="a", version="1", state=ModelState.FAILED, message="a.onnx: not a model")
    broken = dataclasses.replace(mesh, workers={"w1": dataclasses.replace(mesh.workers["w1"], models=(failed,))})
    with pytest.raises(
        InvalidGraph, match=r"^node one: model 'a' is not available: it failed on worker w1: a\.onnx: not a model$"
    ):
        check_apply(parse_yaml(TYPED), broken)
    nowhere = dataclasses.replace(mesh, workers={})
    with pytest.raises(
        InvalidGraph, match="model 'a' is not available: it is known, but no worker hosts it now; start"
    ):
        check_apply(parse_yaml(TYPED), nowhere)
    gone = dataclasses.replace(failed, state=ModelState.UNLOADED, message="")
    away = dataclasses.replace(mesh, workers={"w1": dataclasses.replace(mesh.workers["w1"], models=(gone,))})
    said = reason(away, "a").message
    assert said == "model 'a' was unloaded on worker w1; load it with: graphmesh model load a"
    with pytest.raises(InvalidGraph, match=re.escape(said.replace("model 'a'", "model 'a' is not available: it"))):
        check_apply(parse_yaml(TYPED), away)
    other = parse_yaml(TYPED.replace("name: g", "name: other").replace("model: a", "model: gg"))
    with pytest.raises(InvalidGraph, match=r"there is no model 'gg'$"):
        check_apply(other, snapshot({"w1": {"a": OLD}}, record(TYPED)))


def test_a_caller_that_is_broken_already_holds_nothing_up() -> None:
    """What does not work now cannot be broken: the graph may change, and so be mended."""
    live = record(TYPED)
    caller = record(CALLER, {}, live)
    mesh = snapshot({"w1": {"a": NEW}}, live, caller)
    assert check_apply(parse_yaml(GRAPH), mesh) == NEW


def test_rollback_keeps_the_old_promise() -> None:
    """An older revision may be live again if some version lets it take and give what it did."""
    old = record(GRAPH)
    graph = parse_yaml(GRAPH)
    check_rollback(graph, old.signature, snapshot({"w1": {"a": OLD}, "w2": {"a@2": NEW}}))
    with pytest.raises(InvalidGraph, match=r"edge x -> one\.x: callers send FP32"):
        check_rollback(graph, old.signature, snapshot({"w2": {"a@2": NEW}}))


def test_rollback_keeps_callers() -> None:
    """Going back to a signature that a live graph does not fit any more is refused."""
    live = record(GRAPH.replace("model: a", "model: b"), {"b": NEW}, revision=2)
    caller = record(CALLER.replace("FP32", "INT64").replace("model: a", "model: b"), {"b": NEW}, live)
    mesh = snapshot({"w1": {"a": OLD, "b": NEW}}, live, caller)
    with pytest.raises(InvalidGraph, match="graph caller calls g and would break"):
        check_rollback(parse_yaml(GRAPH), OLD, mesh)
