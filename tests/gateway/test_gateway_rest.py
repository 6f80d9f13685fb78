"""REST through a real gateway: inference paths, control services as JSON, and JSON errors throughout."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from graphmesh.core.errors import Code
from graphmesh.core.oip import EXTENSIONS
from tests.gateway.harness import http, request_for, worker_of

if TYPE_CHECKING:
    from tests.gateway.harness import GatewayProcess, Reply

pytestmark = [pytest.mark.etcd, pytest.mark.e2e]


def assert_error(answer: Reply, code: Code) -> None:
    """Check that an answer is an error in the mesh's form."""
    body = answer.json
    assert answer.status == (code.http_status if code is not Code.RESOURCE_EXHAUSTED else answer.status)
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == {"error", "code", "status", "details"}
    assert (body["code"], body["status"]) == (int(code), code.name)
    assert isinstance(body["error"], str)
    assert body["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/add:predict",
        "/v1/models/add:predict?explain=true",
        "/v1/models/add/versions/1:predict",
        "/v2/models/add/infer",
        "/v2/models/add/versions/1/infer",
        "/v2/models/%61dd/infer",
        "/v2/models/add",
    ],
)
def test_inference_paths_reach_a_worker_unchanged(served: GatewayProcess, path: str) -> None:
    """REST inference goes straight to a worker's HTTP port; path, query, body and type are the client's."""
    answer = http(f"{served.url}{path}", body=b'{"x": 1}', headers={"content-type": "text/x-own"})
    assert answer.status == 200
    seen = answer.json
    assert seen["length"] == 8
    assert seen["headers"]["content-type"] == "text/x-own"
    assert seen["path"] + ("?" + seen["query"] if seen["query"] else "") == path.replace("%61", "a")


def test_explicit_version_by_path(served: GatewayProcess) -> None:
    """A version in the path reaches the worker that has it."""
    for path in ("/v1/models/add/versions/2:predict", "/v2/models/add/versions/2/infer"):
        assert {http(f"{served.url}{path}", body=b"{}").json["worker"] for _ in range(5)} == {"w2"}


def test_a_models_own_http_error_is_passed_on(served: GatewayProcess) -> None:
    """What a worker answers is the answer, and no number of 500s ejects a worker."""
    for _ in range(10):
        assert http(f"{served.url}/v1/models/only-one:predict", body=b"{}", headers={"x-status": "500"}).status == 500
    assert http(f"{served.url}/v1/models/only-one:predict", body=b"{}").status == 200


def test_timeout_header_is_a_deadline(served: GatewayProcess) -> None:
    """`x-graphmesh-timeout-ms` ends a REST call in time; anything but digits is refused."""
    headers = {"x-graphmesh-timeout-ms": "200", "x-sleep-ms": "3000"}
    started = time.monotonic()
    answer = http(f"{served.url}/v1/models/add:predict", body=b"{}", headers=headers)
    assert_error(answer, Code.DEADLINE_EXCEEDED)
    assert 0.19 < time.monotonic() - started < 0.4
    for value in ("2s", "-1", "0", "1e3", "9999999999"):
        headers = {"x-graphmesh-timeout-ms": value}
        assert_error(http(f"{served.url}/v1/models/add:predict", body=b"{}", headers=headers), Code.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    ("milliseconds", "timeout"),
    [("1500", "1500m"), ("0001500", "1500m"), ("99999999", "99999999m"), ("100000001", "100001S")],
)
def test_timeout_header_is_told_to_the_worker(served: GatewayProcess, milliseconds: str, timeout: str) -> None:
    """The worker hears of a REST deadline as of one by gRPC: up to eight digits and a unit, never less time."""
    headers = {"x-graphmesh-timeout-ms": milliseconds}
    seen = http(f"{served.url}/v2/models/add/infer", body=b"{}", headers=headers).json["headers"]
    assert seen["grpc-timeout"] == timeout


