"""The model that every system serves: ``y = x + 1``, so that what is measured is the serving; and two that sleep."""

from __future__ import annotations

import time
from typing import Annotated, Any, TypedDict

import numpy as np

Vector = Annotated[np.ndarray[Any, Any], "FP32 (N,)"]


class Sum(TypedDict):
    """The output."""

    y: Vector
    """The input plus one."""


class Add:
    """Adds one on the event loop."""

    async def predict(self, x: Vector) -> Sum:
        """Return ``x + 1``, FP32, shape ``(N,)``."""
        return {"y": x + np.float32(1)}


class AddSync:
    """Adds one on a thread."""

    def predict(self, x: Vector) -> Sum:
        """Return ``x + 1``, FP32, shape ``(N,)``."""
        return {"y": x + np.float32(1)}


_PAUSE_S = 0.005


class Slow:
    """Adds one on a thread, after 5 ms that cost no CPU."""

    def predict(self, x: Vector) -> Sum:
        """Return ``x + 1``, FP32, shape ``(N,)``."""
        time.sleep(_PAUSE_S)
        return {"y": x + np.float32(1)}


class SlowSum:
    """Adds two numbers on a thread, after 5 ms that cost no CPU."""

    def predict(self, a: Vector, b: Vector) -> Sum:
        """Return ``(a + b) / 2 + 2``, FP32, shape ``(N,)``."""
        time.sleep(_PAUSE_S)
        return {"y": (a + b) / np.float32(2) + np.float32(2)}
