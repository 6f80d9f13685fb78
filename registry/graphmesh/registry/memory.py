"""A store in memory, for tests: everything `kv.KV` promises, time from a clock that the test owns, faults on demand.

Several registries share one `MemoryKV` as they would share one etcd. Leases end when the clock says so, which is
noticed at the next call or watch heartbeat. During an outage every call is refused and no lease ends; afterwards every
lease has its whole TTL again, as a new etcd leader grants it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.clock import SystemClock
from graphmesh.core.errors import NotFound, RegistryUnavailable
from graphmesh.registry.kv import (
    ANSWER_WITHIN_S,
    HEARTBEAT_S,
    Batch,
    Compare,
    Delete,
    Event,
    KeyValue,
    Listing,
    Outcome,
    Put,
    Target,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from graphmesh.core.clock import Clock
    from graphmesh.registry.kv import KeepAlive, Op

__all__ = ["MemoryKV"]


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    ends_at: float


class MemoryKV:
    """The fake."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._cluster_id = 1
        self._begin()
        self._last_lease = 0
        self._stopped = False
        self._epoch = 0
        self._changed = asyncio.Event()

    def _begin(self) -> None:
        self._revision = 1
        self._items: dict[str, KeyValue] = {}
        self._history: list[Event] = []
        self._compacted = 0
        self._leases: dict[int, _Lease] = {}

    # Faults

    def stop(self) -> None:
        """Begin an outage: calls are refused, watches break."""
        self._stopped = True
        self.break_watches()

    def resume(self) -> None:
        """End the outage."""
        self._stopped = False
        for lease in self._leases.values():
            lease.ends_at = self._clock.monotonic() + lease.ttl_s

    def break_watches(self) -> None:
        """Break every watch, as a lost connection does."""
        self._epoch += 1
        self._wake()

    def compact(self) -> None:
        """Forget all history up to now; a watch that has not read it yet breaks."""
        self._compacted = self._revision
        self._history.clear()
        self._wake()

    def wipe(self) -> None:
        """Lose all data, as an etcd restarted with an empty folder."""
        self._begin()
        self._cluster_id += 1
        self.break_watches()

    # The KV interface

    async def get(self, keys: Sequence[str], *, timeout_s: float = ANSWER_WITHIN_S) -> Listing:  # noqa: ARG002
        """See `KV.get`."""
        return await self._read(sorted(key for key in set(keys) if key in self._items))

    async def list(
        self,
        prefix: str,
        *,
        keys_only: bool = False,
        timeout_s: float = ANSWER_WITHIN_S,  # noqa: ARG002
    ) -> Listing:
        """See `KV.list`."""
        return await self._read(sorted(key for key in self._items if key.startswith(prefix)), keys_only=keys_only)

    async def _read(self, keys: Iterable[str], *, keys_only: bool = False) -> Listing:
        await self._answer()
        items = [self._items[key] for key in keys if key in self._items]
        if keys_only:
            items = [KeyValue(key=i.key, value=b"", mod_revision=i.mod_revision, lease=i.lease) for i in items]
        return Listing(cluster_id=self._cluster_id, revision=self._revision, items=tuple(items))

    async def txn(
        self,
        compares: Sequence[Compare],
        ops: Sequence[Op],
        *,
        timeout_s: float = ANSWER_WITHIN_S,  # noqa: ARG002
    ) -> Outcome:
        """See `KV.txn`."""
        await self._answer()
        if not all(self._holds(compare) for compare in compares):
            return Outcome(succeeded=False, revision=self._revision)
        for op in ops:
            if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                raise NotFound(f"lease {op.lease} must exist")
        self._write(ops)
        return Outcome(succeeded=True, revision=self._revision)

    def _holds(self, compare: Compare) -> bool:
        item = self._items.get(compare.key)
        if compare.target is Target.LEASE:
            return (item.lease if item else 0) == compare.equals
        return (item.mod_revision if item else 0) == compare.equals

    def _write(self, ops: Iterable[Op]) -> None:
        revision = self._revision + 1
        events = []
        for op in ops:
            if isinstance(op, Put):
                item = KeyValue(key=op.key, value=op.value, mod_revision=revision, lease=op.lease)
                self._items[op.key] = item
                events.append(Event(op.key, item, revision))
            elif self._items.pop(op.key, None):
                events.append(Event(op.key, None, revision))
        if events:
            self._revision = revision
            self._history += events
            self._wake()

    async def watch(self, prefix: str, *, revision: int) -> AsyncGenerator[Batch, None]:
        """See `KV.watch`."""
        await self._answer()
        epoch, position = self._epoch, revision
        yield Batch(self._cluster_id, self._revision)
        while True:
            self._end_leases()
            changed = self._changed
            if self._stopped or epoch != self._epoch or position <= self._compacted:
                raise RegistryUnavailable(f"the watch from revision {position} broke: list again")
            events = tuple(
                event for event in self._history if event.mod_revision >= position and event.key.startswith(prefix)
            )
            position = self._revision + 1
            if events:
                yield Batch(self._cluster_id, self._revision, events)
            elif not await self._happens(changed):
                yield Batch(self._cluster_id, self._revision)

    async def grant(self, ttl_s: float) -> int:
        """See `KV.grant`."""
        await self._answer()
        self._last_lease += 1
        self._leases[self._last_lease] = _Lease(ttl_s, self._clock.monotonic() + ttl_s)
        return self._last_lease

    async def revoke(self, lease: int) -> None:
        """See `KV.revoke`."""
        await self._answer()
        self._end_lease(lease)

    def keep_alive(self, lease: int, *, ttl_s: float, gone: Callable[[], None]) -> KeepAlive:
        """See `KV.keep_alive`; here a task of the event loop."""
        return _KeepAlive(asyncio.create_task(self._keep_alive(lease, ttl_s, gone), name=f"keep-alive {lease}"))

    async def _keep_alive(self, lease: int, ttl_s: float, gone: Callable[[], None]) -> None:
        while True:
            with contextlib.suppress(RegistryUnavailable):
                await self._answer()
                if lease not in self._leases:
                    return gone()
                self._leases[lease].ends_at = self._clock.monotonic() + ttl_s
            await self._clock.sleep(ttl_s / 3)

    async def close(self) -> None:
        """See `KV.close`; others may go on using the store."""

    # Time

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self._stopped:
            raise RegistryUnavailable("the store does not answer: it was stopped by the test")
        self._end_leases()

    def _end_leases(self) -> None:
        if self._stopped:
            return
        now = self._clock.monotonic()
        for lease in [lease for lease, state in self._leases.items() if state.ends_at <= now]:
            self._end_lease(lease)

    def _end_lease(self, lease: int) -> None:
        if self._leases.pop(lease, None):
            keys = [key for key, item in self._items.items() if item.lease == lease]
            self._write([Delete(key) for key in keys])

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _happens(self, changed: asyncio.Event) -> bool:
        """Return whether something changes within a heartbeat."""
        waiting = [asyncio.create_task(changed.wait()), asyncio.create_task(self._clock.sleep(HEARTBEAT_S))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return changed.is_set()


class _KeepAlive:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
