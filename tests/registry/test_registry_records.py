"""Records, their keys and their bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh import registry
from graphmesh.core.errors import InvalidRequest
from graphmesh.registry import (
    GatewayRecord,
    GraphRecord,
    HostedModel,
    ModelSpec,
    ModelState,
    Snapshot,
    WorkerRecord,
    WorkerState,
    wire,
)
from graphmesh.registry.keys import Key, Keys
from tests.registry.fakes import SIGNATURE, document, signature, worker

_NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,127}", fullmatch=True)
_VERSIONS = st.from_regex(r"[0-9]{1,18}", fullmatch=True)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_MODELS = st.builds(
    HostedModel,
    name=_NAMES,
    version=_VERSIONS,
    state=st.sampled_from(ModelState),
    signature_digest=_TEXT,
    platform=_TEXT,
    message=_TEXT,
)
_WORKERS = st.builds(
    WorkerRecord,
    worker_id=_NAMES,
    generation=st.integers(0, 2**62),
    host=st.sampled_from(["127.0.0.1", "10.1.2.3", "::1", "2001:db8::7"]),
    http_port=st.integers(1, 65_535),
    grpc_port=st.integers(1, 65_535),
    state=st.sampled_from(WorkerState),
    models=st.lists(_MODELS, max_size=3).map(tuple),
    labels=st.dictionaries(_TEXT, _TEXT, max_size=3),
    start_time=st.integers(0, 4 * 10**15).map(lambda micros: micros / 1e6),
    software_version=_TEXT,
)


@given(_WORKERS)
def test_workers_come_back_as_they_were(record: WorkerRecord) -> None:
    """Writing and reading a worker's record gives the same record."""
    assert wire.decode_worker(record.worker_id, wire.encode_worker(record)) == record


def test_other_records_come_back_as_they_were() -> None:
    """The same for gateways, specs, graphs, pointers and signatures."""
    gateway = GatewayRecord(gateway_id="g1", host="::1", port=8000, synced_revision=5, software_version="1")
    assert wire.decode_gateway("g1", wire.encode_gateway(gateway)) == gateway
    spec = ModelSpec(name="m", backend="onnx", source="a.onnx", replicas=2, versions=("1", "10"))
    assert wire.decode_model("m", wire.encode_model(spec)) == spec
    graph = GraphRecord(
        name="g",
        document=document("g"),
        revision=3,
        signature=SIGNATURE,
        create_time=12.5,
        replaces=2,
        etag="e",
        live=True,
    )
    assert wire.decode_graph("g", 3, wire.encode_graph(graph), etag="e", live=True) == graph
    assert wire.decode_graph("g", 3, wire.encode_graph(graph)) == replace(graph, etag="", live=False)
    assert wire.decode_live(wire.encode_live(3)) == 3
    assert wire.decode_signature(SIGNATURE.digest, wire.encode_signature(SIGNATURE)) == SIGNATURE


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """Whatever a key holds, reading it ends in a record or in InvalidRequest (or ValueError for absurd numbers)."""
    for decode in (wire.decode_worker, wire.decode_gateway, wire.decode_model, wire.decode_signature):
        with pytest.raises((InvalidRequest, ValueError)):
            decode("name", value)


@pytest.mark.parametrize("host", ["localhost", "", "1.2.3", "0.0.0.0", "::", "224.0.0.1", "169.254.169.254", "fe80::1"])  # noqa: S104
def test_an_address_must_be_one_hosts(host: str) -> None:
    """Names, wildcard, multicast and link-local addresses cannot be advertised."""
    with pytest.raises(InvalidRequest, match="advertised address"):
        replace(worker(), host=host)


