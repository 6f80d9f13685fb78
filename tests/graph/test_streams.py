"""Which steps stream, which run once for each position, and where a stream cannot go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.streams import Streaming, classify
from graphmesh.graph.spec import (
    Cache,
    Cascade,
    Case,
    Fallback,
    GraphCall,
    Loop,
    Map,
    ModelCall,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
)
from tests.graph.typing_help import graph, model, signed, step, typed

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind, Node, Target

TALK = model("talk", "x")
PLAIN = model("plain", "x")


def _streams(target: Target) -> bool:
    return target.name.startswith("talk")


def _modes(*nodes: Node) -> dict[str, str]:
    return {name: mode.value for name, mode in classify(graph({"x": ""}, nodes, {}), _streams).items()}


def test_readers_of_a_stream_run_for_each_position() -> None:
    """So do their readers; what reads nothing of it runs once."""
    modes = _modes(
        TALK,
        PLAIN,
        model("reader", {"x": "talk.x", "y": "plain.x"}),
        step("both", Parallel(branches=(model("a"), model("b"))), {"x": "reader.x"}),
        step("each", Map(target=ModelCall(name="m"), over=("x",)), {"x": "both.x"}),
    )
    assert modes == {
        "talk": "source",
        "plain": "single",
        "reader": "position",
        "both": "position",
        "each": "position",
    }


@pytest.mark.parametrize(
    "kind",
    [
        GraphCall(name="talk-graph"),
        Switch(cases=(Case(when="true", then=PLAIN),), default=TALK),
        Split(shares=(Share(weight=1, then=TALK), Share(weight=1, then=PLAIN))),
        Fallback(branches=(PLAIN, step("inner", Fallback(branches=(TALK, PLAIN))))),
    ],
)
def test_kinds_that_pass_a_stream_on(kind: Kind) -> None:
    """One branch that streams makes the step stream; the others give a stream of one."""
    assert _modes(step("n", kind, "x")) == {"n": "source"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Parallel(branches=(PLAIN, TALK)), "parallel"),
        (Cascade(branches=(TALK, PLAIN), confidence="x", threshold=0.5), "cascade"),
        (Race(branches=(TALK,)), "race"),
        (Loop(body=TALK, max_iterations=2), "loop"),
        (Cache(body=TALK), "cache"),
    ],
)
def test_kinds_that_need_one_answer(kind: Kind, name: str) -> None:
    """They refuse a branch that streams and say where the call can go."""
    with pytest.raises(InvalidGraph) as caught:
        _modes(step("n", kind, "x"))
    assert caught.value.message == (
        f"node n: its branch talk streams, as model talk does, but a {name} needs one answer of each branch; call "
        f"model "
        "talk in a step before it, which then runs once for each answer"
    )


def test_a_stream_deep_inside_is_found() -> None:
    """The message names the step that cannot hold it and what streams."""
    inner = step("inner", Switch(cases=(Case(when="true", then=TALK),)))
    with pytest.raises(InvalidGraph, match=r"^node n/kept: its branch inner streams, as model talk does, but a cache"):
        _modes(step("n", Fallback(branches=(PLAIN, step("kept", Cache(body=inner)))), "x"))


def test_a_map_cannot_gather_streams() -> None:
    """A map needs one answer for each item."""
    with pytest.raises(InvalidGraph) as caught:
        _modes(step("each", Map(target=ModelCall(name="talk"), over=("x",)), "x"))
    assert caught.value.message == (
        "node each: model talk streams its answers, but a map needs one answer for each item; call it in a step of "
        "its own, whose readers run once for each answer"
    )


def test_a_stream_for_each_of_a_stream_is_refused() -> None:
    """Whatever streams must not read a stream, directly or through others."""
    with pytest.raises(InvalidGraph) as caught:
        _modes(TALK, model("between", {"x": "talk.x"}), model("talk-more", {"y": "between.x"}))
    assert caught.value.message == (
        "edge between.x -> talk-more.y: between.x is a stream of answers, and model talk-more would stream for each "
        "of them; let talk-more read what is not streamed"
    )


def test_a_graph_with_a_stream_in_it_streams() -> None:
    """Its own signature says so, so that graphs around it know."""
    catalog = {
        "talk": signed({"x": "FP32 ()"}, {"x": "FP32 ()"}, streaming=True),
        "plain": signed({"x": "FP32 ()"}, {"x": "FP32 ()"}),
    }
    found = typed(graph({"x": ""}, (TALK, model("plain", {"x": "talk.x"})), {"y": "plain.x"}), catalog)
    assert found.signature.streaming
    assert found.streams == {"talk": Streaming.SOURCE, "plain": Streaming.POSITION}
    assert not typed(graph({"x": ""}, (PLAIN,), {"y": "plain.x"}), catalog).signature.streaming
