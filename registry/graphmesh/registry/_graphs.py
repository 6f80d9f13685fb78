"""Guarded changes of graphs: immutable revisions, and a pointer to the one that is live.

A graph exists exactly while its live pointer does. Applying writes the next revision and moves the pointer in one
transaction; deleting takes the pointer away and leaves the revisions, so that a number is never used for two different
graphs: requests on their way, and workers that lag, name revisions by number. A revision remembers the one it replaced,
which never changes: going back from it leads there, wherever the pointer has been in between.

Old revisions go when a new one is written, in the same transaction: the newest are kept, and the one that was live
until then, whatever its age.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from graphmesh.core.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from graphmesh.core.names import check_model_name
from graphmesh.registry import wire
from graphmesh.registry._guarded import Done, Write, change
from graphmesh.registry.kv import ANSWER_WITHIN_S, MAX_TXN_OPS, Compare, Delete, Put
from graphmesh.registry.records import GraphRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from graphmesh.core.signature import Signature
    from graphmesh.registry.keys import Keys
    from graphmesh.registry.kv import KV, KeyValue, Op

__all__ = ["KEPT_REVISIONS", "MAX_DOCUMENT_BYTES", "GraphTable"]

KEPT_REVISIONS = 100
"""How many of a graph's newest revisions are kept."""

MAX_DOCUMENT_BYTES = 512 * 1024
"""Largest graph: etcd takes 1.5 MiB in one request."""


