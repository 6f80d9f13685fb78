"""Tensors of every datatype, as clients hold them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

EVERYTHING: dict[str, tuple[str, npt.NDArray[Any]]] = {
    "bool_": ("BOOL", np.array([True, False])),
    "uint8": ("UINT8", np.array([0, 2**8 - 1], np.uint8)),
    "uint16": ("UINT16", np.array([0, 2**16 - 1], np.uint16)),
    "uint32": ("UINT32", np.array([0, 2**32 - 1], np.uint32)),
    "uint64": ("UINT64", np.array([0, 2**64 - 1], np.uint64)),
    "int8": ("INT8", np.array([-(2**7), 2**7 - 1], np.int8)),
    "int16": ("INT16", np.array([-(2**15), 2**15 - 1], np.int16)),
    "int32": ("INT32", np.array([-(2**31), 2**31 - 1], np.int32)),
    "int64": ("INT64", np.array([-(2**63), 2**63 - 1], np.int64)),
    "fp16": ("FP16", np.array([-1.5, 65504], np.float16)),
    "fp32": ("FP32", np.array([-1.5, 1e38], np.float32)),
    "fp64": ("FP64", np.array([-1.5, 1e300], np.float64)),
    "bf16": ("BF16", np.array([-1.5, 2.0**127], ml_dtypes.bfloat16)),
    "bytes_": ("BYTES", np.array([b"", b"\x00\xff any"], np.object_)),
}
"""By the name of an input and output of `models.Echo`: datatype and values."""

JSON_TYPES = [name for name, (datatype, _) in EVERYTHING.items() if datatype not in {"FP16", "BF16"}]
"""Names of what the protocol's JSON can carry."""


def same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Return whether two tensors are equal in type, shape and values."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()
