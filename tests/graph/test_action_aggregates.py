"""Answers become one: values, datatypes, ties, and what does not go together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphmesh.core.errors import ModelFailed
from graphmesh.graph.running.actions.aggregates import aggregate
from graphmesh.graph.spec import Aggregate

if TYPE_CHECKING:
    from graphmesh.core.tensor import Tensor

NAN = math.nan


def _join(how: Aggregate, *tensors: Tensor) -> Tensor:
    answers = [(chr(97 + index), {"y": tensor}) for index, tensor in enumerate(tensors)]
    return aggregate(how, answers, ("y",))["y"]


def _text(*elements: bytes) -> Tensor:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def _floats(*values: float) -> Tensor:
    return np.array(values, dtype=np.float32)


def test_concat_joins_along_axis_0() -> None:
    """Lengths may differ, everything else may not; text, too."""
    joined = _join(Aggregate.CONCAT, np.zeros((1, 2), np.int8), np.ones((2, 2), np.int8), np.zeros((0, 2), np.int8))
    assert joined.tolist() == [[0, 0], [1, 1], [1, 1]]
    assert joined.dtype == np.int8
    assert _join(Aggregate.CONCAT, _text(b"a"), _text(b"b")).tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float32),
        (ml_dtypes.bfloat16, np.float32),
        (np.int64, np.float32),
        (np.uint8, np.float32),
        (np.bool_, np.float32),
    ],
)
def test_the_mean_is_fp64_for_fp64_and_fp32_for_all_others(dtype: Any, expected: type) -> None:  # noqa: ANN401
    """Numbers do not overflow on the way."""
    joined = _join(Aggregate.MEAN, np.array([1, 0], dtype=dtype), np.array([1, 1], dtype=dtype))
    assert joined.dtype == expected
    assert joined.tolist() == [1.0, 0.5]


def test_the_mean_of_small_integers_does_not_overflow() -> None:
    """255 and 255 is 255, not 127."""
    assert _join(Aggregate.MEAN, np.array([255], np.uint8), np.array([255], np.uint8)).tolist() == [255.0]


def test_the_mean_follows_ieee_754() -> None:
    """Infinities and values too large for FP32 have answers; nothing warns."""
    joined = _join(Aggregate.MEAN, _floats(math.inf, math.inf, NAN), _floats(-math.inf, 1, 1))
    assert math.isnan(joined[0])
    assert joined[1] == math.inf
    assert math.isnan(joined[2])
    assert _join(Aggregate.MEAN, *[np.array([2**63], np.uint64)] * 2).tolist() == [2.0**63]


def test_text_has_no_mean() -> None:
    """The error says what to use instead."""
    with pytest.raises(ModelFailed, match=r"output 'y' of a, b is BYTES, which has no mean; use vote"):
        _join(Aggregate.MEAN, _text(b"a"), _text(b"b"))


def test_a_vote_is_counted_for_each_element() -> None:
    """Two of three win, whoever they are; also of text."""
    votes = [np.array(row) for row in ([1, 5, 7], [2, 5, 8], [2, 6, 7])]
    assert _join(Aggregate.VOTE, *votes).tolist() == [2, 5, 7]
    assert _join(Aggregate.VOTE, _text(b"cat"), _text(b"dog"), _text(b"dog")).tolist() == [b"dog"]


def test_a_tie_goes_to_the_branch_written_first() -> None:
    """Also if a later one reaches the same number."""
    votes = [np.array([value]) for value in (3, 1, 1, 2, 2)]
    assert _join(Aggregate.VOTE, *votes).tolist() == [1]
    assert _join(Aggregate.VOTE, _text(b"b"), _text(b"a")).tolist() == [b"b"]


def test_nan_has_no_vote_against_numbers() -> None:
    """NaN equals nothing: one number outvotes it."""
    assert _join(Aggregate.VOTE, _floats(NAN), _floats(NAN), _floats(2)).tolist() == [2.0]


def test_the_largest_is_taken_for_each_element() -> None:
    """NaN is passed on; BOOL is true if one is."""
    joined = _join(Aggregate.MAX, _floats(1, NAN, 3), _floats(2, 1, 1))
    assert joined[0] == 2
    assert math.isnan(joined[1])
    assert joined[2] == 3
    bfloat = _join(Aggregate.MAX, *(np.array([value], dtype=ml_dtypes.bfloat16) for value in (1, NAN)))
    assert math.isnan(float(bfloat[0]))
    assert _join(Aggregate.MAX, np.array([True, False]), np.array([False, False])).tolist() == [True, False]
    assert _join(Aggregate.MAX, _text(b"ab"), _text(b"b")).tolist() == [b"b"]


@pytest.mark.parametrize("how", [Aggregate.MEAN, Aggregate.VOTE, Aggregate.MAX])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0)])
def test_scalars_and_empty_tensors_keep_their_shape(how: Aggregate, shape: tuple[int, ...]) -> None:
    """Nothing becomes a numpy scalar, and nothing of nothing is nothing."""
    tensor = np.zeros(shape, dtype=np.float64)
    joined = _join(how, tensor, tensor)
    assert isinstance(joined, np.ndarray)
    assert joined.shape == shape


@pytest.mark.parametrize("how", [Aggregate.VOTE, Aggregate.MAX])
def test_scalar_text_stays_an_array(how: Aggregate) -> None:
    """A BYTES scalar is an object array of shape ()."""
    joined = _join(how, np.array(b"a", dtype=object), np.array(b"a", dtype=object))
    assert joined.dtype == object
    assert joined.shape == ()
    assert joined.item() == b"a"


def test_a_scalar_cannot_be_concatenated() -> None:
    """The error names the branch."""
    with pytest.raises(ModelFailed, match=r"output 'y' of b is a scalar, which has no axis 0"):
        _join(Aggregate.CONCAT, _floats(1), np.array(1, np.float32))


@pytest.mark.parametrize("how", [Aggregate.CONCAT, Aggregate.MEAN, Aggregate.VOTE, Aggregate.MAX])
@pytest.mark.parametrize("other", [np.zeros((1, 3), np.float32), np.zeros((1, 2), np.int32), np.zeros(2, np.float32)])
def test_what_does_not_go_together_is_refused(how: Aggregate, other: Tensor) -> None:
    """Another size, datatype or rank: the error shows both and names both branches."""
    with pytest.raises(
        ModelFailed, match=r"output 'y' must have one datatype and shape.*FP32 \[1, 2\] of a and .* of b"
    ):
        _join(how, np.zeros((1, 2), np.float32), other)


def test_merged_outputs_are_side_by_side() -> None:
    """Tensors are passed on as they are; only what is wanted."""
    tensor = _floats(1)
    answers = [("a", {"x": tensor}), ("b", {"y": _floats(2), "z": _floats(3)})]
    merged = aggregate(Aggregate.MERGE, answers, ("x", "y"))
    assert merged.keys() == {"x", "y"}
    assert merged["x"] is tensor
    assert aggregate(Aggregate.MERGE, answers, ()).keys() == {"x", "y", "z"}


def test_an_output_that_no_branch_gives_is_refused() -> None:
    """The error says what there is."""
    with pytest.raises(ModelFailed, match=r"the answer of a, b has no output 'z', only x, y"):
        aggregate(Aggregate.MERGE, [("a", {"x": _floats(1)}), ("b", {"y": _floats(1)})], ("z",))
    with pytest.raises(ModelFailed, match=r"the answer of b has no output 'x', only y"):
        aggregate(Aggregate.CONCAT, [("a", {"x": _floats(1)}), ("b", {"y": _floats(1)})], ("x",))


_parts = st.integers(1, 5).flatmap(
    lambda count: st.lists(arrays.arrays(np.int8, (3,), elements=st.integers(-2, 2)), min_size=count, max_size=count)
)


@given(parts=_parts)
def test_votes_means_and_maxima_are_those_of_each_element_alone(parts: list[Tensor]) -> None:
    """The same as counting by hand, and the answers are left as they were."""
    before = [part.copy() for part in parts]
    columns = [[int(part[index]) for part in parts] for index in range(3)]
    assert _join(Aggregate.VOTE, *parts).tolist() == [max(column, key=column.count) for column in columns]
    assert _join(Aggregate.MAX, *parts).tolist() == [max(column) for column in columns]
    means = [sum(column) / len(column) for column in columns]
    assert _join(Aggregate.MEAN, *parts).tolist() == pytest.approx(means)
    assert [part.tolist() for part in parts] == [part.tolist() for part in before]
