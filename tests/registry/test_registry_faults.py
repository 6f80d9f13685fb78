"""A real etcd that is killed, stopped, emptied, compacted; a process that is busy or paused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from graphmesh.cli.ports import free_port
from graphmesh.core.errors import InvalidRequest, Overloaded, RegistryUnavailable
from graphmesh.registry import HoldPolicy, LocalEtcd, Mirror, ModelSpec, Registry, Session, WorkerRecord, connect
from graphmesh.registry.kv import Delete, Put
from tests.registry.fakes import SIGNATURE, Store, document, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from graphmesh.registry import EtcdBinary

pytestmark = [pytest.mark.etcd, pytest.mark.fault]


@pytest.fixture
async def etcd(etcd_binary: EtcdBinary, tmp_path: Path) -> AsyncIterator[LocalEtcd]:
    """An etcd that the test may hurt."""
    async with LocalEtcd(tmp_path / "etcd", binary=etcd_binary) as running:
        yield running


@pytest.fixture
async def registry(etcd: LocalEtcd) -> AsyncIterator[Registry]:
    """A registry over it."""
    async with Registry(connect([etcd.endpoint])) as found:
        yield found


@contextlib.asynccontextmanager
async def _registered(registry: Registry, *, ttl_s: float = 15) -> AsyncIterator[tuple[Session[WorkerRecord], Mirror]]:
    """Register a worker and follow it."""
    async with (
        registry.mirror() as mirror,
        await registry.register_worker(
            worker(), signatures=[SIGNATURE], specs=[ModelSpec(name="m")], ttl_s=ttl_s
        ) as session,
    ):
        await mirror.wait_for(lambda s: "w1" in s.workers, 2)
        yield session, mirror


async def _turns(mirror: Mirror, *, connected: bool, within_s: float) -> float:
    """Return after how many seconds a mirror's connection is as expected."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while mirror.connected is not connected:  # noqa: ASYNC110 - what a caller of `connected` sees
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def _refused(registry: Registry) -> None:
    """Check that reading and writing are refused within two seconds each."""
    for call in (registry.put_graph("g2", document("g2"), SIGNATURE), registry.read()):
        began = time.monotonic()
        with pytest.raises(RegistryUnavailable, match="etcd at 127"):
            await call
        assert time.monotonic() - began < 2


async def test_etcd_killed_and_started_again(etcd: LocalEtcd, registry: Registry) -> None:
    """A killed etcd is noticed at once, changes are refused, and all is as before soon after it is back."""
    async with _registered(registry) as (session, mirror):
        before = await registry.put_graph("g", document("g"), SIGNATURE)
        os.kill(etcd.pid, signal.SIGKILL)
        await _turns(mirror, connected=False, within_s=1)
        assert mirror.snapshot.workers.keys() == {"w1"}
        await _turns(mirror, connected=True, within_s=5)
        after = await registry.put_graph("g", document("g", "changed"), SIGNATURE, etag=before.etag)
        await mirror.wait_for(lambda s: s.graphs["g"] == after, 1)
        assert etcd.restarts == 1
        assert session.record.generation == 1


async def test_etcd_stopped_and_continued(etcd: LocalEtcd, registry: Registry) -> None:
    """A stopped etcd is noticed within 3 s, changes are refused within 2 s, and it all converges after SIGCONT."""
    async with _registered(registry) as (_, mirror):
        os.kill(etcd.pid, signal.SIGSTOP)
        try:
            refusing = asyncio.create_task(_refused(registry))
            assert await _turns(mirror, connected=False, within_s=4) < 3
            await refusing
            assert mirror.snapshot.workers.keys() == {"w1"}
        finally:
            os.kill(etcd.pid, signal.SIGCONT)
        assert await _turns(mirror, connected=True, within_s=5) < 5
        await registry.put_graph("g", document("g"), SIGNATURE)
        await mirror.wait_for(lambda s: "g" in s.graphs, 1)


async def test_no_etcd_at_all() -> None:
    """Where nothing listens, every call is refused within 2 s."""
    async with Registry(connect([f"127.0.0.1:{free_port()}"])) as registry:
        await _refused(registry)
        with pytest.raises(RegistryUnavailable):
            await registry.register_worker(worker())


async def test_a_second_endpoint_takes_over(etcd: LocalEtcd, tmp_path: Path) -> None:
    """Calls, watches and keep-alives go to another endpoint when the first is not there, or does not answer."""
    async with LocalEtcd(tmp_path / "mute", binary=etcd.binary) as mute:
        os.kill(mute.pid, signal.SIGSTOP)
        for first in (f"127.0.0.1:{free_port()}", mute.endpoint):
            async with (
                Registry(connect([first, etcd.endpoint])) as registry,
                _registered(registry, ttl_s=2) as (session, mirror),
            ):
                await asyncio.sleep(3)
                assert mirror.connected
                assert session.statistics.losses == 0


