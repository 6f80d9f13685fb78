"""Models that real clients call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator  # noqa: TC003 - the signature is read from it
from typing import Annotated, TypedDict

import numpy as np

from graphmesh.core.errors import InvalidRequest
from graphmesh.worker import batched

Vector = Annotated[np.ndarray, "FP32 (N,)"]


class Sum(TypedDict):
    """The only output."""

    y: Vector


class Add:
    """Adds a number."""

    def __init__(self, *, amount: float = 1.0) -> None:
        self._amount = np.float32(amount)

    def predict(self, x: Vector) -> Sum:
        """Return ``x`` plus the amount, shape ``(N,)``."""
        return {"y": x + self._amount}


class Batched:
    """Adds one, several calls at once."""

    @batched(max_batch_size=8, max_delay_ms=1)
    def predict(self, x: Vector) -> Sum:
        """Return ``x + 1``, shape ``(N,)``."""
        return {"y": x + np.float32(1)}


class All(TypedDict):
    """One tensor of every datatype."""

    bool_: Annotated[np.ndarray, "BOOL (N,)"]
    uint8: Annotated[np.ndarray, "UINT8 (N,)"]
    uint16: Annotated[np.ndarray, "UINT16 (N,)"]
    uint32: Annotated[np.ndarray, "UINT32 (N,)"]
    uint64: Annotated[np.ndarray, "UINT64 (N,)"]
    int8: Annotated[np.ndarray, "INT8 (N,)"]
    int16: Annotated[np.ndarray, "INT16 (N,)"]
    int32: Annotated[np.ndarray, "INT32 (N,)"]
    int64: Annotated[np.ndarray, "INT64 (N,)"]
    fp16: Annotated[np.ndarray, "FP16 (N,)"]
    fp32: Annotated[np.ndarray, "FP32 (N,)"]
    fp64: Annotated[np.ndarray, "FP64 (N,)"]
    bf16: Annotated[np.ndarray, "BF16 (N,)"]
    bytes_: Annotated[np.ndarray, "BYTES (N,)"]


class Echo:
    """Gives every datatype back."""

    def predict(self, tensors: All) -> All:
        """Return what came."""
        return tensors


class Text(TypedDict):
    """What `Upper` gives."""

    upper: Annotated[np.ndarray, "TEXT (N,)"]


class Upper:
    """Text to text."""

    def predict(self, text: Annotated[np.ndarray, "TEXT (N,)"]) -> Text:
        """Return the texts in capitals, shape ``(N,)``."""
        return {"upper": np.array([line.upper() for line in text], dtype=object)}


class Shapes(TypedDict):
    """What `Reshape` gives."""

    scalar: Annotated[np.ndarray, "INT64 ()"]
    rows: Annotated[np.ndarray, "UINT8 (N, M)"]


class Reshape:
    """Any shape of bytes, zero sizes too, and a scalar."""

    async def predict(self, tensors: Shapes) -> Shapes:
        """Return what came."""
        return tensors


class Slow:
    """Sleeps, and counts who was cancelled."""

    cancelled = 0

    async def predict(self, seconds: float) -> int:
        """Return how many calls were cancelled so far."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            type(self).cancelled += 1
            raise
        return type(self).cancelled


class Fails:
    """Raises what it is told to."""

    async def predict(self, text: str) -> str:
        """Raise InvalidRequest with the text, or what no client may read."""
        if text:
            raise InvalidRequest(text)
        raise RuntimeError("secret path /etc/secret")


class Count:
    """Streams numbers."""

    def predict(self, n: int) -> Iterator[int]:
        """Yield 0 to ``n`` - 1."""
        yield from range(n)


class Fragile:
    """Can be loaded while a file is there."""

    def __init__(self, *, path: str) -> None:
        self._path = path

    def load(self) -> None:
        """Read the file."""
        with open(self._path) as file:  # noqa: PTH123 - as plain as authors write it
            file.read()

    def predict(self, x: Vector) -> Sum:
        """Return what came."""
        return {"y": x}
