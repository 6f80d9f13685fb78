"""How long a batch takes by its cost, learned while it serves.

One point for each power of two of cost: the mean cost and the mean time of recent batches, old ones forgotten
exponentially. Between points the time is interpolated, beyond them it is proportional: too much for larger batches, too
little for smaller ones, if rows share a fixed part.

Batches that are many times slower than usual (a page fault, another process) are counted as a few times slower, so that
one of them does not have calls refused for long; a model that really became slow is believed after some batches.

`at_least` is what refusals rest on: the best of recent times, and only while it is fresh. A model that recovers is
noticed, since calls are let through when the times have become old.

Not done: a time per shape; calls of different shapes but equal cost are taken to last equally long.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["CostCurve"]

_SETTLED = 10
_WEIGHT = 1 / _SETTLED
_ENOUGH = 3
_OUTLIER = 4.0
_NEGLIGIBLE_S = 1e-4
_DRIFT = 0.02
_FRESH_S = 1.0


@dataclass(slots=True)
class _Point:
    """Batches of about one cost."""

    cost: float
    seconds: float
    best: float
    count: int
    seen: float

    def learn(self, cost: float, seconds: float, now: float) -> None:
        if self.count >= _ENOUGH and seconds > _NEGLIGIBLE_S:
            seconds = min(seconds, max(self.seconds * _OUTLIER, _NEGLIGIBLE_S))
        weight = _WEIGHT
        if self.count < _SETTLED:
            self.count += 1
            weight = 1 / self.count
        self.cost += weight * (cost - self.cost)
        self.seconds += weight * (seconds - self.seconds)
        self.best = min(seconds, self.best + _DRIFT * (self.seconds - self.best))
        self.seen = now


class CostCurve:
    """Seconds by cost. Nothing is known at first: then everything takes no time at all."""

    def __init__(self) -> None:
        self._by_power: dict[int, _Point] = {}
        self._points: list[_Point] = []
        self._costs: list[float] = []
        self.longest = 0.0
        """The longest time of all points: a call waits no longer than this for each one before it."""

    def learn(self, cost: float, seconds: float, now: float) -> None:
        """Take in that a batch of ``cost`` took ``seconds``."""
        power = math.frexp(cost)[1]
        point = self._by_power.get(power)
        if point is None:
            point = self._by_power[power] = _Point(cost, seconds, seconds, 1, now)
            self._points = [self._by_power[key] for key in sorted(self._by_power)]
        else:
            point.learn(cost, seconds, now)
        if len(self._points) > 1:
            self._costs = [one.cost for one in self._points]
            self.longest = max([one.seconds for one in self._points])
        else:
            self.longest = point.seconds

    def seconds(self, cost: float) -> float:
        """Return how long a batch of ``cost`` takes; 0 if nothing is known."""
        points = self._points
        if len(points) < 2:  # noqa: PLR2004 - nothing to interpolate between
            return points[0].seconds * cost / points[0].cost if points else 0.0
        index = bisect_left(self._costs, cost)
        if index == 0 or index == len(points):
            near = points[0 if index == 0 else -1]
            return near.seconds * cost / near.cost
        low, high = points[index - 1], points[index]
        share = (cost - low.cost) / (high.cost - low.cost)
        return low.seconds * (1 - share) + high.seconds * share  # never below 0, however it is rounded

    def at_least(self, cost: float, now: float) -> float:
        """Return how long a batch of ``cost`` takes even when all is well; 0 if that is not certain now."""
        certain = [
            point.best
            for point in self._points
            if point.cost <= cost * (1 + 1e-9) and point.count >= _ENOUGH and now - point.seen <= _FRESH_S
        ]
        return max(certain, default=0.0)
