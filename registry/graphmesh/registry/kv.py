"""The store underneath, as the registry needs it: a small part of etcd's own model.

One revision counts every change of the store; each key remembers the revision that changed it last. Transactions
compare, then write; keys may hang on a lease and go with it; a watch delivers whole revisions in order and never
skips one, or it breaks. `etcd.EtcdKV` is the real one, `memory.MemoryKV` the fake; one contract suite runs over both.
Not here: locks (unsafe by nature, see Jepsen's etcd 3.4.3 report), ranges other than a prefix, nested transactions.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

__all__ = [
    "ANSWER_WITHIN_S",
    "KV",
    "MAX_TXN_OPS",
    "SILENCE_S",
    "Batch",
    "Compare",
    "Delete",
    "Event",
    "KeepAlive",
    "KeyValue",
    "Listing",
    "Op",
    "Outcome",
    "Put",
    "Target",
]

ANSWER_WITHIN_S = 1.8
"""How long a call waits for the store: refusing takes less than 2 s in all."""
HEARTBEAT_S = 1.0
"""How often a watch proves that it is alive."""
SILENCE_S = 2.0
"""After how long without any sign a watch is broken."""
MAX_TXN_OPS = 120
"""Most compares, and most operations, in one transaction; etcd's default limit is 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """One key as the store has it."""

    key: str
    """The key."""
    value: bytes
    """Its value."""
    mod_revision: int
    """The store's revision that changed it last."""
    lease: int = 0
    """The lease it goes with; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Keys as they were at one revision."""

    cluster_id: int
    """The store's identity; another one means other data."""
    revision: int
    """The store's revision when it was read."""
    items: tuple[KeyValue, ...]
    """In key order."""


@dataclass(frozen=True, slots=True)
class Event:
    """One key changed."""

    key: str
    """The key."""
    item: KeyValue | None
    """What it holds now; None if it was deleted."""
    mod_revision: int
    """The revision of the change."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a watch delivers at once: whole revisions, or no event as a sign of life."""

    cluster_id: int
    """The store's identity."""
    revision: int
    """The store's revision when it was sent."""
    events: tuple[Event, ...] = ()
    """In order."""


class Target(enum.Enum):
    """What a compare looks at."""

    MOD_REVISION = "mod"
    """The revision that changed the key last; 0 while it does not exist."""
    LEASE = "lease"
    """The lease the key goes with; 0 for none."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction: equality."""

    key: str
    """The key."""
    equals: int
    """What the target must be."""
    target: Target = Target.MOD_REVISION
    """What is compared."""


@dataclass(frozen=True, slots=True)
class Put:
    """Writes a key."""

    key: str
    """The key."""
    value: bytes
    """Its new value."""
    lease: int = 0
    """The lease it goes with; 0 for none."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes a key; deleting what is not there is no error."""

    key: str
    """The key."""


Op = Put | Delete


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transaction."""

    succeeded: bool
    """Every condition held and every operation was done; otherwise none was."""
    revision: int
    """The store's revision afterwards: the `mod_revision` of what it wrote."""


class KeepAlive(Protocol):
    """A lease being kept alive."""

    async def stop(self) -> None:
        """Keep it alive no longer; the lease then runs out by itself. Idempotent."""
        ...


class KV(Protocol):
    """A store with revisions, leases and watches.

    Every method raises RegistryUnavailable (UNAVAILABLE, retry: same) within ``timeout_s`` when the store does not
    answer. The outcome of a write that timed out is unknown: read before writing again.
    """

    async def get(self, keys: Sequence[str], *, timeout_s: float = ANSWER_WITHIN_S) -> Listing:
        """Return those of up to `MAX_TXN_OPS` keys that exist, all at one revision, linearizable."""
        ...

    async def list(self, prefix: str, *, keys_only: bool = False, timeout_s: float = ANSWER_WITHIN_S) -> Listing:
        """Return all keys that start with ``prefix``, linearizable; ``keys_only`` leaves values empty."""
        ...

    async def txn(
        self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float = ANSWER_WITHIN_S
    ) -> Outcome:
        """Do all of ``ops`` if all of ``compares`` hold, else none of them.

        Raises:
            NotFound: a lease that is gone (NOT_FOUND, retry: no).
            Overloaded: the store is full (RESOURCE_EXHAUSTED, retry: after an operator made room).
            InvalidRequest: the request is larger than the store takes (INVALID_ARGUMENT, retry: no).
        """
        ...

    def watch(self, prefix: str, *, revision: int) -> AsyncGenerator[Batch, None]:
        """Yield every change under ``prefix`` from ``revision`` on, and an empty batch at least every second.

        Whoever iterates closes it (`contextlib.aclosing`).

        Raises:
            RegistryUnavailable: the watch broke, was silent for 2 s, or starts before what is left after a
                compaction; list again, then watch from the listing's revision + 1 (UNAVAILABLE, retry: no).
        """
        ...

    async def grant(self, ttl_s: float) -> int:
        """Return a new lease; the store rounds ``ttl_s`` up to whole seconds and to its own minimum."""
        ...

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; a lease that is gone already is no error."""
        ...

    def keep_alive(self, lease: int, *, ttl_s: float, gone: Callable[[], None]) -> KeepAlive:
        """Renew a lease from now on, three times per ``ttl_s``, whatever the event loop is doing.

        ``gone`` is called at most once, on the event loop, when the store says that the lease no longer exists.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. Idempotent."""
        ...
