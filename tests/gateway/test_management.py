"""The mesh's index, loads and statistics: asked of workers in this process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from graphmesh.core.errors import (
    DeadlinePassed,
    FailedPrecondition,
    GraphmeshError,
    ModelNotReady,
    NotFound,
    Unavailable,
)
from graphmesh.core.oip import SERVICE
from graphmesh.core.signature import Signature
from graphmesh.gateway.management import MeshManagement
from graphmesh.gateway.view import View
from graphmesh.gateway.xds_server import DiscoveryServer
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.registry import GatewayRecord, GraphRecord, HostedModel, ModelSpec, ModelState, Snapshot, WorkerRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass(slots=True)
class FakeWorker:
    """A worker's gRPC port that counts, and fails if told to."""

    worker_id: str
    code: grpc.StatusCode | None = None
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def record(self, *models: HostedModel) -> WorkerRecord:
        """Return its record."""
        return WorkerRecord(worker_id=self.worker_id, host="127.0.0.1", http_port=1, grpc_port=self.port, models=models)

    async def load(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - generated
        """Load, or fail as told."""
        self.asked.append(("load", request.model_name))
        if self.code is not None:
            await context.abort(self.code, "no file")
        return pb.RepositoryModelLoadResponse()

    async def statistics(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """Return one call counted."""
        self.asked.append(("statistics", request.name))
        if self.code is not None:
            await context.abort(self.code, "away")
        return pb.ModelStatisticsResponse(model_stats=[pb.ModelStatistics(name="m", version="1", inference_count=1)])


@asynccontextmanager
async def workers(*fakes: FakeWorker) -> AsyncIterator[None]:
    """Serve fakes while inside."""
    async with AsyncExitStack() as stack:
        for fake in fakes:
            server = grpc.aio.server()
            handlers = {
                name: grpc.unary_unary_rpc_method_handler(
                    method, request_deserializer=kind.FromString, response_serializer=lambda m: m.SerializeToString()
                )
                for name, kind, method in (
                    ("RepositoryModelLoad", pb.RepositoryModelLoadRequest, fake.load),
                    ("ModelStatistics", pb.ModelStatisticsRequest, fake.statistics),
                )
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
            fake.port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
        yield


@dataclass(slots=True)
class FakeMirror:
    """A registry that is what a test says."""

    snapshot: Snapshot
    connected: bool = True

    def age(self) -> float:
        """Return that it is current."""
        return 0.0

    async def wait_for(self, predicate: Callable[[Snapshot], bool], timeout_s: float) -> Snapshot:
        """Return the snapshot, or say that time is up."""
        await asyncio.sleep(0)
        if not predicate(self.snapshot):
            raise DeadlinePassed("never")
        return self.snapshot


def hosted(state: ModelState = ModelState.AVAILABLE, version: str = "1") -> HostedModel:
    """Return a replica of `m`."""
    return HostedModel(name="m", version=version, state=state)


def mesh(*records: WorkerRecord, **more: Any) -> MeshManagement:  # noqa: ANN401 - fields of a snapshot
    """Return the management of a mesh."""
    snapshot = Snapshot(workers={record.worker_id: record for record in records}, **more)
    return MeshManagement(View(mesh="m", discovery=DiscoveryServer(), mirror=FakeMirror(snapshot)))


async def test_a_load_reaches_every_worker_that_has_the_model() -> None:
    """Workers that were given the model are asked, whatever its state there; others are not."""
    one, two, other = FakeWorker("w1"), FakeWorker("w2"), FakeWorker("w3")
    async with workers(one, two, other):
        await mesh(one.record(hosted()), two.record(hosted(ModelState.UNLOADED)), other.record()).load("m")
    assert (one.asked, two.asked, other.asked) == ([("load", "m")], [("load", "m")], [])


async def test_a_partial_failure_says_who_did_what() -> None:
    """The error has the failing worker's code, name and words, and says where the load went well."""
    one, two = FakeWorker("w1"), FakeWorker("w2", grpc.StatusCode.FAILED_PRECONDITION)
    async with workers(one, two):
        with pytest.raises(FailedPrecondition, match=r"^worker w2: no file; loaded on w1$"):
            await mesh(one.record(hosted()), two.record(hosted())).load("m")


async def test_a_worker_that_is_gone_is_an_error() -> None:
    """A load that cannot reach a worker says so."""
    one, gone = FakeWorker("w1"), FakeWorker("w2", port=1)
    async with workers(one):
        with pytest.raises(Unavailable, match=r"worker w2: .*; loaded on w1"):
            await mesh(one.record(hosted()), gone.record(hosted())).load("m")


async def test_a_load_waits_for_gateways_but_not_for_ever() -> None:
    """A model that was nowhere is waited for until gateways route to it; one that never do only delay the answer."""
    one = FakeWorker("w1")
    late = GatewayRecord(gateway_id="g", host="127.0.0.1", port=1, synced_revision=0)
    async with workers(one):
        await mesh(one.record(hosted(ModelState.UNLOADED)), gateways={"g": late}, revision=7).load("m")
    assert one.asked == [("load", "m")]


GRAPH = GraphRecord(name="g", document=b"", revision=3, signature=Signature((), ()), create_time=0)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("nope", NotFound, "nope"),
        ("g", FailedPrecondition, "is a graph"),
        ("idle", ModelNotReady, "no worker hosts it"),
        ("Bad Name", GraphmeshError, "Bad Name"),
    ],
)
async def test_what_cannot_be_loaded(name: str, kind: type[GraphmeshError], words: str) -> None:
    """Unknown names, graphs and models that no worker was given are refused, each for its reason."""
    management = mesh(graphs={"g": GRAPH}, models={"idle": ModelSpec(name="idle")})
    for call in (management.load, management.unload):
        with pytest.raises(kind, match=words):
            await call(name)


async def test_statistics_are_added_up() -> None:
    """Replicas' counts are summed; a worker that does not answer is left out; without any there is an error."""
    one, two, away = FakeWorker("w1"), FakeWorker("w2"), FakeWorker("w3", grpc.StatusCode.UNAVAILABLE)
    async with workers(one, two, away):
        records = [fake.record(hosted()) for fake in (one, two, away)]
        for name in ("m", ""):
            (stats,) = await mesh(*records).statistics(name, "")
            assert stats.inference_count == 2
        with pytest.raises(Unavailable, match="none of 1 workers"):
            await mesh(records[2]).statistics("m", "1")
        with pytest.raises(NotFound, match="no version 9"):
            await mesh(*records).statistics("m", "9")
        with pytest.raises(NotFound, match="nope"):
            await mesh(*records).statistics("nope", "")
        assert await mesh().statistics("", "") == []


async def test_the_index_is_the_whole_mesh() -> None:
    """The index has every version of every model that is known, and every graph."""
    management = mesh(
        FakeWorker("w1", port=1).record(hosted(), hosted(ModelState.FAILED, "2")),
        FakeWorker("w2", port=1).record(hosted(ModelState.LOADING)),
        models={"m": ModelSpec(name="m", versions=("1", "2", "3"))},
        graphs={"g": GRAPH},
    )
    found = [(entry.name, entry.version, entry.state) for entry in await management.index()]
    assert found == [
        ("m", "1", "READY"),
        ("m", "2", "UNAVAILABLE"),
        ("m", "3", "UNAVAILABLE"),
        ("g", "3", "READY"),
    ]


async def test_config_is_a_workers_to_give() -> None:
    """The control plane is asked for a configuration only if no worker serves the model, and says why."""
    with pytest.raises(NotFound, match="nope"):
        await mesh().config("nope", "")
