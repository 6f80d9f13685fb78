"""Models that the end-to-end tests host."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, TypedDict

import numpy as np

from graphmesh.core.errors import InvalidRequest

Vector = Annotated[np.ndarray, "FP32 (N,)"]


class Answer(TypedDict):
    """What `Slow` gives."""

    y: Vector
    pid: Annotated[np.ndarray, "INT64 ()"]


class Slow:
    """Adds one after a pause that costs no CPU, and tells which process it is."""

    def __init__(self, *, pause_s: float = 0.02) -> None:
        self._pause_s = pause_s

    async def predict(self, x: Vector) -> Answer:
        """Return ``x + 1``, shape ``(N,)``."""
        await asyncio.sleep(self._pause_s)
        return {"y": x + 1, "pid": np.array(os.getpid())}


class Sum(TypedDict):
    """What `Add` gives."""

    y: Vector


class Add:
    """Adds a number."""

    def __init__(self, *, amount: float = 1.0) -> None:
        self._amount = np.float32(amount)

    def predict(self, x: Vector) -> Sum:
        """Return ``x`` plus the amount, shape ``(N,)``."""
        return {"y": x + self._amount}


class Greeting(TypedDict):
    """What `Greet` gives."""

    greeting: str


class Greet:
    """Greets by name."""

    async def predict(self, name: str) -> Greeting:
        """Return a greeting."""
        if not name:
            raise InvalidRequest("name must not be empty")
        return {"greeting": f"Hello {name}!"}


class Broken:
    """Raises what a model must never let out."""

    def predict(self, x: Vector) -> Sum:
        """Fail with a text that no client may see."""
        raise RuntimeError(f"secret path /etc/secret, {x.shape}")


class Whole(TypedDict):
    """What `AddWhole` gives."""

    y: Annotated[np.ndarray, "INT64 (N,)"]


class AddWhole:
    """Adds a number to whole numbers: what `Add` does, by another contract."""

    def __init__(self, *, amount: int = 1) -> None:
        self._amount = amount

    def predict(self, x: Annotated[np.ndarray, "INT64 (N,)"]) -> Whole:
        """Return ``x`` plus the amount, shape ``(N,)``."""
        return {"y": x + self._amount}
