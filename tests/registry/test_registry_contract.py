"""What the rest of the mesh relies on, asked of the registry over every store."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
)
from graphmesh.registry import GatewayRecord, ModelSpec, Registry, WorkerState, _graphs
from graphmesh.registry.kv import Delete
from tests.registry.fakes import SIGNATURE, document, signature, worker

if TYPE_CHECKING:
    from tests.registry.fakes import Store


@pytest.fixture
def registry(store: Store, mesh: str) -> Registry:
    """A registry over the store, alone in its mesh."""
    return Registry(store.kv, mesh=mesh)


async def test_a_worker_appears_changes_and_leaves(registry: Registry) -> None:
    """A registration, its update and its end all reach a mirror, with the signature that the record names."""
    async with registry.mirror() as mirror:
        async with await registry.register_worker(
            worker(), signatures=[SIGNATURE], specs=[ModelSpec(name="m", versions=("1",))]
        ) as session:
            seen = await mirror.wait_for(lambda s: "w1" in s.workers, 2)
            assert seen.workers["w1"] == worker()
            assert seen.signature_of("m") == SIGNATURE
            assert seen.models["m"].versions == ("1",)
            await session.update(replace(session.record, state=WorkerState.DRAINING))
            await mirror.wait_for(lambda s: s.workers["w1"].state is WorkerState.DRAINING, 2)
        seen = await mirror.wait_for(lambda s: "w1" not in s.workers, 2)
        assert seen.models["m"].versions == ("1",)
        assert seen == replace(await registry.read(), revision=seen.revision)


async def test_a_gateway_registers(registry: Registry) -> None:
    """A gateway's record lives as long as its session and follows its updates."""
    record = GatewayRecord(gateway_id="g1", host="127.0.0.1", port=8000)
    async with await registry.register_gateway(record) as session:
        await session.update(replace(record, synced_revision=7))
        assert (await registry.read()).gateways == {"g1": replace(record, synced_revision=7)}
    assert (await registry.read()).gateways == {}


async def test_an_id_belongs_to_one_session(registry: Registry) -> None:
    """Registering an id that is live is refused, and the first registration stays."""
    async with await registry.register_worker(worker(port=7001)):
        with pytest.raises(AlreadyExists, match="w1"):
            await registry.register_worker(worker(port=7011))
        assert (await registry.read()).workers["w1"].http_port == 7001
    await (await registry.register_worker(worker(port=7011))).close()


async def test_a_dead_workers_record_can_be_taken_away(registry: Registry) -> None:
    """A record that is as it was read goes at once, and its id is free; one that has changed since stays."""
    async with await registry.register_worker(worker()) as first:
        seen = (await registry.read()).workers["w1"]
        await first.update(replace(first.record, state=WorkerState.DRAINING))
        assert not await registry.forget(seen)
        await first.orphan()
        assert await registry.forget((await registry.read()).workers["w1"])
        async with await registry.register_worker(worker()):
            assert (await registry.read()).workers["w1"].state is WorkerState.READY


async def test_a_key_deleted_by_hand_comes_back(registry: Registry, store: Store, mesh: str) -> None:
    """A registration whose key vanishes is registered again within two seconds, one generation later."""
    async with await registry.register_worker(worker()) as session, registry.mirror() as mirror:
        began = time.monotonic()
        await store.kv.txn([], [Delete(f"/graphmesh/{mesh}/workers/w1")])
        await mirror.wait_for(lambda s: "w1" in s.workers and s.workers["w1"].generation == 2, 2)
        assert time.monotonic() - began < 2
        assert session.statistics.losses == 1
        assert session.record.generation == 2


async def test_a_lease_revoked_by_hand_comes_back(registry: Registry, store: Store, mesh: str) -> None:
    """A registration whose lease is revoked gets a new one within two seconds."""
    async with await registry.register_worker(worker()) as session, registry.mirror() as mirror:
        key = f"/graphmesh/{mesh}/workers/w1"
        lease = (await store.kv.get([key])).items[0].lease
        await store.kv.revoke(lease)
        await mirror.wait_for(lambda s: "w1" in s.workers and s.workers["w1"].generation == 2, 2)
        assert session.statistics.losses == 1
        assert (await store.kv.get([key])).items[0].lease not in {0, lease}


async def test_an_orphan_goes_with_its_lease(registry: Registry, store: Store) -> None:
    """An orphaned record stays until its TTL ends."""
    session = await registry.register_worker(worker(), ttl_s=store.ttl_s)
    async with registry.mirror() as mirror:
        await session.orphan()
        assert "w1" in (await registry.read()).workers
        await mirror.wait_for(lambda s: "w1" not in s.workers, store.ttl_s + 2)


async def test_many_models_register_at_once(registry: Registry) -> None:
    """A worker may host more models than fit one transaction."""
    names = [f"m{number}" for number in range(150)]
    specs = [ModelSpec(name=name, versions=("1",)) for name in names]
    async with await registry.register_worker(worker("w1", *names), specs=specs, signatures=[*map(signature, names)]):
        snapshot = await registry.read()
        assert len(snapshot.models) == len(snapshot.signatures) == 150
        assert len(snapshot.replicas("m149")) == 1


