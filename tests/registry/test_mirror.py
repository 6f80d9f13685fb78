"""The mirror over the fake store, in time that the test owns."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.core.errors import DeadlinePassed, RegistryUnavailable
from graphmesh.registry import HoldPolicy, MemoryKV, Registry, WorkerRecord, wire
from graphmesh.registry.keys import Keys
from graphmesh.registry.kv import Delete, Put
from graphmesh.registry.mirror import RELIST_S
from tests.registry.fakes import FakeClock, worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from graphmesh.registry.kv import Batch

KEYS = Keys("default")


def _put(worker_id: str, port: int = 7001) -> Put:
    return Put(KEYS.worker(worker_id), wire.encode_worker(worker(worker_id, port=port)))


async def test_entering_needs_the_store(clock: FakeClock) -> None:
    """A mirror that cannot read the store refuses to start."""
    kv = MemoryKV(clock)
    kv.stop()
    with pytest.raises(RegistryUnavailable):
        async with Registry(kv, clock=clock).mirror():
            pass


async def test_an_outage_keeps_the_snapshot(clock: FakeClock) -> None:
    """While the store is away the last snapshot stays, marked as old; afterwards it catches up within a second."""
    kv = MemoryKV(clock)
    await kv.txn([], [_put("w1")])
    async with Registry(kv, clock=clock).mirror() as mirror:
        await clock.advance(5)
        assert mirror.connected
        assert mirror.age() <= 1
        kv.stop()
        await clock.advance(30)
        assert not mirror.statistics.connected
        assert mirror.snapshot.workers.keys() == {"w1"}
        assert mirror.age() >= 30
        kv.resume()
        await kv.txn([], [_put("w2")])
        await clock.advance(1.1)
        assert mirror.connected
        assert mirror.snapshot.workers.keys() == {"w1", "w2"}
        assert mirror.statistics.losses > 10
        assert mirror.statistics.divergences == 0


async def test_a_compaction_past_the_watch_lists_again(clock: FakeClock) -> None:
    """Changes that a broken watch missed, and history forgot, are found by listing; deletions too."""
    kv = MemoryKV(clock)
    await kv.txn([], [_put("w1")])
    async with Registry(kv, clock=clock).mirror() as mirror:
        await clock.settle()
        await kv.txn([], [_put("w2")])
        await kv.txn([], [Delete(KEYS.worker("w1"))])
        kv.compact()
        await clock.advance(0.2)
        assert mirror.snapshot.workers.keys() == {"w2"}
        assert mirror.statistics.listings == 2


class _ForgetfulKV(MemoryKV):
    """A store whose watches lose every event and look alive."""

    async def watch(self, prefix: str, *, revision: int) -> AsyncGenerator[Batch, None]:
        """Yield batches without their events."""
        async with aclosing(super().watch(prefix, revision=revision)) as batches:
            async for batch in batches:
                yield replace(batch, events=())


async def test_anti_entropy_finds_what_the_watch_lost(clock: FakeClock) -> None:
    """A minute later at most the mirror equals the store again, and the loss was counted."""
    kv = _ForgetfulKV(clock)
    await kv.txn([], [_put("w1")])
    async with Registry(kv, clock=clock).mirror() as mirror:
        await clock.settle()
        await kv.txn([], [Delete(KEYS.worker("w1"))])
        await clock.advance(RELIST_S - 2)
        assert mirror.snapshot.workers.keys() == {"w1"}
        await clock.advance(4)
        assert mirror.snapshot.workers == {}
        assert mirror.statistics.divergences == 1


async def test_changes_are_coalesced(clock: FakeClock) -> None:
    """A reader gets the present snapshot first, and after a pause only the newest."""
    kv = MemoryKV(clock)
    async with Registry(kv, clock=clock).mirror() as mirror, aclosing(mirror.changes()) as changes:
        assert (await anext(changes)).workers == {}
        for number in range(3):
            await kv.txn([], [_put(f"w{number}", 7001 + 2 * number)])
            await clock.settle()
        assert len((await anext(changes)).workers) == 3
        waiting = asyncio.ensure_future(anext(changes))
        await clock.settle()
        assert not waiting.done()
        await kv.txn([], [Delete(KEYS.worker("w0"))])
        assert len((await waiting).workers) == 2


async def test_wait_for_gives_up(clock: FakeClock) -> None:
    """Waiting for what does not come ends with DeadlinePassed."""
    async with Registry(MemoryKV(clock), clock=clock).mirror() as mirror:
        with pytest.raises(DeadlinePassed, match="revision=1"):
            await mirror.wait_for(lambda snapshot: bool(snapshot.workers), 0.01)


class _Health:
    """A health check that says what the test decides."""

    def __init__(self) -> None:
        self.sick: set[str] = set()
        self.checked: list[str] = []

    async def probe(self, record: WorkerRecord) -> bool:
        """Answer, or raise as a refused connection does."""
        self.checked.append(record.worker_id)
        if record.worker_id in self.sick:
            raise ConnectionRefusedError
        return True


async def test_a_lost_store_loses_no_worker(clock: FakeClock) -> None:
    """Workers survive the loss of all data while they answer; one that stops answering goes."""
    kv, health = MemoryKV(clock), _Health()
    await kv.txn([], [_put("w1", 7001), _put("w2", 7003), _put("w3", 7005)])
    async with Registry(kv, clock=clock).mirror(hold=HoldPolicy(probe=health.probe)) as mirror:
        kv.wipe()
        await clock.advance(3)
        assert mirror.snapshot.held == mirror.snapshot.workers.keys() == {"w1", "w2", "w3"}
        await kv.txn([], [_put("w1", 7001)])
        health.sick.add("w3")
        await clock.advance(1.1)
        assert mirror.snapshot.workers.keys() == {"w1", "w2"}
        assert mirror.snapshot.held == {"w2"}
        assert mirror.statistics.held == 1
        health.checked.clear()
        await kv.txn([], [_put("w2", 7003)])
        await clock.advance(2)
        health.checked.clear()
        await clock.advance(30)
        assert health.checked == []


async def test_a_killed_worker_is_not_held(clock: FakeClock) -> None:
    """The only replica of a model, killed, is gone as soon as one health check failed."""
    kv, health = MemoryKV(clock), _Health()
    await kv.txn([], [_put("w1")])
    async with Registry(kv, clock=clock).mirror(hold=HoldPolicy(probe=health.probe)) as mirror:
        health.sick.add("w1")
        await kv.txn([], [Delete(KEYS.worker("w1"))])
        await clock.settle()
        assert (mirror.snapshot.workers, mirror.snapshot.held, health.checked) == ({}, frozenset(), ["w1"])


async def test_without_a_policy_nobody_is_held(clock: FakeClock) -> None:
    """A mirror without a health check believes what it reads."""
    kv = MemoryKV(clock)
    await kv.txn([], [_put("w1")])
    async with Registry(kv, clock=clock).mirror() as mirror:
        kv.wipe()
        await clock.advance(1)
        assert mirror.snapshot.workers == {}


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 4)),
        st.tuples(st.just("delete"), st.integers(0, 4)),
        st.tuples(st.sampled_from(["break", "compact", "stop", "resume", "wipe"]), st.just(0)),
        st.tuples(st.just("advance"), st.integers(0, 3)),
    ),
    max_size=25,
)


@settings(max_examples=30)
@given(_STEPS, st.integers())
def test_the_mirror_ends_equal_to_the_store(steps: list[tuple[str, int]], seed: int) -> None:
    """Whatever is written, broken, compacted, stopped or lost, two quiet seconds later the mirror equals the store."""

    async def history() -> None:
        clock = FakeClock()
        kv, rng = MemoryKV(clock), random.Random(seed)  # noqa: S311 - seeded, for the test
        registry = Registry(kv, clock=clock)
        async with registry.mirror() as mirror:
            for what, number in steps:
                await _step(kv, clock, what, number)
                if rng.random() < 0.5:
                    await clock.settle()
            kv.resume()
            await clock.advance(2.5)
            assert mirror.connected
            expected = await registry.read()
            assert mirror.snapshot.workers == expected.workers
            assert mirror.snapshot.cluster_id == expected.cluster_id

    asyncio.run(history())


async def _step(kv: MemoryKV, clock: FakeClock, what: str, number: int) -> None:
    if what == "advance":
        await clock.advance(number / 2)
    elif what in {"put", "delete"}:
        key = f"w{number}"
        try:
            await kv.txn([], [_put(key, 7001 + 2 * number) if what == "put" else Delete(KEYS.worker(key))])
        except RegistryUnavailable:
            return
    else:
        {"break": kv.break_watches, "compact": kv.compact, "stop": kv.stop, "resume": kv.resume, "wipe": kv.wipe}[
            what
        ]()
