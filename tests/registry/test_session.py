"""Sessions over the fake store, in time that the test owns."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import AlreadyExists, RegistryUnavailable
from graphmesh.registry import MemoryKV, ModelSpec, Registry, WorkerState
from graphmesh.registry.keys import Keys
from graphmesh.registry.kv import Delete, Put
from tests.registry.fakes import SIGNATURE, FakeClock, worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphmesh.registry.kv import KeepAlive

KEY = Keys("default").worker("w1")


async def test_a_session_outlives_its_ttl(clock: FakeClock) -> None:
    """A record stays for as long as its session, without ever being written again."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    async with await registry.register_worker(worker(), ttl_s=5) as session:
        written = (await kv.get([KEY])).items
        await clock.advance(60)
        assert (await kv.get([KEY])).items == written
        assert session.statistics.registrations == 1
    assert (await kv.get([KEY])).items == ()


async def test_a_short_outage_changes_nothing(clock: FakeClock) -> None:
    """A store that comes back keeps the lease, so the record keeps its generation."""
    kv = MemoryKV(clock)
    async with await Registry(kv, clock=clock).register_worker(worker(), ttl_s=5) as session:
        kv.stop()
        await clock.advance(30)
        kv.resume()
        await clock.advance(10)
        assert session.record.generation == 1
        assert session.statistics.failures > 0
        assert (await kv.get([KEY])).items[0].lease == 1


async def test_lost_data_is_written_again(clock: FakeClock) -> None:
    """After the store lost its data, record, signatures and specs are back within two seconds; `lost` was set."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    async with await registry.register_worker(worker(), signatures=[SIGNATURE], specs=[ModelSpec(name="m")]) as session:
        await clock.settle()
        lost = asyncio.ensure_future(session.lost.wait())
        kv.wipe()
        await clock.advance(2)
        assert lost.done()
        assert not session.lost.is_set()
        snapshot = await registry.read()
        assert snapshot.workers["w1"].generation == 2
        assert snapshot.signature_of("m") == SIGNATURE
        assert "m" in snapshot.models


class _LyingKV(MemoryKV):
    """A store whose keep-alive always answers OK, as one release of etcd did for revoked leases."""

    def keep_alive(self, lease: int, *, ttl_s: float, gone: Callable[[], None]) -> KeepAlive:
        """Never report that the lease is gone."""
        return super().keep_alive(lease, ttl_s=ttl_s, gone=lambda: None)


async def test_a_lying_keep_alive_is_found_out(clock: FakeClock) -> None:
    """A lease that is gone although keep-alive says OK is noticed by the watch of the own key, within two seconds."""
    kv = _LyingKV(clock)
    async with await Registry(kv, clock=clock).register_worker(worker()) as session:
        await clock.settle()
        await kv.revoke(1)
        await clock.advance(2)
        assert session.record.generation == 2
        assert (await kv.get([KEY])).items[0].lease == 2


async def test_an_update_in_an_outage_is_remembered(clock: FakeClock) -> None:
    """An update that the store does not take is refused, and written once the store is back."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    async with await registry.register_worker(worker(), ttl_s=15) as session:
        kv.stop()
        with pytest.raises(RegistryUnavailable):
            await session.update(replace(session.record, state=WorkerState.DRAINING))
        await clock.advance(3)
        kv.resume()
        await clock.advance(2)
        record = (await registry.read()).workers["w1"]
        assert (record.state, record.generation) == (WorkerState.DRAINING, 1)


async def test_an_update_while_lost_is_remembered(clock: FakeClock) -> None:
    """An update between the loss of a record and its return is refused, and is what returns."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    async with await registry.register_worker(worker()) as session:
        await kv.revoke(1)
        with pytest.raises(RegistryUnavailable, match="again"):
            await session.update(replace(session.record, labels={"zone": "a"}))
        await clock.advance(2)
        record = (await registry.read()).workers["w1"]
        assert (record.labels, record.generation) == ({"zone": "a"}, 2)


class _NoLeasesKV(MemoryKV):
    """A store that, from some moment on, grants no lease."""

    granting = True

    async def grant(self, ttl_s: float) -> int:
        """Grant a lease, or do not answer."""
        if not self.granting:
            raise RegistryUnavailable("no leases")
        return await super().grant(ttl_s)


async def test_an_update_without_a_lease_writes_nothing(clock: FakeClock) -> None:
    """Between two leases an update is refused: no record may be written that nothing takes away."""
    kv = _NoLeasesKV(clock)
    async with await Registry(kv, clock=clock).register_worker(worker()) as session:
        await clock.settle()
        kv.granting = False
        await kv.revoke(1)
        await clock.advance(3)
        with pytest.raises(RegistryUnavailable):
            await session.update(session.record)
        assert (await kv.get([KEY])).items == ()
        kv.granting = True
        await clock.advance(2)
        assert (await kv.get([KEY])).items[0].lease == 2


async def test_updates_do_not_choose_the_generation(clock: FakeClock) -> None:
    """The session counts generations, whatever an updated record says."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    async with await registry.register_worker(replace(worker(), generation=4)) as session:
        await session.update(replace(worker(), generation=1))
        assert (await registry.read()).workers["w1"].generation == 4


async def test_a_stolen_key_is_taken_back_when_it_is_free(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """A key that another process holds is left to it, with one warning, until it is free."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    async with await registry.register_worker(worker()) as session:
        await clock.settle()
        await kv.txn([], [Put(KEY, b"theirs")])
        await clock.advance(10)
        assert (await kv.get([KEY])).items[0].value == b"theirs"
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
        await kv.txn([], [Delete(KEY)])
        await clock.advance(3)
        assert (await registry.read()).workers["w1"].generation == 2
        assert session.statistics.registrations == 2


async def test_many_return_apart(clock: FakeClock) -> None:
    """Sessions that lose their records together return spread over half a second, each within two."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    sessions = [await registry.register_worker(worker(f"w{n}", port=7001 + 2 * n)) for n in range(30)]
    await clock.settle()
    kv.wipe()
    await clock.advance(0.25)
    assert 0 < len((await registry.read()).workers) < 30
    await clock.advance(1.75)
    assert len((await registry.read()).workers) == 30
    for session in sessions:
        await session.close()


async def test_starting_without_a_store_is_refused(clock: FakeClock) -> None:
    """Registering while the store is away fails and leaves nothing behind."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    kv.stop()
    with pytest.raises(RegistryUnavailable):
        await registry.register_worker(worker())
    kv.resume()
    assert (await registry.read()).workers == {}


async def test_a_refused_session_leaves_no_lease_alive(clock: FakeClock) -> None:
    """A second session for the same id keeps nothing alive once it was refused."""
    kv = MemoryKV(clock)
    registry = Registry(kv, clock=clock)
    async with await registry.register_worker(worker(), ttl_s=5):
        with pytest.raises(AlreadyExists):
            await registry.register_worker(worker(), ttl_s=5)
        await clock.advance(10)
        assert list(kv._leases) == [1]


async def test_closing_without_a_store_returns(clock: FakeClock) -> None:
    """Closing during an outage leaves the record to its TTL; closing twice does nothing."""
    kv = MemoryKV(clock)
    session = await Registry(kv, clock=clock).register_worker(worker(), ttl_s=5)
    kv.stop()
    await session.close()
    await session.close()
    kv.resume()
    await clock.advance(6)
    assert (await kv.get([KEY])).items == ()
