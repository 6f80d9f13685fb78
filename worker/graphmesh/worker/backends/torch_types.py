"""torch's dtypes and ours."""

from __future__ import annotations

from typing import Any

import torch

from graphmesh.core.errors import LoadFailed

__all__ = ["datatype"]

_DATATYPES = {
    torch.bool: "BOOL",
    torch.uint8: "UINT8",
    torch.uint16: "UINT16",
    torch.uint32: "UINT32",
    torch.uint64: "UINT64",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.float16: "FP16",
    torch.bfloat16: "BF16",
    torch.float32: "FP32",
    torch.float64: "FP64",
}


def datatype(name: str, tensor: Any) -> str:
    """Return the datatype of a tensor.

    Raises:
        LoadFailed: it is no tensor, or of a dtype that cannot be served.
    """
    found = _DATATYPES.get(getattr(tensor, "dtype", None))
    if found is None:
        raise LoadFailed(f"{name!r} must be a tensor of {', '.join(_DATATYPES.values())}, got {tensor!r}")
    return found
