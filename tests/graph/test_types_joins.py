"""Answers of branches that run side by side, as one."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Aggregate, Join, Parallel
from tests.graph.typing_help import graph, model, signed, step, typed

X = {"x": "FP32 (N, 4)"}
CATALOG = {
    "a": signed(X, {"p": "FP32 (N, 4)"}),
    "b": signed(X, {"p": "FP32 (N, 4)"}),
    "c": signed(X, {"p": "FP32 (N, 4)"}),
    "k": signed(X, {"p": "FP32 (K, 4)"}),
    "two": signed(X, {"p": "FP32 (2, 4)"}),
    "three": signed(X, {"p": "FP32 (3, 4)"}),
    "wide": signed(X, {"p": "FP32 (N, 5)"}),
    "ints": signed(X, {"p": "INT64 (N, 4)"}),
    "ints2": signed(X, {"p": "INT64 (N, 4)"}),
    "double": signed(X, {"p": "FP64 (N, 4)"}),
    "double2": signed(X, {"p": "FP64 (N, 4)"}),
    "half": signed(X, {"p": "BF16 (N, 4)"}),
    "half2": signed(X, {"p": "BF16 (N, 4)"}),
    "text": signed(X, {"p": "TEXT (N,)"}),
    "text2": signed(X, {"p": "BYTES (N,)"}),
    "text3": signed(X, {"p": "TEXT (N,)"}),
    "flags": signed(X, {"p": "BOOL (N,)"}),
    "flags2": signed(X, {"p": "BOOL (N,)"}),
    "scalar": signed(X, {"p": "FP32 ()"}),
    "scalar2": signed(X, {"p": "FP32 ()"}),
    "more": signed(X, {"p": "FP32 (N, 4)", "q": "FP32 (N,)"}),
    "more2": signed(X, {"p": "FP32 (N, 4)", "q": "TEXT (K,)"}),
}


def _join(
    *branches: str,
    aggregate: Aggregate,
    join: Join = Join.ALL,
    quorum: int = 0,
    x: str = "FP32 (N, 4)",
    read: str = "p",
) -> str:
    """Return the type of an output of a parallel step over these models."""
    kind = Parallel(branches=tuple(map(model, branches)), join=join, quorum=quorum, aggregate=aggregate)
    found = typed(graph({"x": x}, (step("both", kind, "x"),), {"y": f"both.{read}"}), CATALOG)
    return found.signature.outputs[0].type


@pytest.mark.parametrize(
    ("aggregate", "branches", "expected"),
    [
        (Aggregate.CONCAT, ("a", "b"), "FP32 (?, 4)"),
        (Aggregate.CONCAT, ("two", "three"), "FP32 (5, 4)"),
        (Aggregate.CONCAT, ("two", "k"), "FP32 (?, 4)"),
        (Aggregate.CONCAT, ("text", "text2"), "BYTES (?,)"),
        (Aggregate.MEAN, ("a", "b"), "FP32 (N, 4)"),
        (Aggregate.MEAN, ("ints", "ints2"), "FP32 (N, 4)"),
        (Aggregate.MEAN, ("half", "half2"), "FP32 (N, 4)"),
        (Aggregate.MEAN, ("double", "double2"), "FP64 (N, 4)"),
        (Aggregate.MAX, ("ints", "ints2"), "INT64 (N, 4)"),
        (Aggregate.MAX, ("two", "k"), "FP32 (2, 4)"),
        (Aggregate.VOTE, ("text", "text3"), "TEXT (N,)"),
        (Aggregate.VOTE, ("flags", "flags2"), "BOOL (N,)"),
        (Aggregate.MEAN, ("more", "more2"), "FP32 (N, 4)"),
    ],
)
def test_types_of_aggregates(aggregate: Aggregate, branches: tuple[str, ...], expected: str) -> None:
    """Element by element shapes are those of the branches; concatenated they add up along axis 0."""
    assert _join(*branches, aggregate=aggregate) == expected


def test_concatenated_sizes_that_are_learnt_later_add_up() -> None:
    """The sum is known once the parts are, also when a later step tells them."""
    assert _join("a", "b", aggregate=Aggregate.CONCAT, x="FP32 (6, 4)") == "FP32 (12, 4)"
    catalog = CATALOG | {"six": signed({"x": "FP32 (6, 4)"}, {"z": "FP32 ()"})}
    kind = Parallel(branches=(model("a"), model("b")), aggregate=Aggregate.CONCAT)
    nodes = (step("both", kind, "x"), model("six", "x"))
    found = typed(graph({"x": ""}, nodes, {"y": "both.p", "z": "six.z"}), catalog)
    assert found.signature.outputs[0].type == "FP32 (12, 4)"


def test_as_many_rows_as_answers() -> None:
    """A quorum of equal answers has a known length; whichever succeed do not; the first alone is as it is."""
    concat, x = Aggregate.CONCAT, "FP32 (6, 4)"
    assert _join("a", "b", "k", aggregate=concat, join=Join.QUORUM, quorum=2, x=x) == "FP32 (?, 4)"
    assert _join("a", "b", "c", aggregate=concat, join=Join.QUORUM, quorum=2, x=x) == "FP32 (12, 4)"
    assert _join("a", "b", "c", aggregate=concat, join=Join.QUORUM, quorum=3, x=x) == "FP32 (18, 4)"
    assert _join("a", "b", aggregate=concat, join=Join.ANY, x=x) == "FP32 (?, 4)"
    assert _join("a", "b", aggregate=Aggregate.ONE, join=Join.FIRST, x=x) == "FP32 (6, 4)"
    assert _join("two", "three", aggregate=Aggregate.ONE, join=Join.FIRST) == "FP32 (?, 4)"


@pytest.mark.parametrize(
    ("aggregate", "branches", "expected"),
    [
        (
            Aggregate.MERGE,
            ("a", "b"),
            (
                "node both: a and b both give 'p', but merged outputs must have different names; rename one with "
                "`outputs`, or say another `aggregate`"
            ),
        ),
        (
            Aggregate.MEAN,
            ("a", "more"),
            (
                "node both: more gives 'q', but a gives p; for aggregate mean all branches must give the same: "
                "rename with `outputs`"
            ),
        ),
        (
            Aggregate.MEAN,
            ("a", "ints"),
            (
                "edge both.p -> output y: node both: output 'p' is FP32 (N, 4) in a and INT64 (N, 4) in ints; make it "
                "one type by a transform in one of them, or name it apart with `outputs`"
            ),
        ),
        (
            Aggregate.MEAN,
            ("a", "wide"),
            (
                "edge both.p -> output y: node both: output 'p' is FP32 (N, 4) in a and FP32 (N, 5) in wide, but mean "
                "needs equal shapes; change one in a transform, or say another `aggregate`"
            ),
        ),
        (
            Aggregate.CONCAT,
            ("a", "wide"),
            (
                "edge both.p -> output y: node both: output 'p' is FP32 (N, 4) in a and FP32 (N, 5) in wide, but "
                "concat needs equal shapes after axis 0; change one in a transform, or say another `aggregate`"
            ),
        ),
        (
            Aggregate.CONCAT,
            ("scalar", "scalar2"),
            (
                "edge both.p -> output y: node both: output 'p' is FP32 (), but concat joins along axis 0; say "
                "aggregate mean, vote or max"
            ),
        ),
        (
            Aggregate.MEAN,
            ("text", "text2"),
            (
                "edge both.p -> output y: node both: output 'p' is TEXT (N,), but mean needs numbers; say aggregate "
                "vote or concat"
            ),
        ),
        (
            Aggregate.MAX,
            ("flags", "flags2"),
            (
                "edge both.p -> output y: node both: output 'p' is BOOL (N,), but max needs numbers; say aggregate "
                "vote or concat"
            ),
        ),
    ],
)
def test_answers_that_cannot_become_one(aggregate: Aggregate, branches: tuple[str, ...], expected: str) -> None:
    """The message names the step, the branches, their types and what to do."""
    with pytest.raises(InvalidGraph) as caught:
        _join(*branches, aggregate=aggregate)
    assert caught.value.message == expected


def test_sizes_of_what_nobody_reads_are_left_alone() -> None:
    """An output that is not read need not fit, and ties no sizes together."""
    catalog = {
        "a": signed({"x": "FP32 (N,)", "y": "FP32 (M,)"}, {"p": "FP32 ()", "q": "FP32 (N,)"}),
        "b": signed({"x": "FP32 (N,)", "y": "FP32 (M,)"}, {"p": "FP32 ()", "q": "FP32 (M,)"}),
    }
    kind = Parallel(branches=(model("a"), model("b")), aggregate=Aggregate.MEAN)
    found = typed(graph({"x": "", "y": ""}, (step("both", kind, "x y"),), {"p": "both.p"}), catalog)
    assert [spec.type for spec in found.signature.inputs] == ["FP32 (N,)", "FP32 (M,)"]
    found = typed(graph({"x": "", "y": ""}, (step("both", kind, "x y"),), {"q": "both.q"}), catalog)
    assert len({spec.type for spec in found.signature.inputs}) == 1
