"""Guarded changes of graphs: immutable revisions, and a pointer to the one that is live.

A graph exists exactly while its live pointer does. Applying writes the next revision and moves the pointer in one
transaction; deleting takes the pointer away and leaves the revisions, so that a number is never used for two different
graphs: requests on their way, and workers that lag, name revisions by number.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from graphmesh.core.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from graphmesh.core.names import check_model_name
from graphmesh.registry import wire
from graphmesh.registry._guarded import Done, Write, change
from graphmesh.registry.kv import ANSWER_WITHIN_S, Compare, Delete, Put
from graphmesh.registry.records import GraphRecord

if TYPE_CHECKING:
    from graphmesh.core.signature import Signature
    from graphmesh.registry.keys import Keys
    from graphmesh.registry.kv import KV, KeyValue

__all__ = ["MAX_DOCUMENT_BYTES", "GraphTable"]

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
            record = GraphRecord(
                name=name,
                document=document,
                revision=await self._next_revision(name, current, timeout_s),
                signature=signature,
                create_time=round(time.time(), 6),
            )
            return self._write(record, live)

        return await change(self._kv, f"graph {name!r}", decide)

    def _write(self, record: GraphRecord, live: KeyValue | None) -> Write[GraphRecord]:
        keys, name = self._keys, record.name
        revision_key = keys.revision(name, record.revision)
        compares = [
            Compare(keys.model(name), 0),
            Compare(keys.live(name), live.mod_revision if live else 0),
            Compare(revision_key, 0),
        ]
        ops = [
            Put(revision_key, wire.encode_graph(record)),
            Put(keys.live(name), wire.encode_live(record.revision)),
        ]
        return Write(compares, ops, lambda written_at: replace(record, etag=f'"{written_at}"'))

    async def get(self, name: str, revision: int) -> GraphRecord:
        """See `Registry.get_graph`."""
        live = await self._existing(name)
        found = await self._revision(name, revision or wire.decode_live(live.value), live)
        if found is None:
            raise NotFound(f"graph {name!r} has no readable revision {revision or 'that is live'}")
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
        if live is None:
            return None
        try:
            return await self._revision(name, wire.decode_live(live.value), live, timeout_s)
        except InvalidRequest:
            return None

    async def _revision(
        self, name: str, revision: int, live: KeyValue, timeout_s: float = ANSWER_WITHIN_S
    ) -> GraphRecord | None:
        listing = await self._kv.get([self._keys.revision(name, revision)], timeout_s=timeout_s)
        return self._decode(name, listing.items[0], live) if listing.items else None

    def _decode(self, name: str, item: KeyValue, live: KeyValue) -> GraphRecord | None:
        key = self._keys.parse(item.key)
        try:
            return wire.decode_graph(name, key.revision, item.value, etag=wire.etag_of(live)) if key else None
        except InvalidRequest:
            return None

    async def _next_revision(self, name: str, current: GraphRecord | None, timeout_s: float) -> int:
        if current:
            return current.revision + 1
        listing = await self._kv.list(self._keys.revisions(name), keys_only=True, timeout_s=timeout_s)
        keys = (self._keys.parse(item.key) for item in listing.items)
        return 1 + max((key.revision for key in keys if key), default=0)


def _no_graph(name: str) -> NotFound:
    return NotFound(f"no graph is named {name!r}; `graphmesh graph list` lists them")


def _check_etag(name: str, etag: str, live: KeyValue | None) -> None:
    current = wire.etag_of(live) if live else ""
    if etag and etag != current:
        raise Conflict(f"graph {name!r} must still have etag {etag[:40]}, it has {current or 'none'}; read it again")
