"""ONNX Runtime's types and tensors, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import InvalidRequest, LoadFailed
from graphmesh.core.signature import Dimension, TensorSpec, parse_dimension
from graphmesh.core.tensor import BYTES, DTYPES
from graphmesh.worker.hosting.device import DeviceTensor

if TYPE_CHECKING:
    import numpy as np

    from graphmesh.core.tensor import Tensor

__all__ = ["OrtTensor", "dtype_of", "on_device", "read_spec"]

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16",
    "tensor(string)": BYTES,
}


def read_spec(node: Any) -> TensorSpec:
    """Return what an input or output of a session is.

    Raises:
        LoadFailed: it is no tensor, or of a datatype that cannot be served.
    """
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise LoadFailed(f"{node.name!r} is a {node.type}; only tensors of {', '.join(_DATATYPES)} can be served")
    shape = tuple(_dimension(size) for size in node.shape)
    return TensorSpec(name=node.name, datatype=datatype, shape=shape, text=datatype == BYTES)


def _dimension(size: object) -> Dimension:
    """Return a number, a name, or None for what the file leaves open or names beyond our rules."""
    if isinstance(size, int):
        return size if size >= 0 else None
    try:
        return parse_dimension(size) if isinstance(size, str) else None
    except InvalidRequest:
        return None


class OrtTensor(DeviceTensor):
    """A value of ONNX Runtime; the runtime has no views of one, so rows of it are taken on the host."""

    __slots__ = ()

    def _copy(self) -> Tensor:
        array: Tensor = self.array.numpy()
        return array


def dtype_of(value: Any) -> np.dtype[Any] | None:
    """Return a value's dtype; None if it has none of ours."""
    return DTYPES.get(_DATATYPES.get(value.data_type(), ""))


def on_device(value: Any, session: Any, device: str) -> OrtTensor:
    """Return an output of a session as it is."""
    value.session = session  # its memory goes back to the session, which may have been unloaded by then
    dtype = DTYPES[_DATATYPES[value.data_type()]]
    return OrtTensor(value, device=device, dtype=dtype, shape=value.shape())
