"""Tensors on their way to another process: inside the message while small, else in an arena; one copy a way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import InvalidTensor
from graphmesh.core.tensor import BYTES, DTYPES, Tensor, check_shape, datatype_of, decode_raw, encode_raw
from graphmesh.worker.isolation.messages import TensorMeta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Parcel", "pack", "read_tensors"]

_ALIGN = 64
_INLINE = 1 << 15
"""Larger ones are cheaper through an arena than through a socket, by a measurement."""


@dataclass(slots=True)
class Parcel:
    """Tensors, and where each of them goes."""

    metas: list[TensorMeta]
    """Where each is."""
    parts: list[bytes | Tensor]
    """The tensors; raw bytes of BYTES."""
    size: int
    """Bytes in all, gaps included."""

    @property
    def small(self) -> bool:
        """Whether it goes inside the message."""
        return self.size <= _INLINE

    def inline(self) -> bytes:
        """Return all of it."""
        into = np.empty(self.size, np.uint8)
        self.write(into)
        return into.tobytes()

    def write(self, into: Tensor) -> None:
        """Copy it into the bytes of an arena, each tensor once."""
        for meta, part in zip(self.metas, self.parts, strict=True):
            target = into[meta.offset : meta.offset + meta.length]
            if isinstance(part, bytes):
                target[...] = np.frombuffer(part, np.uint8)
            else:
                target.view(DTYPES[meta.datatype]).reshape(part.shape)[...] = part


def pack(tensors: Mapping[str, Tensor]) -> Parcel:
    """Return tensors with their places; nothing is copied yet but BYTES.

    Raises:
        InvalidTensor: a dtype that no datatype stands for (INVALID_ARGUMENT, retry: no).
    """
    parcel = Parcel([], [], 0)
    for name, array in tensors.items():
        datatype = datatype_of(array)
        part: bytes | Tensor = encode_raw(array) if datatype == BYTES else array
        length = len(part) if isinstance(part, bytes) else array.size * DTYPES[datatype].itemsize
        parcel.metas.append(TensorMeta(name, datatype, list(array.shape), parcel.size, length))
        parcel.parts.append(part)
        parcel.size += -(-length // _ALIGN) * _ALIGN
    return parcel


def read_tensors(metas: Sequence[TensorMeta], source: Tensor) -> dict[str, Tensor]:
    """Return the tensors in some bytes: read-only views that keep them alive, BYTES as fresh arrays.

    Raises:
        InvalidTensor: a place or size that cannot be (INVALID_ARGUMENT, retry: no).
    """
    return {meta.name: _read(meta, source) for meta in metas}


def _read(meta: TensorMeta, source: Tensor) -> Tensor:
    if meta.offset < 0 or meta.length < 0 or meta.offset + meta.length > len(source):
        raise InvalidTensor(f"tensor {meta.name!r} is not inside the memory it is said to be in")
    part = source[meta.offset : meta.offset + meta.length]
    if meta.datatype == BYTES:
        return decode_raw(meta.name, BYTES, meta.shape, part.tobytes())
    dtype = DTYPES.get(meta.datatype)
    if dtype is None or check_shape(meta.name, meta.shape) * dtype.itemsize != meta.length:
        raise InvalidTensor(f"tensor {meta.name!r}: {meta.datatype} of {meta.shape} does not fit {meta.length} bytes")
    return part.view(dtype).reshape(meta.shape)