def test_passed_deadline_does_not_eject_the_worker(served: GatewayProcess) -> None:
    """Right after a call that ran out of time, by REST or gRPC, the only worker of another model answers every call."""
    for path in ("/v1/models/only-one:predict", "/v2/models/only-one/infer"):
        headers = {"x-graphmesh-timeout-ms": "20", "x-sleep-ms": "500"}
        assert_error(http(f"{served.url}{path}", body=b"{}", headers=headers), Code.DEADLINE_EXCEEDED)
        answers = [http(f"{served.url}/v1/models/only-one:predict", body=b"{}").status for _ in range(5)]
        assert answers == [200] * 5
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as caught:  # without a deadline of the client's own: Envoy ends it
            served.infer(
                request_for("only-one", id="sleep:500"),
                timeout=None,
                metadata=(("grpc-timeout", "20m"),),
                compression=compression,
            )
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert [worker_of(served.infer(request_for("only-one"))) for _ in range(5)] == ["w1"] * 5


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/nope:predict", Code.NOT_FOUND),
        ("/v2/models/nope/infer", Code.NOT_FOUND),
        ("/v2/models/add/versions/7/infer", Code.NOT_FOUND),
        ("/v2/models/corrupt/infer", Code.UNAVAILABLE),
        ("/v1/models/:predict", Code.INVALID_ARGUMENT),
        ("/v1/models/A%20b:predict", Code.INVALID_ARGUMENT),
        ("/v1/models/a%2Fb:predict", Code.INVALID_ARGUMENT),
        ("/v2/models/%00/infer", Code.INVALID_ARGUMENT),
        ("/v2/models/a%0d%0ab/infer", Code.INVALID_ARGUMENT),
        ("/v2/models/add/versions/x/infer", Code.INVALID_ARGUMENT),
        ("/v2/models/" + "a" * 200 + "/infer", Code.INVALID_ARGUMENT),
        ("/v1/nothing", Code.NOT_FOUND),
        ("/nothing", Code.NOT_FOUND),
        ("/", Code.NOT_FOUND),
        ("/v1/models/nope", Code.NOT_FOUND),
        ("/v1/graphs/nope", Code.NOT_FOUND),
        ("/v1/graphs/nope/revisions", Code.NOT_FOUND),
        ("/v1/models?page_size=-1", Code.INVALID_ARGUMENT),
        ("/v1/models?page_token=%ff", Code.INVALID_ARGUMENT),
        ("/v1/models?nothing=1", Code.INVALID_ARGUMENT),
    ],
)
def test_errors_are_json(served: GatewayProcess, path: str, code: Code) -> None:
    """Whoever refuses (worker, control plane, Envoy), a REST error has one form."""
    body = b"{}" if "infer" in path or "predict" in path else None
    assert_error(http(f"{served.url}{path}", body=body), code)


def test_unknown_paths_give_a_hint(served: GatewayProcess) -> None:
    """A wrong path is told what there is."""
    said = http(f"{served.url}/predict").json["error"]
    assert "/v1/models/{model}:predict, /v1/models/{model}:predictStream and /v2/models/{model}/infer" in said


def test_models_are_listed_by_pages(served: GatewayProcess) -> None:
    """Models come by name, in pages linked by opaque tokens."""
    names, token = [], ""
    while True:
        answer = http(f"{served.url}/v1/models?page_size=2&page_token={token}").json
        names += [model["name"] for model in answer["models"]]
        token = answer["next_page_token"]
        if not token:
            break
    assert names == ["add", "corrupt", "liar", "only-one", "slow-start"]
    model = http(f"{served.url}/v1/models/corrupt").json
    assert model["replicas"][0]["model"]["message"] == "corrupt.onnx: truncated"


def test_workers_and_status_as_json(served: GatewayProcess) -> None:
    """Workers and the mesh's health are readable without a client."""
    assert [worker["worker_id"] for worker in http(f"{served.url}/v1/workers").json["workers"]] == [
        "w1",
        "w2",
        "w3",
        "w4",
    ]
    status = http(f"{served.url}/v1/status").json
    assert status["etcd_connected"]
    assert status["ready_workers"] == 4
    assert status["available_models"] == 3
    assert status["envoy_pid"] == str(served.envoy_pid)


def test_server_level_open_inference_paths(served: GatewayProcess) -> None:
    """`/v2` with and without a slash describes the server; health answers."""
    assert http(f"{served.url}/v2").json["name"] == "graphmesh"
    assert http(f"{served.url}/v2/").json["extensions"] == list(EXTENSIONS)
    assert http(f"{served.url}/v2/health/live").status == 200
    assert http(f"{served.url}/v2/health/ready").json["ready"] is True


def test_models_are_scaled_and_deleted(served: GatewayProcess) -> None:
    """Scaling changes the spec; a served model is not deleted; a graph's or unknown name is refused."""
    answer = http(f"{served.url}/v1/models/only-one:scale", body=json.dumps({"replicas": 3}).encode())
    assert answer.json["spec"]["replicas"] == 3
    assert_error(http(f"{served.url}/v1/models/only-one:scale", body=b'{"replicas": 0}'), Code.INVALID_ARGUMENT)
    assert_error(http(f"{served.url}/v1/models/nope:scale", body=b'{"replicas": 1}'), Code.NOT_FOUND)
    assert_error(http(f"{served.url}/v1/models/only-one", method="DELETE"), Code.FAILED_PRECONDITION)
    assert_error(http(f"{served.url}/v1/models/only-one:scale", body=b"{nope"), Code.INVALID_ARGUMENT)


def test_metrics_and_health_listener(served: GatewayProcess) -> None:
    """Envoy's counters are on their own port, its administration is not."""
    metrics = http(f"{served.metrics_url}/metrics")
    assert b'envoy_cluster_upstream_rq_total{envoy_cluster_name="fast"}' in metrics.body
    assert http(f"{served.metrics_url}/healthz/ready").status == 200
    assert http(f"{served.metrics_url}/healthz/live").status == 200
    for path in ("/quitquitquit", "/config_dump", "/metrics/../quitquitquit"):
        assert http(f"{served.metrics_url}{path}", method="POST").status == 404
