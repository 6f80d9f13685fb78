"""Bytes that one request holds at once."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_BYTES_IN_FLIGHT
from graphmesh.graph.spec import Aggregate, Fallback, Join, Parallel
from tests.graph.typing_help import graph, model, signed, step, typed

QUARTER = MAX_BYTES_IN_FLIGHT // 4
"""Elements of one byte that take a quarter of what there is."""

_BIG = f"UINT8 ({QUARTER},)"
CATALOG = {
    **{name: signed({"x": _BIG}, {"x": _BIG}) for name in "abcdef"},
    "two": signed({"x": _BIG}, {"x": _BIG, "y": _BIG}),
    "join": signed({"x": _BIG, "y": _BIG}, {"x": _BIG}),
    "small": signed({"x": _BIG}, {"x": "UINT8 (1,)"}),
    "open": signed({"x": "UINT8 (N,)"}, {"x": f"UINT8 (K, {QUARTER * 8})", "y": f"BYTES ({QUARTER * 8},)"}),
}


def test_what_has_been_read_is_held_no_longer() -> None:
    """A chain of any length holds two at a time."""
    nodes = tuple(
        model(name, {"x": f"{before}.x" if before else "x"})
        for before, name in zip(["", *"abcde"], "abcdef", strict=True)
    )
    typed(graph({"x": ""}, nodes, {"y": "f.x"}), CATALOG)


def test_what_is_still_to_be_read_is_held() -> None:
    """Five quarters alive at once are too many; the message names the step and the bytes."""
    nodes = (
        *(model(name, "x") for name in "abcd"),
        model("join", {"x": "a.x", "y": "b.x"}),
        step("rest", model("join").kind, {"x": "c.x", "y": "d.x"}),
    )
    outputs = {"y": "join.x", "z": "rest.x"}
    with pytest.raises(InvalidGraph) as caught:
        typed(graph({"x": ""}, nodes, outputs), CATALOG)
    assert caught.value.message == (
        f"node d: tensors of at least {5 * QUARTER} bytes are held at once, more than the {4 * QUARTER} that one "
        f"request "
        "may; make them smaller, or divide large ones among requests"
    )
    typed(graph({"x": ""}, (*nodes[:3], nodes[4]), {"y": "join.x", "c": "c.x"}), CATALOG)


def test_an_input_alone_may_be_too_large() -> None:
    """More than all that there is, before any step has run."""
    catalog = {"floats": signed({"x": f"FP32 ({QUARTER + 1},)"}, {"x": "TEXT ()"})}
    with pytest.raises(InvalidGraph, match=f"^the request itself: tensors of at least {4 * QUARTER + 4} bytes"):
        typed(graph({"x": ""}, (model("floats", "x"),), {"y": "floats.x"}), catalog)


def test_what_is_not_known_counts_as_nothing() -> None:
    """Sizes that a request decides, text, and outputs that nobody reads."""
    typed(graph({"x": ""}, (model("open", "x"),), {"y": "open.x", "z": "open.y"}), CATALOG)
    nodes = tuple(step(f"n{index}", model("two").kind, "x") for index in range(3))
    typed(graph({"x": ""}, nodes, {f"y{index}": f"n{index}.x" for index in range(3)}), CATALOG)


def _parallel(aggregate: Aggregate, *names: str, join: Join = Join.ALL) -> None:
    renamed = tuple(model(name, "", {name: "x"} if aggregate is Aggregate.MERGE else {}) for name in names)
    kind = Parallel(branches=renamed, aggregate=aggregate, join=join)
    read = names if aggregate is Aggregate.MERGE else "x"
    typed(graph({"x": ""}, (step("all", kind, "x"),), {name: f"all.{name}" for name in read}), CATALOG)


def test_branches_side_by_side_are_held_together() -> None:
    """All answers, and beside them what is made of them; merged ones are those themselves."""
    _parallel(Aggregate.MERGE, "a", "b", "c")
    _parallel(Aggregate.MAX, "a", "b")
    with pytest.raises(InvalidGraph, match=f"node all: .* at least {5 * QUARTER} bytes"):
        _parallel(Aggregate.MAX, "a", "b", "c")
    with pytest.raises(InvalidGraph, match=f"node all: .* at least {5 * QUARTER} bytes"):
        _parallel(Aggregate.MERGE, "a", "b", "c", "d")
    _parallel(Aggregate.ONE, *"abcdef", join=Join.FIRST)


def test_of_alternatives_the_largest_counts() -> None:
    """One branch after the other, each of which is let go of."""
    kind = Fallback(branches=tuple(map(model, "abcdef")))
    typed(graph({"x": ""}, (step("n", kind, "x"),), {"y": "n.x"}), CATALOG)
