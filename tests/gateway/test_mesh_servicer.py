"""MeshService's lists, without a mesh."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.core.wire import signature_from_wire
from graphmesh.gateway import wire_mesh
from graphmesh.gateway.placement import place_graphs
from graphmesh.gateway.servicer_mesh import MeshServicer
from graphmesh.gateway.view import View
from graphmesh.gateway.xds_server import DiscoveryServer
from graphmesh.graph.forms.wire import graph_to_bytes
from graphmesh.graph.spec import Graph, ModelCall, Node
from graphmesh.registry import GraphRecord, HostedModel, ModelState, Registry, Snapshot, WorkerRecord
from graphmesh.v1 import mesh_service_pb2

if TYPE_CHECKING:
    import pytest

    from graphmesh.gateway.standing import Standings


def snapshot(*ids: str) -> Snapshot:
    """Return a mesh of workers with model `add`, and two graphs that call it."""
    hosted = (HostedModel(name="add", version="1", state=ModelState.AVAILABLE),)
    graphs = {}
    for name in ("one", "two"):
        document = graph_to_bytes(Graph(name=name, nodes=(Node(name="n", kind=ModelCall(name="add")),)))
        empty = Signature(inputs=(), outputs=())
        graphs[name] = GraphRecord(name=name, document=document, revision=1, signature=empty, create_time=0)
    workers = {
        worker_id: WorkerRecord(
            worker_id=worker_id, host="127.0.0.1", http_port=9000 + index, grpc_port=9100 + index, models=hosted
        )
        for index, worker_id in enumerate(ids)
    }
    return Snapshot(workers=workers, graphs=graphs)


async def pages(servicer: MeshServicer) -> dict[str, list[str]]:
    """Return the workers of every graph, listed one name a page."""
    found: dict[str, list[str]] = {}
    token = ""
    while True:
        request = mesh_service_pb2.ListModelsRequest(page_size=1, page_token=token)
        answer = await servicer.ListModels(request, None)
        found |= {model.name: [one.worker_id for one in model.replicas] for model in answer.models if model.graph}
        token = answer.next_page_token
        if not token:
            return found


async def test_graphs_are_placed_once_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Placement, the dear part of a list, is shared by all pages of one snapshot and made anew for the next."""
    placing = Mock(wraps=place_graphs)
    monkeypatch.setattr(wire_mesh, "place_graphs", placing)
    mirror: Any = Mock(snapshot=snapshot("w1"))
    view = View(mesh="default", discovery=DiscoveryServer(), mirror=mirror)
    servicer = MeshServicer(view, Mock(spec=Registry))
    assert await pages(servicer) == {"one": ["w1"], "two": ["w1"]}
    assert placing.call_count == 1
    mirror.snapshot = snapshot("w1", "w2")
    assert await pages(servicer) == {"one": ["w1", "w2"], "two": ["w1", "w2"]}
    assert placing.call_count == 2


async def test_a_model_tells_the_signatures_of_all_its_versions() -> None:
    """That of the newest is the model's, others are beside it, each once; replicas say which is theirs."""
    old, new = (
        Signature(inputs=(), outputs=(TensorSpec(name="y", datatype=datatype, shape=()),))
        for datatype in ("FP32", "INT64")
    )
    versions = (("1", old), ("2", old), ("3", new))
    hosted = tuple(
        HostedModel(name="add", version=version, state=ModelState.AVAILABLE, signature_digest=signature.digest)
        for version, signature in versions
    )
    worker = WorkerRecord(worker_id="w1", host="127.0.0.1", http_port=9000, grpc_port=9100, models=hosted)
    mesh = Snapshot(workers={"w1": worker}, signatures={old.digest: old, new.digest: new})
    servicer = MeshServicer(
        View(mesh="default", discovery=DiscoveryServer(), mirror=Mock(snapshot=mesh)), Mock(spec=Registry)
    )
    model = await servicer.GetModel(mesh_service_pb2.GetModelRequest(name="add"), None)
    assert signature_from_wire(model.signature) == new
    assert [signature_from_wire(one) for one in model.other_signatures] == [old]
    assert [one.model.signature_digest for one in model.replicas] == [old.digest, old.digest, new.digest]


async def test_a_look_that_ends_late_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that began before a change may be told of the mesh before it; those after it are not."""
    begun, go_on = threading.Event(), threading.Event()

    def placing(seen: Snapshot, standings: Standings) -> dict[str, tuple[str, ...]]:
        if len(seen.workers) == 1:
            begun.set()
            assert go_on.wait(60)
        return place_graphs(seen, standings)

    monkeypatch.setattr(wire_mesh, "place_graphs", placing)
    mirror: Any = Mock(snapshot=snapshot("w1"))
    view = View(mesh="default", discovery=DiscoveryServer(), mirror=mirror)
    servicer = MeshServicer(view, Mock(spec=Registry))
    before = asyncio.ensure_future(pages(servicer))
    assert await asyncio.to_thread(begun.wait, 60)
    mirror.snapshot = snapshot("w1", "w2")
    request = mesh_service_pb2.GetModelRequest(name="one")
    assert len((await servicer.GetModel(request, None)).replicas) == 2
    go_on.set()
    await before
    assert len((await servicer.GetModel(request, None)).replicas) == 2
