"""Types that go round in a loop."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Binding, Loop
from tests.graph.typing_help import graph, model, signed, step, typed

CATALOG = {
    "same": signed({"x": "FP32 (N, D)"}, {"x": "FP32 (N, D)"}),
    "grow": signed({"x": "INT64 (T,)"}, {"x": "INT64 (U,)", "done": "BOOL ()"}),
    "shrink": signed({"x": "FP32 (N, D)"}, {"x": "FP32 (D,)"}),
    "other": signed({"x": "FP32 (N,)"}, {"x": "INT64 (N,)"}),
    "fixed": signed({"x": "FP32 (4,)"}, {"x": "FP32 (?,)"}),
    "broken": signed({"x": "FP32 (4,)"}, {"x": "FP32 (5,)"}),
    "square": signed({"x": "FP32 (N, N)"}, {"x": "FP32 (A, B)"}),
    "tied": signed({"x": "FP32 (N,)", "y": "FP32 (N,)"}, {"x": "FP32 (K,)"}),
    "grows": signed({"x": "FP32 (N,)"}, {"x": "FP32 (5,)"}),
    "decode": signed({"x": "TEXT (N,)"}, {"x": "BYTES (N,)"}),
    "swap": signed({"x": "FP32 (A,)", "y": "FP32 (B,)"}, {"x": "FP32 (B,)", "y": "FP32 (A,)"}),
    "extra": signed({"x": "FP32 (N,)", "y": "FP32 (M,)"}, {"x": "FP32 (N,)"}),
}


def _loop(body: str, inputs: dict[str, str], carry: dict[str, str] | None = None) -> list[str]:
    """Return the types of the inputs and of the output of a loop over a model."""
    back = tuple(Binding(name=name, source=source) for name, source in (carry or {"x": "x"}).items())
    kind = Loop(body=model(body), max_iterations=3, carry=back)
    found = typed(graph(inputs, (step("again", kind, " ".join(inputs)),), {"y": "again.x"}), CATALOG)
    return [spec.type for spec in (*found.signature.inputs, *found.signature.outputs)]


def test_what_comes_back_as_it_was_keeps_its_size() -> None:
    """A size that the body gives back is one size for all times; a number goes through."""
    assert _loop("same", {"x": "FP32 (N, 3)"}) == ["FP32 (N, 3)", "FP32 (N, 3)"]
    assert _loop("same", {"x": ""}) == ["FP32 (N, D)", "FP32 (N, D)"]


def test_what_grows_may_start_at_any_size() -> None:
    """The first size says nothing of the last: one token may become many."""
    assert _loop("grow", {"x": "INT64 (1,)"}) == ["INT64 (1,)", "INT64 (U,)"]
    assert _loop("grow", {"x": ""}) == ["INT64 (T,)", "INT64 (U,)"]
    assert _loop("grows", {"x": "FP32 (1,)"}) == ["FP32 (1,)", "FP32 (5,)"]


def test_what_the_body_demands_holds_each_time() -> None:
    """A number, two axes of one size, the size of an input that stays: what comes back must be that too."""
    assert _loop("fixed", {"x": "FP32 (N,)"}) == ["FP32 (4,)", "FP32 (4,)"]
    assert _loop("square", {"x": "FP32 (3, ?)"}) == ["FP32 (3, 3)", "FP32 (3, 3)"]
    assert _loop("tied", {"x": "FP32 (?,)", "y": "FP32 (7,)"}) == ["FP32 (7,)", "FP32 (7,)", "FP32 (7,)"]


def test_two_that_swap_are_tied_by_nothing() -> None:
    """Sizes that change places may differ."""
    both = {"x": "x", "y": "y"}
    assert _loop("swap", {"x": "FP32 (2,)", "y": "FP32 (3,)"}, both)[:2] == ["FP32 (2,)", "FP32 (3,)"]


def test_text_is_text_from_the_start() -> None:
    """A body that reads text makes the loop's input text."""
    assert _loop("decode", {"x": "BYTES (N,)"}) == ["TEXT (N,)", "BYTES (N,)"]


@pytest.mark.parametrize(
    ("body", "inputs", "carry", "expected"),
    [
        (
            "other",
            {"x": "FP32 (N,)"},
            {"x": "x"},
            (
                "node again: edge other.x -> again.x: INT64 (N,) does not fit FP32 (N,): the datatypes differ; what "
                "is carried must be of the type of the input that it replaces"
            ),
        ),
        (
            "shrink",
            {"x": "FP32 (N, 2)"},
            {"x": "x"},
            (
                "node again: edge shrink.x -> again.x: FP32 (D,) does not fit FP32 (N, 2): the numbers of dimensions "
                "differ; what is carried must be of the type of the input that it replaces"
            ),
        ),
        (
            "broken",
            {"x": "FP32 (4,)"},
            {"x": "x"},
            (
                "node again: edge broken.x -> again.x: FP32 (5,) does not fit FP32 (4,): axis 0 must be 4 each time; "
                "make it so in a transform around broken"
            ),
        ),
        (
            "same",
            {"x": "FP32 (4, 4)"},
            {"x": "z"},
            "node again: edge same.z -> again.x: same gives no 'z', only x",
        ),
    ],
)
def test_what_does_not_fit_where_it_goes(
    body: str, inputs: dict[str, str], carry: dict[str, str], expected: str
) -> None:
    """The message names the edge that goes back, both types and the fix."""
    with pytest.raises(InvalidGraph) as caught:
        _loop(body, inputs, carry)
    assert caught.value.message == expected


def test_a_first_value_that_does_not_fit_is_the_edges_own_mistake() -> None:
    """What the loop is given must fit the body, as for any reader."""
    with pytest.raises(InvalidGraph, match=r"node again: input 'x' is FP32 \(3,\), but fixed needs axis 0 to be 4"):
        _loop("fixed", {"x": "FP32 (3,)"})
