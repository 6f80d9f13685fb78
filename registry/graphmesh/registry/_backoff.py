"""How long to wait between attempts: doubling, with jitter, never long enough to be late once etcd is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


__all__ = ["Backoff"]


class Backoff:
    """0.1 s, 0.2 s, ... up to 1 s, each shortened by a random part of up to a half.

    The cap is well below the 5 s within which everything converges once etcd answers again.
    """

    def __init__(self, rng: random.Random, *, first_s: float = 0.1, cap_s: float = 1.0) -> None:
        self._rng = rng
        self._first = first_s
        self._cap = cap_s
        self._next = first_s

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._next = self._first

    def next(self) -> float:
        """Return the seconds to wait before the next attempt."""
        wait = self._next * self._rng.uniform(0.5, 1.0)
        self._next = min(self._cap, self._next * 2)
        return wait
