"""What all caches of a process may hold together: the answer that was not used for longest, of any cache, goes first.

Caches come and go with the plans they are in, and are not kept alive by this. One that is gone takes its answers with
it, and is counted no more when the memory is next used: what is told by its end may come from any thread, and is only
noted then. All else belongs to one event loop.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["DEFAULT_MEMORY_BYTES", "CacheMemory", "Share"]

DEFAULT_MEMORY_BYTES = 1 << 30
"""Bytes of tensors that all caches of a process may hold, if nothing else is said."""


class CacheMemory:
    """The memory that caches share.

    Args:
        max_bytes: The most bytes of tensors that all of them may hold.
    """

    def __init__(self, max_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self.max_bytes = max_bytes
        """The most bytes of tensors that all caches may hold."""
        self.crowded_out = 0
        """Answers that made room for those of any cache."""
        self.dropped = 0
        """Answers that made room for others of their own cache, which has bounds of its own."""
        self._order: OrderedDict[tuple[int, Hashable], None] = OrderedDict()
        self._shares: dict[int, Share] = {}
        self._held = 0
        self._gone: deque[int] = deque()
        self._serial = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the tensors that are remembered now."""
        self._sweep()
        return self._held

    @property
    def entries(self) -> int:
        """Answers that are remembered now."""
        self._sweep()
        return len(self._order)

    def share(self, forget: Callable[[Hashable], None]) -> Share:
        """Return a cache's share, which ends with the cache.

        Args:
            forget: A method of the cache, called to let an answer go whose bytes are wanted.
        """
        self._serial += 1
        share = self._shares[self._serial] = Share(self, self._serial, weakref.WeakMethod(forget))
        weakref.finalize(forget.__self__, self._gone.append, self._serial).atexit = False  # type: ignore[attr-defined]
        return share

    def add(self, share: Share, key: Hashable, size: int) -> None:
        """Count an answer, as the last to go, and let others go for it."""
        self._sweep()
        self._order[share.serial, key] = None
        share.sizes[key] = size
        self._held += size
        while self._held > self.max_bytes:
            (serial, oldest), _ = self._order.popitem(last=False)
            owner = self._shares[serial]
            self._held -= owner.sizes.pop(oldest)
            self.crowded_out += 1
            if (forget := owner.forget()) is not None:
                forget(oldest)

    def used(self, share: Share, key: Hashable) -> None:
        """Make an answer the last to go."""
        self._order.move_to_end((share.serial, key))

    def remove(self, share: Share, key: Hashable) -> None:
        """Count an answer no more."""
        del self._order[share.serial, key]
        self._held -= share.sizes.pop(key)

    def _sweep(self) -> None:
        """Count no more what caches held that are gone."""
        while self._gone:
            share = self._shares.pop(self._gone.popleft())
            for key, size in share.sizes.items():
                del self._order[share.serial, key]
                self._held -= size


class Share:
    """One cache's part of a memory."""

    __slots__ = ("forget", "memory", "serial", "sizes")

    def __init__(
        self, memory: CacheMemory, serial: int, forget: weakref.WeakMethod[Callable[[Hashable], None]]
    ) -> None:
        self.memory = memory
        self.serial = serial
        self.forget = forget
        self.sizes: dict[Hashable, int] = {}

    def add(self, key: Hashable, size: int) -> None:
        """Count an answer, as the last of all to go; this may let go of others, of this cache, too."""
        self.memory.add(self, key, size)

    def used(self, key: Hashable) -> None:
        """Make an answer the last of all to go."""
        self.memory.used(self, key)

    def remove(self, key: Hashable) -> None:
        """Count an answer no more."""
        self.memory.remove(self, key)
