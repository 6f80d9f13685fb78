"""What one listing and the changes after it add up to. Pure: the mirror and one-off reads both drive it.

Invariant: the view equals the store at `revision`, for every key whose value can be read. A change is applied only if
its revision is above the one the key is known at, so that duplicates and stale deliveries do nothing. A key that
cannot be read (foreign, damaged, hostile) is left out, warned about once, and never fatal.
"""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import InvalidRequest
from graphmesh.registry import wire
from graphmesh.registry.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from graphmesh.registry.keys import Key, Keys
    from graphmesh.registry.kv import Batch, Event, KeyValue, Listing
    from graphmesh.registry.records import GraphRecord, WorkerRecord

__all__ = ["View"]

_log = logging.getLogger(__name__)

_DECODE: dict[str, Callable[[str, bytes], Any]] = {
    "workers": wire.decode_worker,
    "gateways": wire.decode_gateway,
    "signatures": wire.decode_signature,
    "models": wire.decode_model,
}


class View:
    """The registry's contents, decoded."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._items: dict[str, KeyValue] = {}
        self._deleted: dict[str, int] = {}
        self._records: dict[str, dict[str, Any]] = {kind: {} for kind in (*_DECODE, "graphs")}
        self._frozen_records: dict[str, Mapping[str, Any]] = {}
        self._warned: dict[str, int] = {}
        self.cluster_id = 0
        """The store's identity at the last listing."""
        self.revision = 0
        """Every change up to this one is in here."""

    @property
    def workers(self) -> Mapping[str, WorkerRecord]:
        """Registered workers by id; the mapping never changes."""
        return self._frozen("workers")

    @property
    def unreadable(self) -> int:
        """How many keys are left out because they cannot be read."""
        return len(self._warned)

    def rewound_by(self, news: Listing | Batch) -> bool:
        """Return whether news come from another store than the one known so far, or from an older state of it."""
        known = self.cluster_id != 0
        return known and (news.cluster_id != self.cluster_id or news.revision < self.revision)

    def replace(self, listing: Listing) -> int:
        """Start from a listing; only what differs is read again.

        Returns:
            How many keys were not as the changes delivered so far say: those that the listing lacks, and those it has
            from a revision that was delivered already.
        """
        old, new = self._items, {item.key: item for item in listing.items}
        changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        differing = sum(key not in new or new[key].mod_revision <= self.revision for key in changed)
        self._items = new
        self._deleted.clear()
        self.cluster_id, self.revision = listing.cluster_id, listing.revision
        self._refresh(changed)
        return differing

    def apply(self, batch: Batch) -> bool:
        """Take in a batch as one step; return whether anything changed."""
        fresh = [event for event in batch.events if self._newer(event)]
        for event in fresh:
            if event.item is None:
                self._items.pop(event.key, None)
                self._deleted[event.key] = event.mod_revision
            else:
                self._items[event.key] = event.item
                self._deleted.pop(event.key, None)
            self.revision = max(self.revision, event.mod_revision)
        self._refresh({event.key for event in fresh})
        return bool(fresh)

    def _newer(self, event: Event) -> bool:
        item = self._items.get(event.key)
        known = item.mod_revision if item else self._deleted.get(event.key, 0)
        return event.mod_revision > known

    def _refresh(self, changed: Iterable[str]) -> None:
        """Bring the records of changed keys up to date; a graph is read once, after all of its keys changed."""
        graphs = set()
        for name in changed:
            key = self._keys.parse(name)
            if key is None:
                continue
            if key.kind in _DECODE:
                self._set(key.kind, key.name, name, self._read(key, name))
            else:
                graphs.add(key.name)
        for graph in graphs:
            self._set("graphs", graph, self._keys.live(graph), self._read_graph(graph))

    def _set(self, kind: str, name: str, key: str, record: object) -> None:
        self._frozen_records.pop(kind, None)
        if record is None:
            self._records[kind].pop(name, None)
        else:
            self._records[kind][name] = record
            self._warned.pop(key, None)

    def _read(self, key: Key, name: str) -> object:
        item = self._items.get(name)
        if item is None:
            self._warned.pop(name, None)
            return None
        try:
            return _DECODE[key.kind](key.name, item.value)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's value does, it costs only its own key
            self._warn(item, error)
            return None

    def _read_graph(self, name: str) -> GraphRecord | None:
        live = self._items.get(self._keys.live(name))
        if live is None:
            self._warned.pop(self._keys.live(name), None)
            return None
        try:
            revision = wire.decode_live(live.value)
            item = self._items.get(self._keys.revision(name, revision))
            if item is None:
                raise InvalidRequest(f"graph {name!r}: the live revision must exist, got {revision}")  # noqa: TRY301
            return wire.decode_graph(name, revision, item.value, etag=wire.etag_of(live), live=True)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's value does, it costs only its own key
            self._warn(live, error)
            return None

    def _warn(self, item: KeyValue, error: Exception) -> None:
        """Warn once for each value, not again at every listing."""
        if self._warned.get(item.key) != item.mod_revision:
            self._warned[item.key] = item.mod_revision
            _log.warning("registry key skipped key=%r mod_revision=%d error=%s", item.key, item.mod_revision, error)

    def snapshot(
        self, *, workers: Mapping[str, WorkerRecord] | None = None, held: frozenset[str] = frozenset()
    ) -> Snapshot:
        """Return the contents as they are now; ``workers`` and ``held`` come from the guard, if there is one."""
        return Snapshot(
            cluster_id=self.cluster_id,
            revision=self.revision,
            workers=self.workers if workers is None else MappingProxyType(workers),
            gateways=self._frozen("gateways"),
            models=self._frozen("models"),
            graphs=self._frozen("graphs"),
            signatures=self._frozen("signatures"),
            held=held,
        )

    def _frozen(self, kind: str) -> Mapping[str, Any]:
        """Return a kind's records by name, copied only when one of them changed since the last time."""
        if kind not in self._frozen_records:
            self._frozen_records[kind] = MappingProxyType(dict(sorted(self._records[kind].items())))
        return self._frozen_records[kind]
