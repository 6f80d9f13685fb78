"""Answers of a cache step: the longest unused go first, and none is given out that is older than it may be.

One that nobody asks for any more, as of a model that was replaced, goes with the next look once its time is up: it is
among the longest unused then, and all that were not used for so long are too old. Times are handed in. Not thread-safe:
it belongs to one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphmesh.graph.running.budget import size_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.actions.memory import CacheMemory

__all__ = ["Remembered", "frozen"]


@dataclass(frozen=True, slots=True)
class _Entry:
    outputs: Mapping[str, Tensor]
    size: int
    until: float


class Remembered:
    """Answers by key.

    Args:
        ttl_s: Seconds that an answer is kept.
        max_entries: The most answers.
        max_bytes: The most bytes of their tensors.
        memory: What it shares with other caches, with a bound of its own.
    """

    def __init__(self, *, ttl_s: float, max_entries: int, max_bytes: int, memory: CacheMemory) -> None:
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._max_bytes = min(max_bytes, memory.max_bytes)
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._size = 0
        self._memory = memory
        self._share = memory.share(self._let_go)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """Bytes of the tensors that are kept."""
        return self._size

    def get(self, key: Hashable, *, now: float) -> Mapping[str, Tensor] | None:
        """Return the answer, which is then the last to go; None if there is none or it is too old."""
        self._sweep(now)
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= now:
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        self._share.used(key)
        return entry.outputs

    def fits(self, outputs: Mapping[str, Tensor]) -> bool:
        """Return whether an answer is not larger than all that may be kept; nothing fits into no bytes."""
        return 0 < self._max_bytes >= size_of(outputs.values())

    def put(self, key: Hashable, outputs: Mapping[str, Tensor], *, now: float) -> None:
        """Keep an answer that fits, made by `frozen`; it replaces an older one."""
        if key in self._entries:
            self._forget(key)
        self._sweep(now)
        entry = _Entry(outputs, size_of(outputs.values()), now + self._ttl_s)
        self._entries[key] = entry
        self._size += entry.size
        while len(self._entries) > self._max_entries or self._size > self._max_bytes:
            self._drop(next(iter(self._entries)))
        self._share.add(key, entry.size)

    def _sweep(self, now: float) -> None:
        while self._entries and (oldest := next(iter(self._entries.items())))[1].until <= now:
            self._forget(oldest[0])

    def _drop(self, key: Hashable) -> None:
        self._forget(key)
        self._memory.dropped += 1

    def _forget(self, key: Hashable) -> None:
        self._let_go(key)
        self._share.remove(key)

    def _let_go(self, key: Hashable) -> None:
        self._size -= self._entries.pop(key).size


def frozen(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that cannot be written to.

    A model may use the memory of its answer again, also one that owns it, and a few rows of a batch must not keep all
    of it.
    """
    kept = {}
    for name, tensor in outputs.items():
        kept[name] = np.array(tensor)
        kept[name].flags.writeable = False
    return kept
