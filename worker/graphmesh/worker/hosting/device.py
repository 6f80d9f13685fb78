"""Tensors that stay on the device where a model made them, for another model there to take.

Between nodes of a graph that run in one process an output need not come to the host only to go back. The driver of the
graph names such outputs in `InferenceRequest.keep`; the model may give those as `DeviceTensor`, and a model on the same
device takes them. Everything else sees numpy arrays: whoever hands tensors to a model on the host, or out of the
process, calls `on_host` first. Frameworks are not known here: each backend has a `DeviceTensor` of its own.

A `DeviceTensor` is complete: whatever computes it has ended, so that any framework can read it, on any stream. A model
that keeps an output waits for its device, as it would if it copied; what is saved are the copies. It is never written
to: several nodes may read it.

Not done: copies from one device to another; those go through the host.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graphmesh.core.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AnyTensor", "DeviceTensor", "concatenate", "on_host"]


class DeviceTensor:
    """A tensor that a framework holds; a backend's subclass says how it is copied.

    What signatures are checked by (`dtype`, `shape`, `ndim`) is as in a numpy array, and costs no copy.
    """

    __slots__ = ("_host", "array", "device", "dtype", "shape")

    def __init__(self, array: Any, *, device: str, dtype: np.dtype[Any], shape: Sequence[int]) -> None:  # noqa: ANN401
        self.array = array
        """What the framework holds, in C order: a torch tensor, an `OrtValue` of ONNX Runtime."""
        self.device = device
        """Where it is, such as ``cuda:0``."""
        self.dtype = dtype
        """One of `graphmesh.core.tensor.DTYPES`."""
        self.shape = tuple(shape)
        self._host: Tensor | None = None

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size, bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def host(self) -> Tensor:
        """Return it as a numpy array in C order; copied by the first call, which waits for the copy."""
        if self._host is None:
            self._host = self._copy()
        return self._host

    def __getitem__(self, rows: slice) -> AnyTensor:
        """Return some of its rows, as batches are taken apart: a view on the device where the framework has views."""
        return self.host()[rows]

    @classmethod
    def join(cls, tensors: Sequence[Any]) -> AnyTensor:
        """Return tensors of this class and of one device, the rows of each below those of the one before."""
        return np.concatenate([tensor.host() for tensor in tensors])

    def _copy(self) -> Tensor:
        """Return it as a numpy array in C order."""
        raise NotImplementedError


AnyTensor: TypeAlias = Tensor | DeviceTensor
"""A tensor wherever it is."""


def on_host(tensors: Mapping[str, AnyTensor]) -> Mapping[str, Tensor]:
    """Return tensors as numpy arrays; the very same mapping if they all are.

    Tensors on a device are copied, which blocks the calling thread until the device is done.
    """
    for tensor in tensors.values():
        if isinstance(tensor, DeviceTensor):
            return {name: _host(tensor) for name, tensor in tensors.items()}
    return tensors  # type: ignore[return-value]  # mypy cannot see what the loop found


def concatenate(tensors: Sequence[AnyTensor]) -> AnyTensor:
    """Return tensors one below the other: on the device if all are of one framework and device there, else the host."""
    kinds = {(type(tensor), tensor.device) for tensor in tensors if isinstance(tensor, DeviceTensor)}
    if len(kinds) == 1 and all(isinstance(tensor, DeviceTensor) for tensor in tensors):
        return kinds.pop()[0].join(tensors)
    return np.concatenate([_host(tensor) for tensor in tensors])


def _host(tensor: AnyTensor) -> Tensor:
    return tensor.host() if isinstance(tensor, DeviceTensor) else tensor