class GraphTable:
    """The durable records of graphs."""

    def __init__(self, kv: KV, keys: Keys) -> None:
        self._kv = kv
        self._keys = keys

    async def put(self, name: str, document: bytes, signature: Signature, *, etag: str) -> GraphRecord:
        """See `Registry.put_graph`."""
        check_model_name(name)
        document = wire.canonical_document(name, document)
        if len(document) > MAX_DOCUMENT_BYTES:
            raise InvalidRequest(
                f"graph {name!r}: the document must be at most {MAX_DOCUMENT_BYTES} bytes, got {len(document)}"
            )

        async def decide(timeout_s: float) -> Done[GraphRecord] | Write[GraphRecord]:
            live = await self._live(name, timeout_s, refuse_model=True)
            current = await self._current(name, live, timeout_s)
            if current and (current.document, current.signature.digest) == (document, signature.digest):
                return Done(current)
            _check_etag(name, etag, live)
            known, replaced = await self._numbers(name, timeout_s), _live_revision(live)
            record = GraphRecord(
                name=name,
                document=document,
                revision=1 + max(known, default=0),
                signature=signature,
                create_time=round(time.time(), 6),
                replaces=replaced if replaced in known else 0,
                live=True,
            )
            return self._write(record, live, _superfluous(known, record.replaces))

        return await change(self._kv, f"graph {name!r}", decide)

    def _write(self, record: GraphRecord, live: KeyValue | None, superfluous: Sequence[int]) -> Write[GraphRecord]:
        keys, name = self._keys, record.name
        revision_key = keys.revision(name, record.revision)
        compares = [
            Compare(keys.model(name), 0),
            Compare(keys.live(name), live.mod_revision if live else 0),
            Compare(revision_key, 0),
        ]
        ops: list[Op] = [
            Put(revision_key, wire.encode_graph(record)),
            Put(keys.live(name), wire.encode_live(record.revision)),
            *(Delete(keys.revision(name, number)) for number in superfluous),
        ]
        return Write(compares, ops, lambda written_at: replace(record, etag=f'"{written_at}"'))

    async def set_live(self, name: str, revision: int, *, etag: str) -> GraphRecord:
        """See `Registry.set_live`."""
        check_model_name(name)

        async def decide(timeout_s: float) -> Done[GraphRecord] | Write[GraphRecord]:
            live = await self._live(name, timeout_s)
            if live is None:
                raise _no_graph(name)
            item = await self._item(name, revision, timeout_s)
            record = self._decode(name, item, live) if item else None
            if item is None or record is None:
                raise _no_revision(name, revision)
            if record.live:
                return Done(record)
            _check_etag(name, etag, live)
            return Write(
                [Compare(live.key, live.mod_revision), Compare(item.key, item.mod_revision)],
                [Put(live.key, wire.encode_live(revision))],
                lambda written_at: replace(record, etag=f'"{written_at}"', live=True),
            )

        return await change(self._kv, f"graph {name!r}", decide)

    async def get(self, name: str, revision: int) -> GraphRecord:
        """See `Registry.get_graph`."""
        live = await self._existing(name)
        found = await self._revision(name, revision or _live_revision(live), live)
        if found is None:
            raise _no_revision(name, revision)
        return found

    async def revisions(self, name: str) -> tuple[GraphRecord, ...]:
        """See `Registry.list_graph_revisions`."""
        live = await self._existing(name)
        listing = await self._kv.list(self._keys.revisions(name))
        found = (self._decode(name, item, live) for item in listing.items)
        return tuple(sorted((record for record in found if record), key=lambda record: record.revision))

    async def delete(self, name: str, *, etag: str) -> None:
        """See `Registry.delete_graph`."""
        tried = False

        async def decide(timeout_s: float) -> Done[None] | Write[None]:
            nonlocal tried
            live = await self._live(check_model_name(name), timeout_s)
            if live is None:
                if tried:
                    return Done(None)
                raise _no_graph(name)
            _check_etag(name, etag, live)
            tried = True
            return Write([Compare(live.key, live.mod_revision)], [Delete(live.key)], lambda _revision: None)

        await change(self._kv, f"graph {name!r}", decide)

    async def _live(self, name: str, timeout_s: float, *, refuse_model: bool = False) -> KeyValue | None:
        model, live = self._keys.model(name), self._keys.live(name)
        listing = await self._kv.get([model, live], timeout_s=timeout_s)
        items = {item.key: item for item in listing.items}
        if refuse_model and model in items:
            raise AlreadyExists(f"a graph must not have the name of a model, {name!r}; choose another name")
        return items.get(live)

    async def _existing(self, name: str) -> KeyValue:
        live = await self._live(check_model_name(name), ANSWER_WITHIN_S)
        if live is None:
            raise _no_graph(name)
        return live

    async def _current(self, name: str, live: KeyValue | None, timeout_s: float) -> GraphRecord | None:
        """Return the live revision; None also if it cannot be read, so that applying again repairs it."""
        return await self._revision(name, _live_revision(live), live, timeout_s) if live else None

    async def _revision(
        self, name: str, revision: int, live: KeyValue, timeout_s: float = ANSWER_WITHIN_S
    ) -> GraphRecord | None:
        item = await self._item(name, revision, timeout_s)
        return self._decode(name, item, live) if item else None

    async def _item(self, name: str, revision: int, timeout_s: float) -> KeyValue | None:
        listing = await self._kv.get([self._keys.revision(name, revision)], timeout_s=timeout_s)
        return listing.items[0] if listing.items else None

    def _decode(self, name: str, item: KeyValue, live: KeyValue) -> GraphRecord | None:
        key = self._keys.parse(item.key)
        if key is None:
            return None
        is_live = key.revision == _live_revision(live)
        try:
            return wire.decode_graph(name, key.revision, item.value, etag=wire.etag_of(live), live=is_live)
        except InvalidRequest:
            return None

    async def _numbers(self, name: str, timeout_s: float) -> list[int]:
        """Return the numbers of all revisions that are kept, in no order."""
        listing = await self._kv.list(self._keys.revisions(name), keys_only=True, timeout_s=timeout_s)
        keys = (self._keys.parse(item.key) for item in listing.items)
        return [key.revision for key in keys if key]


def _superfluous(known: Iterable[int], replaced: int) -> list[int]:
    """Return the revisions that go when one more is written, as many as fit into its transaction."""
    old = sorted(known, reverse=True)[KEPT_REVISIONS - 1 :]
    return [number for number in old if number != replaced][: MAX_TXN_OPS - 2]


def _live_revision(live: KeyValue | None) -> int:
    """Return the revision that a live pointer names; 0 without one, or for one that cannot be read."""
    try:
        return wire.decode_live(live.value) if live else 0
    except InvalidRequest:
        return 0


def _no_graph(name: str) -> NotFound:
    return NotFound(f"no graph is named {name!r}; `graphmesh graph list` lists them")


def _no_revision(name: str, revision: int) -> NotFound:
    what = revision or "that is live"
    return NotFound(f"graph {name!r} has no readable revision {what}; `graphmesh graph revisions {name}` lists them")


def _check_etag(name: str, etag: str, live: KeyValue | None) -> None:
    current = wire.etag_of(live) if live else ""
    if etag and etag != current:
        raise Conflict(f"graph {name!r} must still have etag {etag[:40]}, it has {current or 'none'}; read it again")
