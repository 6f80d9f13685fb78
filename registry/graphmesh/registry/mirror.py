"""A copy of the registry that keeps itself current, and hands out snapshots.

    list at R ──► watch from R+1 ──► every batch: apply, guard, publish
      ▲                │
      └── back off ◄───┴── watch broke, compacted, silent for 2 s; or 60 s passed (anti-entropy)

The last snapshot stays while the store is away: readers are never handed less because nobody answered. What a listing
has otherwise than the watch said is counted as divergence; in a healthy mesh it stays 0 (a change that is on its way
during the listing may count). Delivery is coalesced: a slow reader sees the newest snapshot, not every one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from graphmesh.core.errors import DeadlinePassed, GraphmeshError, RegistryUnavailable
from graphmesh.registry import _tasks
from graphmesh.registry._backoff import Backoff
from graphmesh.registry.guard import Guard
from graphmesh.registry.view import View

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from graphmesh.core.clock import Clock
    from graphmesh.registry.guard import HoldPolicy
    from graphmesh.registry.keys import Keys
    from graphmesh.registry.kv import KV, Listing
    from graphmesh.registry.records import WorkerRecord
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Mirror", "MirrorStatistics"]

_log = logging.getLogger(__name__)

RELIST_S = 60.0
"""Between two listings when nothing goes wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorStatistics:
    """What a mirror has seen."""

    connected: bool
    """Whether the store answers."""
    age_s: float
    """Seconds since the copy was last known to be current."""
    listings: int
    """How often everything was read."""
    losses: int
    """How often a listing or a watch failed."""
    events: int
    """Changes delivered by watches."""
    divergences: int
    """Keys that an anti-entropy listing had otherwise than an unbroken watch had said."""
    unreadable: int
    """Keys left out now because their values are damaged or hostile."""
    held: int
    """Workers served now only because their health checks pass."""


