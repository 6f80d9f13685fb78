"""torch's dtypes and tensors, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from graphmesh.core.errors import LoadFailed
from graphmesh.core.tensor import DTYPES
from graphmesh.worker.backends.torch import to_array
from graphmesh.worker.hosting.device import DeviceTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.hosting.device import AnyTensor

__all__ = ["TorchTensor", "datatype", "kept", "lent"]

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


class TorchTensor(DeviceTensor):
    """A torch tensor in C order; its rows are views, and several are joined on the device."""

    __slots__ = ()

    def __getitem__(self, rows: slice) -> AnyTensor:
        """Return a view of some rows, which keeps the whole in memory."""
        return _wrapped(self.array[rows], self)

    @classmethod
    def join(cls, tensors: Sequence[Any]) -> AnyTensor:
        """Return the rows of all; one copy on the device."""
        with torch.inference_mode():
            joined = _wrapped(torch.cat([tensor.array for tensor in tensors]), tensors[0])
        if joined.array.is_cuda:
            torch.cuda.current_stream(joined.array.device).synchronize()
        return joined

    def _copy(self) -> Tensor:
        return to_array(self.array)


def _wrapped(tensor: Any, like: DeviceTensor) -> TorchTensor:
    return TorchTensor(tensor, device=like.device, dtype=like.dtype, shape=tensor.shape)


def kept(tensor: Any, device: str) -> TorchTensor | None:
    """Return an output as it is, or None if it must come to the host: elsewhere, sparse, or of a dtype we have not.

    It is complete once the stream is synchronised, which is the caller's to do.
    """
    if str(tensor.device) != device or tensor.layout is not torch.strided or tensor.dtype not in _DATATYPES:
        return None
    dense = tensor.detach().resolve_neg().contiguous()
    return TorchTensor(dense, device=device, dtype=DTYPES[_DATATYPES[tensor.dtype]], shape=dense.shape)


def lent(tensor: DeviceTensor) -> Any | None:
    """Return what another model kept as a torch tensor in the same memory, or None if its framework cannot lend it."""
    if isinstance(tensor, TorchTensor):
        return tensor.array
    try:
        taken = torch.from_dlpack(tensor.array)
    except Exception:  # noqa: BLE001 - frameworks and their versions say no in many ways; the host always works
        return None
    known = str(taken.device) == tensor.device and DTYPES.get(_DATATYPES.get(taken.dtype, "")) is tensor.dtype
    return taken if known else None
