"""The mass-loss guard: endpoints that vanish together are kept while they still answer.

Leases end, and the records under them go, for reasons that say nothing about the workers: an etcd that was stopped and
continued, restored from an old backup or given an empty folder, a partition between workers and etcd, someone's
`etcdctl del --prefix`. The data path must outlive that. So a worker that vanishes *unannounced* (its last record was
READY) is held when

- it takes part in removing more than half of the endpoints of one of its models that way, at once or within 15 s
  (leases end one by one, each in a change of its own), or
- the store's revision or identity went backwards,

and dropped as soon as a health check of it fails, or it registers again. One that was dropped a moment before the rest
followed comes back only after a health check passed. A worker that leaves says so first, by writing a record that is
DRAINING or without the model, and is never held; nor is one whose address a registered worker has now, since that one
would answer the health check. One of two replicas killed is exactly half: not held. The only replica
killed is held for as long as one health check takes to fail.

Pure: who is checked, and when, is the mirror's part. Graphs and model specs are not held; nothing could check them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.registry.records import WorkerRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["WINDOW_S", "Guard", "HoldPolicy", "Probe"]

Probe = Callable[[WorkerRecord], Awaitable[bool]]
"""Whether a worker answers its health check."""

WINDOW_S = 15.0
"""Losses this close together count as one: leases that stop being renewed together end within a third of their TTL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPolicy:
    """How held workers are checked."""

    probe: Probe
    """The health check; raising counts as failing."""
    interval_s: float = 1.0
    """Pause between two checks of a held worker; the first comes at once."""
    timeout_s: float = 1.0
    """A check that takes longer has failed."""


class Guard:
    """Decides which workers are served, from what is registered."""

    def __init__(self) -> None:
        self.served: Mapping[str, WorkerRecord] = {}
        """Registered workers and held ones, by id."""
        self.held: frozenset[str] = frozenset()
        """Those served although they are not registered."""
        self.suspects: Mapping[str, WorkerRecord] = {}
        """Those to be checked: the held ones, and those that come back if they pass."""
        self._dropped: Mapping[str, tuple[WorkerRecord, float]] = {}

    def apply(self, registered: Mapping[str, WorkerRecord], *, now: float, rewound: bool = False) -> None:
        """Take in what one change left registered.

        Args:
            registered: By worker id; not changed afterwards.
            now: Monotonic seconds.
            rewound: The store went backwards.
        """
        lately = {id_: record for id_, (record, at) in self._dropped.items() if at > now - WINDOW_S}
        before = {**lately, **self.suspects, **self.served}
        taken = {_address(record) for record in registered.values()}
        gone = {
            id_: record
            for id_, record in before.items()
            if id_ not in registered and record.available and _address(record) not in taken
        }
        losing = _models_that_lose_most(before, gone)
        suspects = {
            id_: record
            for id_, record in gone.items()
            if rewound or id_ in self.suspects or not losing.isdisjoint(record.available)
        }
        self._dropped = {
            id_: self._dropped.get(id_, (record, now)) for id_, record in gone.items() if id_ not in suspects
        }
        self._serve(registered, suspects, held=suspects.keys() & self.served.keys())

    def _serve(
        self, registered: Mapping[str, WorkerRecord], suspects: Mapping[str, WorkerRecord], *, held: AbstractSet[str]
    ) -> None:
        self.suspects, self.held = suspects, frozenset(held)
        kept = {id_: suspects[id_] for id_ in held}
        self.served = dict(sorted({**registered, **kept}.items())) if kept else registered

    def passed(self, worker_id: str) -> None:
        """Note that a suspect answered: it is served."""
        if worker_id in self.suspects:
            self._serve(self._registered(), self.suspects, held=self.held | {worker_id})

    def failed(self, worker_id: str) -> None:
        """Note that a suspect did not answer: it is served no longer, and does not come back."""
        suspects = {id_: record for id_, record in self.suspects.items() if id_ != worker_id}
        self._serve(self._registered(), suspects, held=self.held - {worker_id})

    def _registered(self) -> Mapping[str, WorkerRecord]:
        return {id_: record for id_, record in self.served.items() if id_ not in self.held}


def _address(record: WorkerRecord) -> tuple[str, int]:
    return record.host, record.http_port


def _models_that_lose_most(before: Mapping[str, WorkerRecord], gone: Mapping[str, WorkerRecord]) -> frozenset[str]:
    if not gone:
        return frozenset()
    total = Counter(model for record in before.values() for model in record.available)
    lost = Counter(model for record in gone.values() for model in record.available)
    return frozenset(model for model, count in lost.items() if 2 * count > total[model])
