"""The model that every system serves: ``y = x + 1``, so that what is measured is the serving."""

from __future__ import annotations

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
