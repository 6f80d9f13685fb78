"""A registration as something with a lifetime.

                ┌───────────────────────────────────────────────┐
                ▼                                               │ key, lease or watch lost; update unanswered
    reconcile: read own key ── as it should be ──► watch own key, lease kept alive by a thread
                │      ▲
        absent, │      │ write, then look again
     or other   ▼      │
        grant a lease if there is none; put the record under it

The loop compares what the store has with what it should have, so it does not matter how they came apart: a key deleted
by hand, a lease that ended during a pause, a store that lost its data, an update whose answer never came. Keep-alive
answers are not trusted alone (etcd has had releases that answered OK for a revoked lease); the watch of the own key
notices at once. A record that was lost comes back with generation + 1 after a random part of half a second, so that a
thousand workers whose leases ended together do not return together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from graphmesh.core.errors import AlreadyExists, GraphmeshError, NotFound, RegistryUnavailable
from graphmesh.registry import _tasks
from graphmesh.registry._backoff import Backoff
from graphmesh.registry.kv import Compare, Put, Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from graphmesh.core.clock import Clock
    from graphmesh.registry.kv import KV, Batch, KeepAlive, KeyValue

__all__ = ["Registration", "Session", "SessionStatistics"]

_log = logging.getLogger(__name__)

_JITTER_S = 0.5

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(Generic[R]):
    """What is registered, and how."""

    key: str
    """Where the record is kept."""
    ttl_s: float
    """How long it stays when nobody renews it."""
    generation: int
    """The first registration's generation."""
    renew: Callable[[R, int], R]
    """The record with another generation."""
    encode: Callable[[R], bytes]
    """The key's value."""
    prepare: Callable[[], Awaitable[None]]
    """Writes what must exist before the record does; called again after a loss, since data may have been lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatistics:
    """What a session has been through."""

    registrations: int
    """How often the record was created, the first time included."""
    losses: int
    """How often it vanished."""
    failures: int
    """How often the store did not answer or refused."""


class Session(Generic[R]):
    """A record that stays registered until it is closed. Made by `registry.Registry.register_worker` and its like."""

    def __init__(
        self, kv: KV, registration: Registration[R], record: R, *, clock: Clock, rng: random.Random | None = None
    ) -> None:
        self._kv = kv
        self._registration = registration
        self._generation = registration.generation
        self._record = registration.renew(record, self._generation)
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._lease = 0
        self._keep_alive: KeepAlive | None = None
        self._published = False
        self._stale = False
        self._task: asyncio.Task[None] | None = None
        self._registrations = self._losses = self._failures = 0
        self.lost = asyncio.Event()
        """Set while the record is known to be gone; cleared when it is back."""

    async def start(self) -> Self:
        """Register, and stay registered from then on.

        Raises:
            AlreadyExists: another live session has the key (ALREADY_EXISTS, retry: after its TTL).
            RegistryUnavailable: the store does not answer; a record that was written all the same goes with its
                lease (UNAVAILABLE, retry: after the TTL).
        """
        try:
            revision = await self._reconcile()
        except BaseException:
            await self._let_go_of_lease()
            raise
        self._task = _tasks.start(self._stay_registered(revision), f"session {self._registration.key}")
        return self

    async def __aenter__(self) -> Self:
        """Return the session; it is registered already."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self.close()

    @property
    def record(self) -> R:
        """The record as it should be in the store."""
        return self._record

    @property
    def generation(self) -> int:
        """Grows each time the record is registered again."""
        return self._generation

    @property
    def statistics(self) -> SessionStatistics:
        """What happened so far."""
        return SessionStatistics(registrations=self._registrations, losses=self._losses, failures=self._failures)

    async def update(self, record: R) -> None:
        """Replace the record, under the same key and lease. Returns once the store has it.

        If the store does not take it now, the session remembers it and writes it as soon as it can.

        Raises:
            RegistryUnavailable: not written yet (UNAVAILABLE, retry: not needed).
            Overloaded: the store is full; not written yet (RESOURCE_EXHAUSTED, retry: not needed).
        """
        self._record = self._registration.renew(record, self._generation)
        try:
            # Without a lease the compare would hold for an absent key, and the record would outlive the session.
            written = bool(self._lease) and await self._put(Compare(self._registration.key, self._lease, Target.LEASE))
        except NotFound:
            written = False
        except GraphmeshError:
            self._stale = True
            raise
        if not written:
            self._stale = True
            raise RegistryUnavailable(
                f"{self._registration.key} must be registered to be updated; it is being registered again"
            )

    async def close(self) -> None:
        """Take the record away and end the session. Idempotent; if the store does not answer, the TTL does it."""
        lease = self._lease
        await self.orphan()
        if lease:
            try:
                await self._kv.revoke(lease)
            except GraphmeshError as error:
                _log.info("lease left to run out key=%s error=%s", self._registration.key, error.message)

    async def orphan(self) -> None:
        """End the session and leave the record to its TTL. Idempotent."""
        if self._task:
            await _tasks.stop(self._task)
            self._task = None
        await self._let_go_of_lease()

    # Staying registered

    async def _stay_registered(self, revision: int) -> None:
        backoff, confirmed = Backoff(self._rng), True
        while True:
            try:
                await self._watch_own_key(revision)
                revision = await self._reconcile()
                backoff.reset()
                confirmed = True
            except GraphmeshError as error:
                self._failures += 1
                self._log_failure(error, first=confirmed)
                confirmed, self._stale = False, True
                await self._clock.sleep(backoff.next())

    def _log_failure(self, error: GraphmeshError, *, first: bool) -> None:
        """Log the first of a row of failures.

        Someone else with our key is for an operator to resolve; a store that is away comes back by itself.
        """
        level = logging.WARNING if isinstance(error, AlreadyExists) else logging.INFO
        _log.log(
            level if first else logging.DEBUG,
            "registration not confirmed key=%s error=%s",
            self._registration.key,
            error.message,
        )

    async def _watch_own_key(self, revision: int) -> None:
        """Return when the key may no longer be as it should."""
        if self._stale:
            return
        async with contextlib.aclosing(self._kv.watch(self._registration.key, revision=revision)) as batches:
            async for batch in batches:
                if self._stale or self._disturbed_by(batch):
                    return

    def _disturbed_by(self, batch: Batch) -> bool:
        mine = [event for event in batch.events if event.key == self._registration.key]
        return bool(mine) and not self._as_it_should_be(mine[-1].item)

    def _as_it_should_be(self, item: KeyValue | None) -> bool:
        return item is not None and item.lease == self._lease and item.value == self._value()

    def _value(self) -> bytes:
        return self._registration.encode(self._record)

    async def _reconcile(self) -> int:
        """Write until the store has what it should; return the revision from which to watch."""
        while True:
            self._stale = False
            listing = await self._kv.get([self._registration.key])
            item = listing.items[0] if listing.items else None
            if self._lease and self._as_it_should_be(item):
                self._published = True
                self.lost.clear()
                return listing.revision + 1
            if item is None:
                await self._create()
            elif self._lease and item.lease == self._lease:
                await self._put(Compare(item.key, item.mod_revision))
            else:
                raise AlreadyExists(
                    f"{self._registration.key} must not belong to another live process; choose another id, or wait "
                    f"{self._registration.ttl_s:g} s if that process was killed"
                )

    async def _create(self) -> None:
        if self._published:
            await self._note_loss()
        await self._registration.prepare()
        if not self._lease:
            self._lease = await self._kv.grant(self._registration.ttl_s)
            self._keep_alive = self._kv.keep_alive(self._lease, ttl_s=self._registration.ttl_s, gone=self._lease_gone)
        try:
            if await self._put(Compare(self._registration.key, 0)):
                self._registrations += 1
        except NotFound:
            await self._let_go_of_lease()

    async def _note_loss(self) -> None:
        self._published = False
        self._losses += 1
        self._generation += 1
        self._record = self._registration.renew(self._record, self._generation)
        self.lost.set()
        _log.warning(
            "registration lost, registering again key=%s generation=%d", self._registration.key, self._generation
        )
        await self._clock.sleep(self._rng.uniform(0.0, _JITTER_S))

    async def _put(self, condition: Compare) -> bool:
        put = Put(self._registration.key, self._value(), self._lease)
        return (await self._kv.txn([condition], [put])).succeeded

    def _lease_gone(self) -> None:
        """Note what the keep-alive says; the next sign of life of the watch acts on it."""
        self._stale = True

    async def _let_go_of_lease(self) -> None:
        self._lease = 0
        keep_alive, self._keep_alive = self._keep_alive, None
        if keep_alive:
            await keep_alive.stop()