async def test_specs_are_created_once_and_gain_versions(registry: Registry) -> None:
    """Registering adds versions to a spec and leaves what else was decided about it."""
    await registry.put_model_spec(ModelSpec(name="m", source="a.onnx", replicas=3, versions=("1",)))
    async with await registry.register_worker(worker(), specs=[ModelSpec(name="m", source="b", versions=("2", "1"))]):
        assert (await registry.read()).models["m"] == ModelSpec(
            name="m", source="a.onnx", replicas=3, versions=("1", "2")
        )


async def test_scale_and_delete_a_model(registry: Registry) -> None:
    """A model's replicas can be set, and it can be forgotten once no worker hosts it."""
    with pytest.raises(NotFound):
        await registry.scale_model("m", 2)
    async with await registry.register_worker(worker(), specs=[ModelSpec(name="m")]):
        assert (await registry.scale_model("m", 2)).replicas == 2
        with pytest.raises(FailedPrecondition, match="w1"):
            await registry.delete_model("m")
    await registry.delete_model("m")
    assert (await registry.read()).models == {}
    with pytest.raises(NotFound):
        await registry.delete_model("m")


async def test_graph_revisions_count_up(registry: Registry) -> None:
    """Applying a changed graph makes a new live revision; applying an equal one changes nothing."""
    first = await registry.put_graph("g", document("g"), SIGNATURE)
    assert (first.revision, first.document, first.signature) == (1, document("g"), SIGNATURE)
    assert await registry.put_graph("g", document("g"), SIGNATURE) == first
    second = await registry.put_graph("g", document("g", "changed"), SIGNATURE, etag=first.etag)
    assert second.revision == 2
    assert await registry.get_graph("g") == second == (await registry.read()).graphs["g"]
    assert (await registry.get_graph("g", 1)).document == first.document
    assert [record.revision for record in await registry.list_graph_revisions("g")] == [1, 2]
    with pytest.raises(NotFound):
        await registry.get_graph("g", 3)


async def test_an_older_revision_is_made_live(registry: Registry) -> None:
    """The pointer moves to a revision that exists, mirrors follow, and the next one counts on from the newest."""
    for number in (1, 2, 3):
        await registry.put_graph("g", document("g", str(number)), SIGNATURE)
    newest = await registry.get_graph("g")
    async with registry.mirror() as mirror:
        back = await registry.set_live("g", 1, etag=newest.etag)
        assert (back.revision, back.document, back.live) == (1, document("g", "1"), True)
        assert back.etag != newest.etag
        seen = await mirror.wait_for(lambda s: s.graphs["g"].revision == 1, 2)
        assert seen.graphs["g"] == back == await registry.get_graph("g")
    assert [record.live for record in await registry.list_graph_revisions("g")] == [True, False, False]
    assert await registry.set_live("g", 1, etag=newest.etag) == back
    fourth = await registry.put_graph("g", document("g", "4"), SIGNATURE)
    assert (fourth.revision, fourth.replaces) == (4, 1)
    assert [record.replaces for record in await registry.list_graph_revisions("g")] == [0, 1, 2, 1]


async def test_a_revision_that_cannot_be_made_live(registry: Registry) -> None:
    """Unknown graphs and revisions are NOT_FOUND, a stale etag is a Conflict, and nothing has moved."""
    with pytest.raises(NotFound, match="no graph"):
        await registry.set_live("g", 1)
    first = await registry.put_graph("g", document("g"), SIGNATURE)
    second = await registry.put_graph("g", document("g", "changed"), SIGNATURE)
    with pytest.raises(NotFound, match="no readable revision 3"):
        await registry.set_live("g", 3)
    with pytest.raises(Conflict):
        await registry.set_live("g", 1, etag=first.etag)
    assert await registry.get_graph("g") == second
    await registry.delete_graph("g")
    with pytest.raises(NotFound, match="no graph"):
        await registry.set_live("g", 1)


async def test_the_newest_revisions_are_kept(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, store: Store, mesh: str
) -> None:
    """Old revisions go as new ones come; the one that was live until then stays, however old it is."""
    monkeypatch.setattr(_graphs, "KEPT_REVISIONS", 3)
    for number in range(1, 6):
        await registry.put_graph("g", document("g", str(number)), SIGNATURE)
    assert [record.revision for record in await registry.list_graph_revisions("g")] == [3, 4, 5]
    await registry.set_live("g", 3)
    for expected in ([3, 4, 5, 6], [5, 6, 7], [6, 7, 8]):
        await registry.put_graph("g", document("g", str(expected)), SIGNATURE)
        assert [record.revision for record in await registry.list_graph_revisions("g")] == expected
    kept = await store.kv.list(f"/graphmesh/{mesh}/graphs/g/revisions/")
    assert len(kept.items) == 3


