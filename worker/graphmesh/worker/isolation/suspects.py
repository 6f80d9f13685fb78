"""Requests during which a model's process died, by the hash of their content.

A process often dies with several calls in it, of which at most one is to blame. So the first death is only a suspicion:
a suspect is next run alone. If the process dies again, the request did it, and it is refused from then on; if not, the
suspicion is dropped. A request is struck once for a death, however many calls of that content there were, and for the
second time only if nothing else was in the process. Bounded: the oldest of 1,024 suspects is forgotten, and each after
an hour.

Hashing costs as much as the inputs are large, so it is done only while there are suspects of the same outline (names,
datatypes and shapes of inputs), and off the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.clock import SystemClock
from graphmesh.core.tensor import datatype_of, encode_raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.clock import Clock
    from graphmesh.core.tensor import Tensor

__all__ = ["GUILTY", "Suspects"]

GUILTY = 2
"""Strikes after which a request is refused."""

_MOST = 1024
_REMEMBERED_S = 3600.0
_SMALL = 1 << 16

_Outline: TypeAlias = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """The strikes of one request."""

    count: int
    at: float
    death: object


class Suspects:
    """The strikes of one model version."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._strikes: OrderedDict[tuple[_Outline, bytes], _Entry] = OrderedDict()
        self._outlines: Counter[_Outline] = Counter()

    def __len__(self) -> int:
        """Return how many requests have a strike."""
        return len(self._strikes)

    async def strikes(self, inputs: Mapping[str, Tensor]) -> int:
        """Return how many strikes a request has."""
        self._forget_old()
        outline = _outline(inputs)
        if not self._outlines[outline]:
            return 0
        found = self._strikes.get((outline, await _digest(inputs)))
        return 0 if found is None else found.count

    async def strike(self, inputs: Mapping[str, Tensor], death: object, *, alone: bool) -> int:
        """Note that the process died with a request in it, and return its strikes.

        Args:
            inputs: The request's.
            death: Which death it was: a request is struck once for each.
            alone: Whether nothing else was in the process.
        """
        key = _outline(inputs), await _digest(inputs)
        found = self._strikes.get(key)
        if found is not None and (found.death is death or not alone):
            return found.count
        if found is None:
            self._outlines[key[0]] += 1
        count = 1 if found is None else found.count + 1
        self._strikes[key] = _Entry(count, self._clock.monotonic(), death)
        self._strikes.move_to_end(key)
        if len(self._strikes) > _MOST:
            self._drop(next(iter(self._strikes)))
        return count

    async def clear(self, inputs: Mapping[str, Tensor]) -> None:
        """Drop the suspicion of a request: it ran alone, and the process lives."""
        key = _outline(inputs), await _digest(inputs)
        if key in self._strikes:
            self._drop(key)

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - _REMEMBERED_S
        while self._strikes:
            key, entry = next(iter(self._strikes.items()))
            if entry.at > oldest:
                return
            self._drop(key)

    def _drop(self, key: tuple[_Outline, bytes]) -> None:
        del self._strikes[key]
        self._outlines[key[0]] -= 1
        if not self._outlines[key[0]]:
            del self._outlines[key[0]]


def _outline(inputs: Mapping[str, Tensor]) -> _Outline:
    return tuple(sorted((name, datatype_of(array), array.shape) for name, array in inputs.items()))


async def _digest(inputs: Mapping[str, Tensor]) -> bytes:
    if sum(array.nbytes for array in inputs.values()) <= _SMALL:
        return _hash(inputs)
    return await asyncio.to_thread(_hash, inputs)


def _hash(inputs: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(inputs):
        raw = encode_raw(inputs[name])
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()
