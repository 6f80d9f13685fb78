"""What makes two calls equal: every byte that a model could see, and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphmesh.core.tensor import datatype_of, encode_raw
from graphmesh.graph.running.actions.content import digest

if TYPE_CHECKING:
    from graphmesh.core.inference import Parameter
    from graphmesh.core.tensor import Tensor


def _text(*elements: bytes) -> Tensor:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def _of(tensor: Tensor) -> bytes:
    return digest({"x": tensor}, {})


def test_equal_calls_have_equal_digests() -> None:
    """Other memory, another order of names, strides: the same."""
    x, y = np.arange(6, dtype=np.int32).reshape(2, 3), _text(b"a", b"b")
    assert digest({"x": x, "y": y}, {"k": 1, "l": "m"}) == digest({"y": y.copy(), "x": x.copy()}, {"l": "m", "k": 1})
    assert _of(x.T) == _of(np.ascontiguousarray(x.T))
    assert _of(x[:, ::2]) == _of(x[:, ::2].copy())
    assert _of(x.astype(">i4")) == _of(x)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4, np.int8), np.zeros((2, 2), np.int8)),
        (np.zeros(1, np.int8), np.zeros((), np.int8)),
        (np.zeros(4, np.int8), np.zeros(4, np.uint8)),
        (np.zeros(4, np.int8), np.zeros(1, np.int32)),
        (np.zeros((0, 2), np.int8), np.zeros((0, 3), np.int8)),
        (np.zeros(1, np.float16), np.zeros(1, ml_dtypes.bfloat16)),
        (np.array([0.0]), np.array([-0.0])),
        (_text(b"ab", b""), _text(b"a", b"b")),
        (_text(b""), _text()),
        (_text(b"a"), np.frombuffer(b"\x01\0\0\0a", np.uint8)),
    ],
)
def test_what_a_model_could_tell_apart_differs(one: Tensor, other: Tensor) -> None:
    """Shape, datatype, the sign of zero, where one text ends."""
    assert _of(one) != _of(other)


def test_nan_is_compared_by_its_bytes() -> None:
    """One NaN equals itself; another one does not."""
    quiet = np.array([math.nan], np.float32)
    other = (quiet.view(np.uint32) + 1).view(np.float32)
    assert _of(quiet) == _of(quiet.copy())
    assert _of(quiet) != _of(other)


def test_names_and_values_cannot_be_shifted_into_one_another() -> None:
    """Every part is led by its length."""
    tensor = np.zeros(1, np.int8)
    assert digest({"ab": tensor}, {}) != digest({"a": tensor}, {})
    assert digest({}, {"a": "b"}) != digest({}, {"ab": ""})
    assert digest({}, {"a": "1", "b": "2"}) != digest({}, {"a": "1', 'b': '2"})


def test_parameters_are_told_apart_by_their_types() -> None:
    """True, 1, 1.0 and '1' are equal in Python, except the last, and none is for a model."""
    values: list[Parameter] = [True, 1, 1.0, "1", "True"]
    assert len({digest({}, {"k": value}) for value in values}) == len(values)


_shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=2)
_tensors = st.one_of(
    arrays.arrays(np.int8, _shapes),
    arrays.arrays(np.float32, _shapes),
    arrays.arrays(np.bool_, _shapes),
    st.lists(st.binary(max_size=2), max_size=3).map(lambda elements: _text(*elements)),
)


@given(one=_tensors, other=_tensors)
def test_digests_are_equal_exactly_if_the_raw_forms_are(one: Tensor, other: Tensor) -> None:
    """Datatype, shape and raw bytes decide."""
    forms = [(datatype_of(tensor), tensor.shape, encode_raw(tensor)) for tensor in (one, other)]
    assert (_of(one) == _of(other)) == (forms[0] == forms[1])
