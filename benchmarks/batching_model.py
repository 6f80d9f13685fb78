"""The model that batching is measured with, and its offline throughput: ``python -m benchmarks.batching_model``.

Real computation on one core: matrix products of a fixed part and a part for each row, about 5 ms a row at 16 rows.
Threads of the linear algebra are the caller's choice (`OPENBLAS_NUM_THREADS`).
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Annotated, Any, TypedDict

import numpy as np

from graphmesh.worker import batched

__all__ = ["MAX_ROWS", "Dense"]

MAX_ROWS = 16
"""Rows of its largest batch, which is its best."""

_WIDTH = 384
_ROW_HEIGHT = 64
_FIXED_PRODUCTS = 25
_ROW_PRODUCTS = 24
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
_RUNS = 7

Rows = Annotated[np.ndarray[Any, Any], "FP32 (N, 4)"]


class Same(TypedDict):
    """The output."""

    y: Rows
    """The input, so that answers can be checked."""


class Dense:
    """As expensive as a small network: the first row of a batch costs five times as much as each further one."""

    def load(self) -> None:
        """Make the weights."""
        self._weights = np.full((_WIDTH, _WIDTH), 1 / _WIDTH, dtype=np.float32)

    @batched(max_batch_size=MAX_ROWS)
    def predict(self, x: Rows) -> Same:
        """Return x after the work of a batch of its rows."""
        fixed, rows = self._weights, np.ones((len(x) * _ROW_HEIGHT, _WIDTH), dtype=np.float32)
        for _ in range(_FIXED_PRODUCTS):
            fixed = fixed @ self._weights
        for _ in range(_ROW_PRODUCTS):
            rows = rows @ self._weights
        return {"y": x + (fixed[0, 0] * rows[0, 0] * np.float32(0))}


def offline() -> dict[int, float]:
    """Return the seconds that a batch takes by its rows, medians, with nothing around the model."""
    model = Dense()
    model.load()
    batches = {size: np.ones((size, 4), dtype=np.float32) for size in _SIZES}
    taken: dict[int, list[float]] = {size: [] for size in _SIZES}
    for _ in range(_RUNS):
        for size, batch in batches.items():
            started = time.perf_counter()
            model.predict(batch)
            taken[size].append(time.perf_counter() - started)
    return {size: statistics.median(seconds) for size, seconds in taken.items()}


if __name__ == "__main__":
    print(json.dumps(offline()))
