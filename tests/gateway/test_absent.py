"""What callers are told about models that nobody serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphmesh.core.errors import Code, InvalidRequest
from graphmesh.core.signature import Signature
from graphmesh.gateway.absent import check_timeout, reason
from graphmesh.gateway.rest_path import model_of
from graphmesh.registry import GraphRecord, HostedModel, ModelSpec, ModelState, Snapshot, WorkerRecord, WorkerState


def replica(state: ModelState, *, version: str = "1", message: str = "") -> WorkerRecord:
    """Return a worker that hosts model `add`."""
    hosted = HostedModel(name="add", version=version, state=state, message=message)
    return WorkerRecord(worker_id="w1", host="127.0.0.1", http_port=1, grpc_port=2, models=(hosted,))


def mesh(*workers: WorkerRecord) -> Snapshot:
    """Return a mesh that knows models `add` and `idle`, and graph `ocr`."""
    record = GraphRecord(
        name="ocr", document=b"", revision=1, signature=Signature(inputs=(), outputs=()), create_time=0.0
    )
    return Snapshot(
        workers={worker.worker_id: worker for worker in workers},
        models={name: ModelSpec(name=name) for name in ("add", "idle")},
        graphs={"ocr": record},
    )


@pytest.mark.parametrize(
    ("snapshot", "model", "version", "code", "words"),
    [
        (mesh(), "ad", "", Code.NOT_FOUND, "did you mean 'add'"),
        (mesh(), "zzzzzz", "", Code.NOT_FOUND, "GET /v1/models lists"),
        (Snapshot(), "add", "", Code.NOT_FOUND, "there are none yet"),
        (None, "add", "", Code.UNAVAILABLE, "not read the registry"),
        (mesh(), "idle", "", Code.UNAVAILABLE, "no worker hosts it now"),
        (mesh(), "ocr", "", Code.UNAVAILABLE, "no worker is ready to run it"),
        (mesh(replica(ModelState.LOADING)), "add", "", Code.UNAVAILABLE, "still loading on worker w1"),
        (mesh(replica(ModelState.UNLOADING)), "add", "", Code.UNAVAILABLE, "being unloaded"),
        (mesh(replica(ModelState.FAILED, message="a.onnx: bad")), "add", "", Code.UNAVAILABLE, "a.onnx: bad"),
        (mesh(replica(ModelState.AVAILABLE)), "add", "", Code.UNAVAILABLE, "just become ready"),
        (mesh(replica(ModelState.AVAILABLE)), "add", "2", Code.NOT_FOUND, "there are 1"),
        (mesh(), "a\nb", "", Code.INVALID_ARGUMENT, "must match"),
        (None, "A", "", Code.INVALID_ARGUMENT, "must match"),
        (mesh(), "add", "latest", Code.INVALID_ARGUMENT, "must match"),
    ],
)
def test_reasons(snapshot: Snapshot | None, model: str, version: str, code: Code, words: str) -> None:
    """The code says whether waiting helps, the message why and what to do."""
    error = reason(snapshot, model, version)
    assert error.code is code
    assert words in error.message


def test_the_last_replica_draining() -> None:
    """A model whose last replica is leaving is UNAVAILABLE and says so."""
    draining = replace(replica(ModelState.AVAILABLE), state=WorkerState.DRAINING)
    assert "the last is draining on worker w1" in reason(mesh(draining), "add").message


def test_a_failed_replica_says_more_than_a_loading_one() -> None:
    """Of several replicas the failed one's story is told."""
    failed = replica(ModelState.FAILED, message="no such file")
    loading = replace(replica(ModelState.LOADING), worker_id="w2")
    assert "no such file" in reason(mesh(loading, failed), "add").message


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "10s", "", "1234567890", "٣"])
def test_bad_timeouts_are_refused(value: str) -> None:
    """Only 1 to 999999999 in ASCII digits is a timeout."""
    with pytest.raises(InvalidRequest, match="x-graphmesh-timeout-ms"):
        check_timeout(value)


def test_good_timeouts_pass() -> None:
    """A number of milliseconds, or none."""
    check_timeout("1500")
    check_timeout(None)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/models/a:predict", ("a", "")),
        ("/v1/models/a/versions/2:predict", ("a", "2")),
        ("/v1/models/a:predictStream", ("a", "")),
        ("/v1/models/%61%2fb:predict", ("a/b", "")),
        ("/v1/models/:predict", ("", "")),
        ("/v2/models/a", ("a", "")),
        ("/v2/models/a/infer", ("a", "")),
        ("/v2/models/a/versions/3/infer", ("a", "3")),
        ("/v2/models/a/versions/3", ("a", "3")),
        ("/v1/models/a", None),
        ("/elsewhere", None),
    ],
)
def test_models_of_paths(path: str, named: tuple[str, str] | None) -> None:
    """A path's model and version, decoded and unchecked."""
    assert model_of(path) == named
