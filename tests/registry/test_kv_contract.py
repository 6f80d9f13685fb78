"""What the registry relies on, asked of every store: the fake in memory, Debian's etcd, the wheel's."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.core.errors import NotFound, RegistryUnavailable
from graphmesh.registry.kv import Batch, Compare, Delete, Event, Put, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.registry.fakes import Store


async def _events(batches: AsyncIterator[Batch], count: int) -> list[tuple[Event, ...]]:
    """Return the events of the next batches that have any, until ``count`` events came."""
    found: list[tuple[Event, ...]] = []
    async with asyncio.timeout(8):
        async for batch in batches:
            if batch.events:
                found.append(batch.events)
            if sum(map(len, found)) >= count:
                return found
    raise AssertionError("the watch ended")


async def test_list_returns_what_starts_with_the_prefix(store: Store, prefix: str) -> None:
    """A listing has the prefix's keys only, in order, with values, revisions and the store's own revision."""
    await store.kv.txn([], [Put(f"{prefix}b/2", b"two"), Put(f"{prefix}b/1", b"one")])
    written = await store.kv.txn([], [Put(f"{prefix}b0", b"after"), Put(f"{prefix}a", b"before")])
    listing = await store.kv.list(f"{prefix}b/")
    assert [(item.key, item.value) for item in listing.items] == [(f"{prefix}b/1", b"one"), (f"{prefix}b/2", b"two")]
    assert {item.mod_revision for item in listing.items} == {written.revision - 1}
    assert listing.revision >= written.revision
    keys = await store.kv.list(f"{prefix}b/", keys_only=True)
    assert [(item.key, item.value) for item in keys.items] == [(f"{prefix}b/1", b""), (f"{prefix}b/2", b"")]


async def test_list_of_thousands_is_one_revision(store: Store, prefix: str) -> None:
    """A listing longer than one page is complete."""
    for start in range(0, 2_100, 100):
        await store.kv.txn([], [Put(f"{prefix}{number:05}", b"") for number in range(start, start + 100)])
    listing = await store.kv.list(prefix)
    assert [item.key for item in listing.items] == [f"{prefix}{number:05}" for number in range(2_100)]


async def test_get_returns_those_that_exist(store: Store, prefix: str) -> None:
    """Reading several keys returns the existing ones, from one revision."""
    await store.kv.txn([], [Put(f"{prefix}a", b"1"), Put(f"{prefix}c", b"3")])
    listing = await store.kv.get([f"{prefix}{letter}" for letter in "cab"])
    assert [(item.key, item.value) for item in listing.items] == [(f"{prefix}a", b"1"), (f"{prefix}c", b"3")]


async def test_a_caller_that_leaves_harms_nobody(store: Store, prefix: str) -> None:
    """Reads and writes cut off at any moment leave the store answering."""
    keys = [f"{prefix}{number}" for number in range(8)]
    for wait in range(40):
        calls: list[asyncio.Future[Any]] = [asyncio.ensure_future(store.kv.get(keys)) for _ in range(4)]
        calls.append(asyncio.ensure_future(store.kv.txn([], [Put(keys[0], b"1")])))
        await asyncio.sleep(wait / 20_000)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert (await store.kv.get([])).revision > 0


async def test_txn_is_all_or_nothing(store: Store, prefix: str) -> None:
    """One compare that fails keeps every operation from being done."""
    a, b = f"{prefix}a", f"{prefix}b"
    first = await store.kv.txn([Compare(a, 0)], [Put(a, b"1")])
    assert first.succeeded
    again = await store.kv.txn([Compare(a, 0), Compare(b, 0)], [Put(a, b"2"), Put(b, b"2")])
    assert not again.succeeded
    guarded = await store.kv.txn([Compare(a, first.revision), Compare(b, 0)], [Delete(a), Put(b, b"3")])
    assert guarded.succeeded
    assert [(i.key, i.value, i.mod_revision) for i in (await store.kv.list(prefix)).items] == [
        (b, b"3", guarded.revision)
    ]


async def test_txn_compares_the_lease(store: Store, prefix: str) -> None:
    """A key's lease can be a condition; a key that does not exist has lease 0."""
    key, lease = f"{prefix}k", await store.kv.grant(store.ttl_s)
    assert (await store.kv.txn([Compare(key, 0, Target.LEASE)], [Put(key, b"1", lease)])).succeeded
    assert not (await store.kv.txn([Compare(key, 0, Target.LEASE)], [Put(key, b"2")])).succeeded
    assert (await store.kv.txn([Compare(key, lease, Target.LEASE)], [Put(key, b"2", lease)])).succeeded
    assert (await store.kv.get([key])).items[0].lease == lease


