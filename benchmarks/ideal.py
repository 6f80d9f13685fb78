"""The ideal batcher, simulated: no overhead, the measured cost curve, the arrivals that the worker had.

One instance. Idle, it takes everything that waits, up to a full batch, at once. Nothing can know the future, so nothing
that dispatches at once when idle does better on the same arrivals.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Curve", "percentile", "simulate"]


class Curve:
    """Seconds of a batch by its rows, interpolated between the sizes that were measured."""

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self._rows = sorted(seconds)
        self._seconds = [seconds[rows] for rows in self._rows]

    def __call__(self, rows: int) -> float:
        """Return the seconds of a batch; the largest measured size is the most there is."""
        index = bisect_left(self._rows, rows)
        if self._rows[index] == rows or index == 0:
            return self._seconds[index]
        low, high = self._rows[index - 1], self._rows[index]
        part = (rows - low) / (high - low)
        return self._seconds[index - 1] + part * (self._seconds[index] - self._seconds[index - 1])

    @property
    def best_rate(self) -> float:
        """Rows a second of batches of the best size."""
        return max(rows / seconds for rows, seconds in zip(self._rows, self._seconds, strict=True))


def simulate(arrivals: Sequence[float], curve: Curve, max_rows: int) -> list[float]:
    """Return each call's latency, in the order of the arrivals; a call has one row."""
    latencies: list[float] = []
    waiting: deque[float] = deque(arrivals)
    free = 0.0
    while waiting:
        begin = max(free, waiting[0])
        batch = [waiting.popleft()]
        while waiting and waiting[0] <= begin and len(batch) < max_rows:
            batch.append(waiting.popleft())
        free = begin + curve(len(batch))
        latencies += [free - arrival for arrival in batch]
    return latencies


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that ``part`` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