class Mirror:
    """The registry's contents, live. Use as an async context manager; see `registry.Registry.mirror`."""

    def __init__(
        self, kv: KV, keys: Keys, *, clock: Clock, hold: HoldPolicy | None = None, rng: random.Random | None = None
    ) -> None:
        self._kv = kv
        self._keys = keys
        self._clock = clock
        self._hold = hold
        self._backoff = Backoff(rng or random.Random())  # noqa: S311 - spreads load, guards nothing
        self._view = View(keys)
        self._guard = Guard()
        self._snapshot = self._view.snapshot()
        self._changed = asyncio.Event()
        self._suspecting = asyncio.Event()
        self._connected = False
        self._current_at = float("-inf")
        self._listings = self._losses = self._events = self._divergences = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Read everything once, then keep it current.

        Raises:
            RegistryUnavailable: the store does not answer (UNAVAILABLE, retry: same).
        """
        listing = await self._list(after_loss=True)
        self._tasks = [_tasks.start(self._follow_for_ever(listing), "registry mirror")]
        if self._hold:
            self._tasks.append(_tasks.start(self._check_suspects(self._hold), "registry guard"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following; the last snapshot stays readable."""
        await _tasks.stop(*self._tasks)
        self._connected = False

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot

    @property
    def connected(self) -> bool:
        """Whether the store answers; False within 3 s after it stopped doing so."""
        return self._connected

    def age(self) -> float:
        """Return the seconds since the snapshot was last known to be current; about 1 at most while connected."""
        return self._clock.monotonic() - self._current_at

    @property
    def statistics(self) -> MirrorStatistics:
        """What happened so far."""
        return MirrorStatistics(
            connected=self._connected,
            age_s=self.age(),
            listings=self._listings,
            losses=self._losses,
            events=self._events,
            divergences=self._divergences,
            unreadable=self._view.unreadable,
            held=len(self._guard.held),
        )

    async def changes(self) -> AsyncGenerator[Snapshot, None]:
        """Yield the snapshot as it is now, then every newer one; those between two reads are left out."""
        seen: Snapshot | None = None
        while True:
            changed, newest = self._changed, self._snapshot
            if newest is not seen:
                seen = newest
                yield newest
            else:
                await changed.wait()

    async def wait_for(self, predicate: Callable[[Snapshot], bool], timeout_s: float) -> Snapshot:
        """Return the first snapshot, from the current one on, that ``predicate`` holds for.

        Raises:
            DeadlinePassed: none within ``timeout_s`` (DEADLINE_EXCEEDED, retry: same).
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not predicate(self._snapshot):
                    await self._changed.wait()
        except TimeoutError:
            raise DeadlinePassed(
                f"the registry must show the expected change within {timeout_s:g} s; "
                f"connected={self._connected} revision={self._snapshot.revision}"
            ) from None
        return self._snapshot

    # Following the store

    async def _list(self, *, after_loss: bool) -> Listing:
        listing = await self._kv.list(self._keys.prefix)
        rewound = self._view.rewound_by(listing)
        if rewound:
            _log.warning(
                "registry went backwards: its data was lost or restored, workers that answer are kept "
                "known_revision=%d listed_revision=%d cluster_id=%d",
                self._view.revision,
                listing.revision,
                listing.cluster_id,
            )
        differing = self._view.replace(listing)
        if not after_loss:
            self._divergences += differing
        self._listings += 1
        self._alive()
        self._publish(rewound=rewound)
        return listing

    async def _follow_for_ever(self, listing: Listing) -> None:
        while True:
            after_loss = False
            try:
                await self._follow(listing.revision + 1)
            except GraphmeshError as error:
                after_loss = True
                self._lost(error)
                await self._clock.sleep(self._backoff.next())
            listing = await self._list_until_answered(after_loss=after_loss)

    async def _follow(self, revision: int) -> None:
        """Apply what a watch delivers; return when it is time to list again."""
        relist_at = self._clock.monotonic() + RELIST_S
        async with contextlib.aclosing(self._kv.watch(self._keys.prefix, revision=revision)) as batches:
            async for batch in batches:
                if self._view.rewound_by(batch):
                    raise RegistryUnavailable("the store went backwards; list again")
                self._alive()
                self._backoff.reset()
                self._events += len(batch.events)
                if self._view.apply(batch):
                    self._publish()
                if self._clock.monotonic() >= relist_at:
                    return

    async def _list_until_answered(self, *, after_loss: bool) -> Listing:
        while True:
            try:
                return await self._list(after_loss=after_loss)
            except GraphmeshError as error:
                after_loss = True
                self._lost(error)
                await self._clock.sleep(self._backoff.next())

    def _alive(self) -> None:
        self._connected = True
        self._current_at = self._clock.monotonic()

    def _lost(self, error: GraphmeshError) -> None:
        self._losses += 1
        if self._connected:
            self._connected = False
            _log.info("registry connection lost, the last snapshot stays in use error=%s", error.message)

    def _publish(self, *, rewound: bool = False) -> None:
        if self._hold:
            self._guard.apply(self._view.workers, now=self._clock.monotonic(), rewound=rewound)
            if self._guard.suspects:
                self._suspecting.set()
            self._show_guarded()
        else:
            self._show(self._view.snapshot())

    def _show_guarded(self) -> None:
        self._show(self._view.snapshot(workers=self._guard.served, held=self._guard.held))

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # Checking held workers

    async def _check_suspects(self, hold: HoldPolicy) -> None:
        """Check suspects, all at once, until none is left; then sleep until there are some."""
        while True:
            self._suspecting.clear()
            if not self._guard.suspects:
                await self._suspecting.wait()
            suspects = list(self._guard.suspects.values())
            passed = await asyncio.gather(*(_passes(hold, record) for record in suspects))
            before = self._guard.held
            for record, good in zip(suspects, passed, strict=True):
                (self._guard.passed if good else self._guard.failed)(record.worker_id)
            if self._guard.held != before:
                _log.info("held workers changed held=%s", sorted(self._guard.held))
                self._show_guarded()
            if self._guard.suspects:
                await self._clock.sleep(hold.interval_s)


async def _passes(hold: HoldPolicy, record: WorkerRecord) -> bool:
    try:
        async with asyncio.timeout(hold.timeout_s):
            return await hold.probe(record)
    except Exception as error:  # noqa: BLE001 - the check is someone else's code; whatever it raises, it did not pass
        _log.debug("health check failed worker_id=%s error=%r", record.worker_id, error)
        return False
