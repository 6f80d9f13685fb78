"""Tensors as raw bytes: round trips, and every lie a tensor can tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphmesh.core.errors import InvalidTensor
from graphmesh.core.tensor import BYTES, DTYPES, datatype_of, decode_raw, encode_raw, itemsize

_FIXED = [dtype for name, dtype in DTYPES.items() if name not in {BYTES, "BF16"}]


@given(st.sampled_from(_FIXED).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))))
def test_fixed_size_round_trip(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    """Raw bytes of any fixed-size tensor, scalars and zero sizes included, give the same tensor back."""
    raw = encode_raw(array)
    again = decode_raw("x", datatype_of(array), array.shape, raw)
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=0, min_side=0)))
def test_bf16_round_trip(bits: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> None:
    """BF16 tensors of any bits, NaNs included, keep them, and are the upper halves of single precision."""
    array = bits.view(DTYPES["BF16"])
    raw = encode_raw(array)
    again = decode_raw("x", "BF16", bits.shape, raw)
    assert datatype_of(again) == "BF16"
    assert again.view(np.uint16).tolist() == bits.tolist()
    singles = np.asarray(bits.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(again.astype(np.float32), singles, equal_nan=True)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_bytes_round_trip(elements: list[bytes]) -> None:
    """BYTES elements come back as they went, empty ones too."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    assert list(decode_raw("x", BYTES, array.shape, encode_raw(array))) == elements


def test_text_is_encoded_as_utf8() -> None:
    """A str element travels as its UTF-8 bytes."""
    array = np.array(["grün"], dtype=object)
    assert decode_raw("x", BYTES, (1,), encode_raw(array))[0] == "grün".encode()


def test_big_endian_is_turned() -> None:
    """An array in the other byte order travels little-endian."""
    assert encode_raw(np.array([1], dtype=">i4")) == b"\x01\0\0\0"


def test_non_contiguous_is_row_major() -> None:
    """A transposed view travels in row-major order."""
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert decode_raw("x", "INT32", (3, 2), encode_raw(array)).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "expected"),
    [
        ("FP32", [2], b"1234567", "takes 8 bytes, got 7"),
        ("FP32", [-1], b"", "must not be negative"),
        ("FP32", [2**62, 2**62], b"", f"takes {2**124 * 4} bytes, got 0"),
        ("FP32", [1] * 33, b"1234", "at most 32 dimensions"),
        ("COMPLEX", [1], b"1", "datatype must be one of"),
        (BYTES, [2], b"\0\0\0\0\xff\xff\xff\x7f", "goes past the end"),
        (BYTES, [1], b"\x01\0\0", "at least 4 bytes"),
        (BYTES, [2], b"\x04\0\0\0abcd", "starts past the end"),
        (BYTES, [1], b"\0\0\0\0rest", "4 bytes left over"),
        (BYTES, [2**60], b"", "take at least"),
    ],
)
def test_lies_are_refused_before_any_allocation(datatype: str, shape: list[int], raw: bytes, expected: str) -> None:
    """A length, shape or datatype that does not hold is refused with the tensor's name."""
    with pytest.raises(InvalidTensor, match=expected) as caught:
        decode_raw("pixels", datatype, shape, raw)
    assert datatype == "COMPLEX" or "'pixels'" in caught.value.message


def test_decoding_makes_no_copy() -> None:
    """A fixed-size tensor is a view of the message's bytes."""
    raw = bytes(64)
    assert np.shares_memory(decode_raw("x", "FP32", (16,), raw), np.frombuffer(raw, dtype=np.uint8))


def test_unknown_dtype() -> None:
    """An array that no datatype stands for is refused."""
    with pytest.raises(InvalidTensor, match="complex128"):
        datatype_of(np.zeros(1, dtype=complex))


def test_sizes() -> None:
    """Every fixed-size datatype knows its size; BYTES has none."""
    assert {name: itemsize(name) for name in ("BOOL", "FP16", "INT64", BYTES)} == {
        "BOOL": 1,
        "FP16": 2,
        "INT64": 8,
        BYTES: None,
    }