async def test_a_pruned_backlog_fits_transactions(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """More old revisions than one transaction takes go in several, one with each new revision."""
    for number in range(1, 6):
        await registry.put_graph("g", document("g", str(number)), SIGNATURE)
    monkeypatch.setattr(_graphs, "KEPT_REVISIONS", 1)
    monkeypatch.setattr(_graphs, "MAX_TXN_OPS", 4)
    for expected in ([1, 2, 5, 6], [1, 6, 7], [7, 8]):
        await registry.put_graph("g", document("g", str(expected)), SIGNATURE)
        assert [record.revision for record in await registry.list_graph_revisions("g")] == expected


async def test_a_graph_with_another_signature_is_another_revision(registry: Registry) -> None:
    """An unchanged document over changed models has a new signature, so it is a new revision."""
    await registry.put_graph("g", document("g"), SIGNATURE)
    again = await registry.put_graph("g", document("g"), signature("other"))
    assert (again.revision, again.signature) == (2, signature("other"))


async def test_a_stale_etag_is_refused(registry: Registry) -> None:
    """Changing or deleting a graph that someone else changed first is a Conflict."""
    first = await registry.put_graph("g", document("g"), SIGNATURE)
    await registry.put_graph("g", document("g", "theirs"), SIGNATURE)
    with pytest.raises(Conflict):
        await registry.put_graph("g", document("g", "ours"), SIGNATURE, etag=first.etag)
    with pytest.raises(Conflict):
        await registry.delete_graph("g", first.etag)
    with pytest.raises(Conflict):
        await registry.put_graph("new", document("new"), SIGNATURE, etag=first.etag)


async def test_revision_numbers_outlive_a_graph(registry: Registry) -> None:
    """A deleted graph is gone for callers; applied again, it goes on counting."""
    await registry.put_graph("g", document("g"), SIGNATURE)
    await registry.delete_graph("g")
    for call in (registry.get_graph("g"), registry.list_graph_revisions("g"), registry.delete_graph("g")):
        with pytest.raises(NotFound):
            await call
    assert "g" not in (await registry.read()).graphs
    assert (await registry.put_graph("g", document("g"), SIGNATURE)).revision == 2


async def test_concurrent_changes_all_arrive(registry: Registry) -> None:
    """Graphs applied at the same time become revisions one after the other, none lost, none twice."""
    applied = await asyncio.gather(
        *(registry.put_graph("g", document("g", str(number)), SIGNATURE) for number in range(4))
    )
    assert sorted(record.revision for record in applied) == [1, 2, 3, 4]
    assert {record.document for record in await registry.list_graph_revisions("g")} == {r.document for r in applied}


async def test_concurrent_applies_and_rollbacks_are_one_after_the_other(registry: Registry) -> None:
    """Each revision replaced one that was live; none is lost or numbered twice, and the last change is what is live."""
    for number in (1, 2):
        await registry.put_graph("g", document("g", str(number)), SIGNATURE)
    changes = [registry.put_graph("g", document("g", str(number)), SIGNATURE) for number in (3, 4)]
    answers = await asyncio.gather(*changes, registry.set_live("g", 1), registry.set_live("g", 2))
    assert sorted(record.revision for record in answers) == [1, 2, 3, 4]
    kept = {record.revision: record for record in await registry.list_graph_revisions("g")}
    assert kept.keys() == {1, 2, 3, 4}
    assert all(kept[number].replaces in {1, 2, 3} for number in (3, 4))
    live = await registry.get_graph("g")
    assert live.etag == max(answers, key=lambda record: int(record.etag.strip('"'))).etag


async def test_models_and_graphs_share_one_namespace(registry: Registry) -> None:
    """Whichever has a name first keeps it: spec, registration and graph are refused the other's."""
    await registry.put_model_spec(ModelSpec(name="m"))
    with pytest.raises(AlreadyExists, match="'m'"):
        await registry.put_graph("m", document("m"), SIGNATURE)
    await registry.put_graph("g", document("g"), SIGNATURE)
    with pytest.raises(AlreadyExists, match="'g'"):
        await registry.put_model_spec(ModelSpec(name="g"))
    with pytest.raises(AlreadyExists, match="'g'"):
        await registry.register_worker(worker("w1", "g"), specs=[ModelSpec(name="g")])
    assert (await registry.read()).workers == {}


async def test_bad_graphs_are_refused(registry: Registry) -> None:
    """A document that is no graph, another graph's or too large is refused before anything is written."""
    for name, value in (("g", b"\xff\xff"), ("g", document("other")), ("g", document("g", "x" * 600_000))):
        with pytest.raises(InvalidRequest):
            await registry.put_graph(name, value, SIGNATURE)
    with pytest.raises(InvalidRequest):
        await registry.put_graph("../up", document("../up"), SIGNATURE)


async def test_meshes_are_apart(store: Store, mesh: str) -> None:
    """Two meshes in one store do not see each other, even if one's name begins with the other's."""
    one, other = Registry(store.kv, mesh=mesh), Registry(store.kv, mesh=f"{mesh}-2")
    await one.put_graph("g", document("g"), SIGNATURE)
    assert (await other.read()).graphs == {}
    await other.put_model_spec(ModelSpec(name="g"))
    assert (await one.read()).models == {}