async def test_put_needs_a_living_lease(store: Store, prefix: str) -> None:
    """Writing under a lease that does not exist is NotFound, and nothing is written."""
    with pytest.raises(NotFound):
        await store.kv.txn([], [Put(f"{prefix}k", b"1", 987_654_321)])
    assert (await store.kv.list(prefix)).items == ()


async def test_revoke_deletes_the_leases_keys(store: Store, prefix: str) -> None:
    """Ending a lease takes its keys away, and only those; ending it again does nothing."""
    lease = await store.kv.grant(60)
    await store.kv.txn([], [Put(f"{prefix}a", b"1", lease), Put(f"{prefix}b", b"1")])
    await store.kv.revoke(lease)
    await store.kv.revoke(lease)
    assert [item.key for item in (await store.kv.list(prefix)).items] == [f"{prefix}b"]


async def test_leases_end_unless_kept_alive(store: Store, prefix: str) -> None:
    """A lease that nobody renews ends and its key goes; one that is kept alive stays, until that is stopped."""
    left, kept = await store.kv.grant(store.ttl_s), await store.kv.grant(store.ttl_s)
    await store.kv.txn([], [Put(f"{prefix}left", b"", left), Put(f"{prefix}kept", b"", kept)])
    keep_alive = store.kv.keep_alive(kept, ttl_s=store.ttl_s, gone=lambda: None)
    async with aclosing(store.kv.watch(prefix, revision=(await store.kv.list(prefix)).revision + 1)) as batches:
        (gone,), *_ = await _events(batches, 1)
        assert (gone.key, gone.item) == (f"{prefix}left", None)
        await asyncio.sleep(store.ttl_s / 2)
        assert [item.key for item in (await store.kv.list(prefix)).items] == [f"{prefix}kept"]
        await keep_alive.stop()
        await keep_alive.stop()
    await store.kv.revoke(kept)


async def test_keep_alive_says_when_the_lease_is_gone(store: Store) -> None:
    """A lease revoked elsewhere is reported, on the event loop."""
    gone, lease = asyncio.Event(), await store.kv.grant(store.ttl_s)
    keep_alive = store.kv.keep_alive(lease, ttl_s=store.ttl_s, gone=gone.set)
    await store.kv.revoke(lease)
    async with asyncio.timeout(store.ttl_s * 2):
        await gone.wait()
    await keep_alive.stop()


async def test_watch_resumes_from_a_revision(store: Store, prefix: str) -> None:
    """A watch delivers everything from its revision on, each transaction whole, then what happens later."""
    first = await store.kv.txn([], [Put(f"{prefix}a", b"1")])
    await store.kv.txn([], [Put(f"{prefix}a", b"2"), Put(f"{prefix}b", b"2")])
    await store.kv.txn([], [Put(f"/elsewhere{prefix}", b"")])
    async with aclosing(store.kv.watch(prefix, revision=first.revision + 1)) as batches:
        past = await _events(batches, 2)
        assert [[(e.key, e.item and e.item.value) for e in events] for events in past] == [
            [(f"{prefix}a", b"2"), (f"{prefix}b", b"2")]
        ]
        last = await store.kv.txn([], [Delete(f"{prefix}a")])
        assert await _events(batches, 1) == [(Event(f"{prefix}a", None, last.revision),)]


async def test_watch_shows_that_it_is_alive(store: Store, prefix: str) -> None:
    """A watch without changes yields an empty batch at once, and again within two seconds."""
    async with aclosing(store.kv.watch(prefix, revision=(await store.kv.list(prefix)).revision + 1)) as batches:
        async with asyncio.timeout(2):
            assert (await anext(batches)).events == ()
        async with asyncio.timeout(2):
            assert (await anext(batches)).events == ()


async def test_watch_from_before_a_compaction_breaks(store: Store, prefix: str) -> None:
    """A watch that would miss compacted history breaks instead; one from the listing's revision + 1 works."""
    first = await store.kv.txn([], [Put(f"{prefix}a", b"1")])
    await store.kv.txn([], [Put(f"{prefix}a", b"2")])
    await store.compact()
    with pytest.raises(RegistryUnavailable, match="list again"):
        async with aclosing(store.kv.watch(prefix, revision=first.revision)) as batches:
            await _events(batches, 1)
    listing = await store.kv.list(prefix)
    async with aclosing(store.kv.watch(prefix, revision=listing.revision + 1)) as batches:
        await store.kv.txn([], [Put(f"{prefix}a", b"3")])
        ((event,),) = await _events(batches, 1)
        assert event.item
        assert event.item.value == b"3"
