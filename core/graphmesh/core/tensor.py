"""Datatypes of the Open Inference Protocol, their numpy dtypes, and tensors as raw bytes.

Raw form: row-major (C order), little-endian, no padding; a BYTES element is a 4-byte little-endian length and its
bytes. A BYTES tensor is a numpy ``object`` array of ``bytes`` inside. numpy has no BF16 of its own; `ml_dtypes` adds
one, so that a BF16 tensor is an array like any other: its dtype alone says what it is, and one can compute with it.
Specification: Open Inference Protocol v2, "Tensor Data" (it leaves the byte order open; Triton's clients fix it).
"""

from __future__ import annotations

import math
import struct
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import ml_dtypes
import numpy as np

from graphmesh.core.errors import InvalidTensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "BYTES",
    "DTYPES",
    "RAW_ONLY",
    "Tensor",
    "check_shape",
    "datatype_of",
    "decode_raw",
    "encode_raw",
    "is_float",
    "itemsize",
]

Tensor: TypeAlias = np.ndarray[Any, Any]
"""A numpy array; BYTES tensors have dtype ``object`` and hold ``bytes``."""

BYTES = "BYTES"

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    BYTES: np.dtype(object),
}
"""Datatype names and the numpy dtype of each."""

RAW_ONLY = frozenset({"FP16", "BF16"})
"""Datatypes that the protocol carries as raw bytes alone: they have no typed contents and no JSON form."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MAX_RANK = 32
_MAX_EMPTY = 1 << 40
_LENGTH = struct.Struct("<I")
_LITTLE = sys.byteorder == "little"


def datatype_of(array: Tensor) -> str:
    """Return the datatype name of an array.

    Raises:
        InvalidTensor: no datatype stands for the array's dtype (INVALID_ARGUMENT, retry: no).
    """
    name = _NAMES.get(array.dtype)
    if name is None:
        name = BYTES if array.dtype.kind in "SU" else _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise InvalidTensor(f"dtype must be one of {', '.join(DTYPES)} in numpy's spelling, got {array.dtype}")
    return name


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype of `DTYPES` holds fractions."""
    return dtype.kind == "f" or dtype == DTYPES["BF16"]


def itemsize(datatype: str) -> int | None:
    """Return the bytes of one element; None for BYTES.

    Raises:
        InvalidTensor: an unknown datatype (INVALID_ARGUMENT, retry: no).
    """
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise InvalidTensor(f"datatype must be one of {', '.join(DTYPES)}, got {datatype[:40]!r}")
    return None if datatype == BYTES else dtype.itemsize


def check_shape(name: str, shape: Sequence[int]) -> int:
    """Return the number of elements of a request's shape, computed without overflow.

    Raises:
        InvalidTensor: a negative or absurd dimension, or more than 32 of them (INVALID_ARGUMENT, retry: no).
    """
    if len(shape) > _MAX_RANK:
        raise InvalidTensor(f"tensor {name!r}: at most {_MAX_RANK} dimensions, got {len(shape)}")
    if shape and min(shape) < 0:
        raise InvalidTensor(f"tensor {name!r}: dimensions must not be negative, got {list(shape)}")
    count = math.prod(shape)
    # Data bounds the count of any other tensor; an empty one could claim sizes that numpy cannot hold.
    if not count and math.prod(filter(None, shape)) > _MAX_EMPTY:
        raise InvalidTensor(f"tensor {name!r}: dimensions are too large, got {list(shape)}")
    return count


def decode_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    """Return the array that raw bytes stand for.

    It is read-only. Fixed-size datatypes: a view of ``raw``, no copy. BYTES: a fresh object array. All checks come
    before any allocation.

    Raises:
        InvalidTensor: unknown datatype, bad shape, or a length that does not match them; names the tensor
            (INVALID_ARGUMENT, retry: no).
    """
    size = itemsize(datatype)
    count = check_shape(name, shape)
    if size is None:
        return _decode_bytes(name, count, shape, raw)
    if len(raw) != count * size:
        raise InvalidTensor(
            f"tensor {name!r}: {datatype} of shape {list(shape)} takes {count * size} bytes, got {len(raw)}"
        )
    return np.frombuffer(raw, dtype=DTYPES[datatype]).reshape(shape)


def _decode_bytes(name: str, count: int, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    if count * 4 > len(raw):
        raise InvalidTensor(f"tensor {name!r}: {count} BYTES elements take at least {count * 4} bytes, got {len(raw)}")
    data, position, end = bytes(raw), 0, len(raw)  # no copy of bytes
    elements: list[bytes] = []
    for index in range(count):
        start = position + 4
        if start > end:
            raise InvalidTensor(f"tensor {name!r}: BYTES element {index} starts past the end at byte {position}")
        length: int = _LENGTH.unpack_from(data, position)[0]
        position = start + length
        if position > end:
            raise InvalidTensor(f"tensor {name!r}: BYTES element {index} of length {length} goes past the end")
        elements.append(data[start:position])
    if position != end:
        raise InvalidTensor(f"tensor {name!r}: {end - position} bytes left over after {count} BYTES elements")
    array = np.empty(count, dtype=object)
    array[:] = elements
    array.flags.writeable = False
    return array.reshape(shape)


def encode_raw(array: Tensor) -> bytes:
    """Return the raw bytes of an array; one copy for fixed-size datatypes.

    Raises:
        InvalidTensor: no datatype stands for the array's dtype (INVALID_ARGUMENT, retry: no).
    """
    if datatype_of(array) == BYTES:
        return _encode_bytes(array.ravel())
    if not _LITTLE or array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def _encode_bytes(elements: Iterable[Any]) -> bytes:
    parts: list[bytes] = []
    for element in elements:
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)