def test_bad_numbers_and_names_are_refused() -> None:
    """Ports, replicas, revisions, versions and names are checked when a record is made."""
    for make in (
        lambda: replace(worker(), http_port=0),
        lambda: replace(worker(), grpc_port=65_536),
        lambda: replace(worker(), worker_id="a/b"),
        lambda: ModelSpec(name="m", replicas=-1),
        lambda: ModelSpec(name="m", versions=("v1",)),
        lambda: HostedModel(name="m", version="", state=ModelState.AVAILABLE),
        lambda: HostedModel(name="m", version="1", state=ModelState.AVAILABLE, load_id="x" * 65),
        lambda: GraphRecord(name="g", document=b"", revision=0, signature=SIGNATURE, create_time=0),
        lambda: GraphRecord(name="g", document=b"", revision=2, signature=SIGNATURE, create_time=0, replaces=2),
        lambda: Keys("../other"),
    ):
        with pytest.raises(InvalidRequest):
            make()


def test_keys_are_read_back() -> None:
    """Every key that is written is parsed to what it was made of; others are not the mesh's."""
    keys = Keys("prod")
    assert keys.worker("w1") == "/graphmesh/prod/workers/w1"
    assert keys.parse(keys.worker("w1")) == Key("workers", "w1")
    assert keys.parse(keys.gateway("g1")) == Key("gateways", "g1")
    assert keys.parse(keys.signature("ab")) == Key("signatures", "ab")
    assert keys.parse(keys.model("m")) == Key("models", "m")
    assert keys.parse(keys.live("g")) == Key("live", "g")
    assert keys.parse(keys.revision("g", 12)) == Key("revisions", "g", 12)
    for foreign in ("/graphmesh/other/workers/w1", "/graphmesh/prod/workers/a/b", "/graphmesh/prod/graphs/g", "x"):
        assert keys.parse(foreign) is None


def test_a_snapshot_knows_replicas_and_signatures() -> None:
    """Replicas come with their state; a model's signature is that of its newest available version."""
    old, new, loading = signature("old"), signature("new"), signature("loading")
    hosted = [
        HostedModel(name="m", version=version, state=state, signature_digest=shape.digest)
        for version, state, shape in (
            ("9", ModelState.AVAILABLE, old),
            ("10", ModelState.AVAILABLE, new),
            ("11", ModelState.LOADING, loading),
        )
    ]
    workers = {
        "w1": replace(worker("w1"), models=tuple(hosted)),
        "w2": replace(worker("w2", state=WorkerState.DRAINING), models=(hosted[2],)),
    }
    graph = GraphRecord(name="g", document=document("g"), revision=1, signature=SIGNATURE, create_time=0)
    snapshot = Snapshot(
        workers=workers, graphs={"g": graph}, signatures={shape.digest: shape for shape in (old, new, loading)}
    )
    assert [(record.worker_id, model.version) for record, model in snapshot.replicas("m")] == [
        ("w1", "9"),
        ("w1", "10"),
        ("w1", "11"),
        ("w2", "11"),
    ]
    assert [model.version for _, model in snapshot.available("m")] == ["9", "10"]
    assert snapshot.signature_of("m") == new
    assert snapshot.signature_of("g") == SIGNATURE
    assert snapshot.signature_of("none") is None
    only_loading = Snapshot(workers={"w2": workers["w2"]}, signatures={loading.digest: loading})
    assert only_loading.signature_of("m") == loading


def test_the_facade_is_what_it_was() -> None:
    """What the package offers changes on purpose only."""
    assert registry.__all__ == [
        "KV",
        "EtcdBinary",
        "GatewayRecord",
        "GraphRecord",
        "HoldPolicy",
        "HostedModel",
        "LocalEtcd",
        "MemoryKV",
        "Mirror",
        "MirrorStatistics",
        "ModelSpec",
        "ModelState",
        "Probe",
        "Registry",
        "Replica",
        "Session",
        "SessionStatistics",
        "Snapshot",
        "WorkerRecord",
        "WorkerState",
        "connect",
        "find_etcd",
    ]
    assert all(hasattr(registry, name) for name in registry.__all__)
