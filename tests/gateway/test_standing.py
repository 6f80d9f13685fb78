"""How graphs stand in a mesh: ready, held versions, and what they miss."""

from __future__ import annotations

import logging
from dataclasses import replace
from unittest.mock import Mock

import pytest

from graphmesh.gateway.standing import Watch, held_versions, pins_of
from graphmesh.graph.gate import choices
from graphmesh.graph.gate.choose import choose
from graphmesh.registry import ModelState
from tests.gateway.meshes import record, signature, snapshot

CHAIN = """
name: chain
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: one, model: a, inputs: {x: x}}
  - {name: two, model: b, inputs: {x: one.y}}
outputs: {y: two.y}
"""
OUTER = """
name: outer
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: inner, graph: chain, inputs: {x: x}}
outputs: {y: inner.y}
"""
FITS, BREAKS = signature(), signature(takes="INT64 (N,)")


def test_a_version_that_breaks_is_held(caplog: pytest.LogCaptureFixture) -> None:
    """The new version is held with the edge, the old one used, the graph ready; it is said once."""
    watch, chain = Watch(), record(CHAIN)
    before = snapshot({"w1": {"a": FITS, "b": FITS}}, chain)
    after = snapshot({"w1": {"a": FITS, "b": FITS}, "w2": {"b@2": BREAKS}}, chain)
    assert held_versions(watch.update(before)) == []
    with caplog.at_level(logging.WARNING, "graphmesh.gateway.standing"):
        found = watch.update(after)
        assert watch.update(after)["chain"] == found["chain"]
    (held,) = held_versions(found)
    assert (held.graph, held.model, held.version) == ("chain", "b", "2")
    assert "edge one.y -> two.x" in held.reason
    assert "INT64" in held.reason
    assert found["chain"].problem == ""
    assert pins_of(found) == {"chain": {"b": "1"}}
    (line,) = caplog.messages
    assert "graph=chain model=b version=2 used_version=1 reason=edge one.y -> two.x" in line
    assert held_versions(watch.update(before)) == []


def test_no_version_that_fits(caplog: pytest.LogCaptureFixture) -> None:
    """A graph that works with no version is not ready, for the edge; said once, not for one that calls it."""
    watch, chain = Watch(), record(CHAIN)
    outer = record(OUTER, {}, chain)
    broken = snapshot({"w1": {"a": FITS, "b": BREAKS}}, chain, outer)
    with caplog.at_level(logging.WARNING, "graphmesh.gateway.standing"):
        found = watch.update(broken)
        watch.update(broken)
    assert "edge one.y -> two.x" in found["chain"].problem
    assert [standing.broken for standing in found.values()] == [True, True]
    assert found["outer"].problem == f"node inner: graph 'chain' is not ready: {found['chain'].problem}"
    assert [message.partition(" reason=")[0] for message in caplog.messages] == [
        "graph does not work with any version that is served graph=chain"
    ]


@pytest.mark.parametrize(
    ("hosted", "state", "words"),
    [
        ({"a": FITS}, ModelState.AVAILABLE, "node two: no model or graph is named 'b'"),
        ({"a": FITS, "b": FITS}, ModelState.LOADING, "node one: model 'a' is still loading on worker w1"),
    ],
)
def test_a_model_that_is_not_served(hosted: dict[str, object], state: ModelState, words: str) -> None:
    """A graph misses a model that no replica serves; the reason is the model's own."""
    found = Watch().update(snapshot({"w1": hosted}, record(CHAIN), state=state))  # type: ignore[dict-item]
    assert found["chain"].problem.startswith(words)
    assert not found["chain"].broken


def test_a_graph_that_is_not_there_or_not_readable() -> None:
    """A nested graph that was deleted, and a document that does not parse, are problems of their own."""
    outer = record(OUTER, {}, record(CHAIN))
    hosted = {"w1": {"a": FITS, "b": FITS}}
    assert Watch().update(snapshot(hosted, outer))["outer"].problem == "node inner: there is no graph 'chain'; apply it"
    unreadable = replace(outer, document=b"\xff\xff")
    assert "apply it again" in Watch().update(snapshot(hosted, unreadable))["outer"].problem


@pytest.mark.parametrize(
    ("step", "ready"),
    [
        ("fallback: [{name: f, model: a}, {name: s, model: gone}]", True),
        ("fallback: [{name: f, model: gone}, {name: s, model: gone}]", False),
        ("parallel: {branches: [{name: f, model: a}, {name: s, model: gone}], join: any, aggregate: mean}", True),
        ("parallel: {branches: [{name: f, model: a}, {name: s, model: gone}], aggregate: mean}", False),
        ("race: {branches: [{name: f, model: gone}, {name: s, model: a}]}", True),
    ],
)
def test_branches_that_can_be_done_without(step: str, *, ready: bool) -> None:
    """A fallback, a race and a join of some are ready with some of their branches, as the workers see it."""
    text = f"""
name: g
inputs: {{x: "FP32 (N,)"}}
nodes:
  - {{name: n, inputs: {{x: x}}, {step}}}
outputs: {{y: n.y}}
"""
    problem = Watch().update(snapshot({"w1": {"a": FITS}}, record(text)))["g"].problem
    assert (problem == "") is ready, problem


def test_what_did_not_change_is_not_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate looks at a graph again when a signature that concerns it has changed, not at every change."""
    choosing = Mock(wraps=choose)
    monkeypatch.setattr(choices, "choose", choosing)
    watch, chain = Watch(), record(CHAIN)
    hosted = {"w1": {"a": FITS, "b": FITS}}
    for more in ({}, {"w2": {"a": FITS}}, {"w2": {"other": BREAKS}}):
        watch.update(snapshot({**hosted, **more}, chain))
    assert choosing.call_count == 1
    watch.update(snapshot({**hosted, "w2": {"a@2": FITS}}, chain))
    assert choosing.call_count == 2
    assert held_versions(watch.update(snapshot({}))) == []
