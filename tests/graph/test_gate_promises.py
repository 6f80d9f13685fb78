"""What a graph promised its callers, and what breaks that."""

from __future__ import annotations

import dataclasses

import pytest

from graphmesh.graph.checks.promises import broken_promise
from tests.graph.typing_help import graph, model, signed

GRAPH = graph({"x": "", "z": ""}, (model("m", "x z"),), {"y": "m.y", "same": "z"})


def _broken(before: tuple[str, str, str], after: tuple[str, str, str]) -> str:
    """Return the message for types of x, z and y before and after; empty if the promise is kept."""
    promised, now = (signed({"x": x, "z": z}, {"y": y, "same": z}) for x, z, y in (before, after))
    error = broken_promise(GRAPH, promised, now)
    return error.message if error else ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("FP32 (N, 3)", "INT64 ()", "TEXT (N,)"), ("FP32 (M, 3)", "INT64 ()", "TEXT (M,)")),
        (("FP32 (N, 3)", "INT64 ()", "TEXT (N,)"), ("FP32 (M, D)", "INT64 ()", "TEXT (K,)")),
        (("FP32 (3, 3)", "INT64 ()", "TEXT (N,)"), ("FP32 (D, D)", "INT64 ()", "TEXT (7,)")),
        (("FP32 (N, ?)", "INT64 ()", "FP32 (10,)"), ("FP32 (?, ?)", "INT64 ()", "FP32 (K,)")),
    ],
)
def test_what_takes_as_much_and_gives_the_same_keeps_it(
    before: tuple[str, str, str], after: tuple[str, str, str]
) -> None:
    """Other names, open sizes where numbers were, numbers where outputs were open."""
    assert _broken(before, after) == ""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            ("FP32 (N, 3)", "INT64 ()", "TEXT (N,)"),
            ("FP32 (8, 3)", "INT64 ()", "TEXT (8,)"),
            (
                "edge x -> m.x: callers send FP32 (N, 3), which would not fit FP32 (8, 3); apply the graph anew to "
                "change what it takes"
            ),
        ),
        (
            ("FP32 (N, M)", "INT64 ()", "TEXT (N,)"),
            ("FP32 (N, N)", "INT64 ()", "TEXT (N,)"),
            (
                "edge x -> m.x: callers send FP32 (N, M), which would not fit FP32 (N, N), where axis 1 must now "
                "equal another size; apply the graph anew to change what it takes"
            ),
        ),
        (
            ("FP32 (?, ?)", "INT64 ()", "TEXT ()"),
            ("FP32 (N, N)", "INT64 ()", "TEXT ()"),
            (
                "edge x -> m.x: callers send FP32 (?, ?), which would not fit FP32 (N, N), where axis 1 must now "
                "equal another size; apply the graph anew to change what it takes"
            ),
        ),
        (
            ("FP32 (N,)", "INT64 (M,)", "TEXT ()"),
            ("FP32 (N,)", "INT64 (N,)", "TEXT ()"),
            (
                "edge z -> m.z: callers send INT64 (M,), which would not fit INT64 (N,), where axis 0 must now equal "
                "another size; apply the graph anew to change what it takes"
            ),
        ),
        (
            ("FP32 (N,)", "INT64 ()", "TEXT ()"),
            ("FP64 (N,)", "INT64 ()", "TEXT ()"),
            (
                "edge x -> m.x: callers send FP32 (N,), which would not fit FP64 (N,); apply the graph anew to change "
                "what it takes"
            ),
        ),
        (
            ("FP32 (N,)", "INT64 ()", "TEXT (N,)"),
            ("FP32 (N,)", "INT64 ()", "INT64 (N,)"),
            (
                "edge m.y -> output y: callers get TEXT (N,), but would get INT64 (N,); convert it in a transform "
                "before the output, or apply the graph anew to change it"
            ),
        ),
        (
            ("FP32 (N,)", "INT64 ()", "TEXT (N,)"),
            ("FP32 (N,)", "INT64 ()", "BYTES (N,)"),
            (
                "edge m.y -> output y: callers get TEXT (N,), but would get BYTES (N,); convert it in a transform "
                "before the output, or apply the graph anew to change it"
            ),
        ),
        (
            ("FP32 (N,)", "INT64 ()", "FP32 (10,)"),
            ("FP32 (N,)", "INT64 ()", "FP32 (20,)"),
            (
                "edge m.y -> output y: callers get FP32 (10,), but would get FP32 (20,); convert it in a transform "
                "before the output, or apply the graph anew to change it"
            ),
        ),
    ],
)
def test_what_fails_for_callers_breaks_it(
    before: tuple[str, str, str], after: tuple[str, str, str], expected: str
) -> None:
    """An input that takes less, an output of another type: edge, both types and what to do."""
    assert _broken(before, after) == expected


@pytest.mark.parametrize("streamed", [False, True])
def test_one_answer_and_a_stream_are_not_the_same(streamed: bool) -> None:  # noqa: FBT001
    """Callers of one do not understand the other."""
    promised = signed({"x": "FP32 ()", "z": "FP32 ()"}, {"y": "FP32 ()", "same": "FP32 ()"}, streaming=streamed)
    error = broken_promise(GRAPH, promised, dataclasses.replace(promised, streaming=not streamed))
    assert error is not None
    was, would = ("a stream of answers", "one answer") if streamed else ("one answer", "a stream")
    assert error.message == (
        f"graph g gives {was} for a request, but would give {would}, which its callers do not expect; apply the graph "
        "anew to change it"
    )