async def test_etcd_loses_its_data(etcd: LocalEtcd, registry: Registry) -> None:
    """An etcd that comes back empty loses no worker that answers; workers register again, signatures and all."""
    seen: list[frozenset[str]] = []

    async def healthy(_record: WorkerRecord) -> bool:
        return True

    async with _registered(registry) as (session, _), registry.mirror(hold=HoldPolicy(probe=healthy)) as mirror:
        follower = asyncio.create_task(_note_workers(mirror, seen))
        for number in range(20):
            await registry.put_model_spec(ModelSpec(name=f"x{number}"))
        await mirror.wait_for(lambda s: "x19" in s.models, 2)
        shutil.rmtree(etcd._data / "member")
        os.kill(etcd.pid, signal.SIGKILL)
        await mirror.wait_for(lambda s: "x19" not in s.models, 10)
        await mirror.wait_for(lambda s: s.workers["w1"].generation == 2 and not s.held, 5)
        assert mirror.snapshot.signature_of("m") == SIGNATURE
        assert session.statistics.losses == 1
        follower.cancel()
    assert all("w1" in workers for workers in seen)


async def _note_workers(mirror: Mirror, seen: list[frozenset[str]]) -> None:
    async for snapshot in mirror.changes():
        seen.append(frozenset(snapshot.workers))  # noqa: PERF401 - endless: noted one by one


async def test_a_full_etcd_keeps_what_it_has(etcd: LocalEtcd, registry: Registry) -> None:
    """An etcd out of space refuses writes with the reason, keeps leases alive, and recovers once disarmed."""
    async with _registered(registry, ttl_s=2) as (session, mirror):
        await _alarm(etcd, rpc.AlarmRequest.ACTIVATE)
        with pytest.raises(Overloaded, match="space"):
            await registry.put_graph("g", document("g"), SIGNATURE)
        await asyncio.sleep(3)
        assert mirror.connected
        assert session.statistics.losses == 0
        await _alarm(etcd, rpc.AlarmRequest.DEACTIVATE)
        await registry.put_graph("g", document("g"), SIGNATURE)


async def _alarm(etcd: LocalEtcd, action: int) -> None:
    async with grpc.aio.insecure_channel(etcd.endpoint) as channel:
        status = await rpc_pb2_grpc.MaintenanceStub(channel).Status(rpc.StatusRequest())
        alarm = rpc.AlarmRequest(action=action, memberID=status.header.member_id, alarm=rpc.NOSPACE)
        await rpc_pb2_grpc.MaintenanceStub(channel).Alarm(alarm)


async def test_a_value_too_large_is_refused(debian_etcd: LocalEtcd, mesh: str) -> None:
    """What etcd would not take in one request is the request's fault, not an outage."""
    async with Registry(connect([debian_etcd.endpoint]), mesh=mesh) as registry:
        with pytest.raises(InvalidRequest, match="too large"):
            await registry.put_model_spec(ModelSpec(name="m", source="x" * 2_000_000))


async def test_a_busy_event_loop_keeps_its_lease(debian_etcd: LocalEtcd, mesh: str) -> None:
    """A loop blocked for almost twice the TTL loses nothing: the lease is renewed by its own thread."""
    async with (
        Registry(connect([debian_etcd.endpoint]), mesh=mesh) as registry,
        _registered(registry, ttl_s=2) as (session, mirror),
    ):
        time.sleep(3.7)  # noqa: ASYNC251 - the point of the test
        assert "w1" in (await registry.read()).workers
        await asyncio.sleep(0.5)
        assert session.statistics.losses == 0
        assert mirror.snapshot.workers.keys() == {"w1"}


_FOLLOWER = """
import asyncio, sys
from graphmesh.registry import Registry, connect

async def main():
    async with Registry(connect([sys.argv[1]]), mesh=sys.argv[2]) as registry, registry.mirror() as mirror:
        async for snapshot in mirror.changes():
            sys.stdout.write(" ".join(snapshot.workers) + "\\n")
            sys.stdout.flush()

asyncio.run(main())
"""


async def test_compaction_past_a_paused_reader(debian_etcd: LocalEtcd, mesh: str) -> None:
    """A reader paused while history is written and compacted ends with exactly what the store has."""
    store = Store.of("etcd", debian_etcd.endpoint)
    async with Registry(store.kv, mesh=mesh) as registry:
        gone = await registry.register_worker(worker("w1", port=7001))
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _FOLLOWER, debian_etcd.endpoint, mesh, stdout=asyncio.subprocess.PIPE
        )
        assert reader.stdout
        try:
            async with asyncio.timeout(20):
                assert await reader.stdout.readline() == b"w1\n"
                reader.send_signal(signal.SIGSTOP)
                await gone.close()
                here = await registry.register_worker(worker("w2", port=7003))
                for number in range(300):
                    await store.kv.txn([], [Put(f"/graphmesh/{mesh}/models/bad{number}", b"x" * 10_000)])
                    await store.kv.txn([], [Delete(f"/graphmesh/{mesh}/models/bad{number}")])
                await store.compact()
                reader.send_signal(signal.SIGCONT)
                while await reader.stdout.readline() != b"w2\n":
                    pass
                await here.close()
        finally:
            reader.kill()
            await reader.wait()
