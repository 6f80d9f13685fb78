"""Inference through a real gateway: every protocol, every code, hostile callers and broken workers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from graphmesh.core.errors import Code
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.oip import open_inference_pb2_grpc as pb_grpc
from tests.gateway.harness import eventually, http, request_for, worker_of

if TYPE_CHECKING:
    from tests.gateway.harness import GatewayProcess

pytestmark = [pytest.mark.etcd, pytest.mark.e2e]

MIB = 1024 * 1024
COMPRESSIONS = [grpc.Compression.NoCompression, grpc.Compression.Gzip]
"""The fast path, and the plain gRPC path by way of the relay."""


def refused(gateway: GatewayProcess, request: Any, **options: Any) -> grpc.RpcError:  # noqa: ANN401
    """Return the error of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        gateway.infer(request, **options)
    return caught.value


def headers_seen(response: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the headers that reached the worker."""
    return dict(json.loads(response.parameters["headers"].string_param))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_unary_call_answers(served: GatewayProcess, compression: grpc.Compression) -> None:
    """A unary call reaches a worker and its answer comes back, compressed or not."""
    response = served.infer(request_for(raw=bytes(5000)), compression=compression)
    assert response.raw_output_contents[0] == bytes(5000)


def test_grpc_alias_port(served: GatewayProcess) -> None:
    """The second port speaks the same."""
    with served.channel(port=served.config["grpc_port"]) as channel:
        assert worker_of(pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request_for(), timeout=5))


def test_stream_answers_in_order(served: GatewayProcess) -> None:
    """A bidirectional stream goes to one worker and answers every message."""
    with served.channel() as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        sent = [request_for(raw=bytes([index])) for index in range(20)]
        got = [item.infer_response for item in stub.ModelStreamInfer(iter(sent), timeout=10)]
    assert [item.raw_output_contents[0] for item in got] == [bytes([index]) for index in range(20)]
    assert len({worker_of(item) for item in got}) == 1


def test_metadata_and_ready_are_asked_of_a_worker(served: GatewayProcess) -> None:
    """Calls that carry the model in `name` reach a worker that serves it."""
    with served.channel() as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name="only-one"), timeout=5).platform == "w1"
        assert stub.ModelReady(pb.ModelReadyRequest(name="add", version="2"), timeout=5).ready


def test_explicit_version_goes_where_it_is(served: GatewayProcess) -> None:
    """An explicit version reaches the worker that has it; without one either answers."""
    assert {worker_of(served.infer(request_for(version="2"))) for _ in range(6)} == {"w2"}
    assert {worker_of(served.infer(request_for())) for _ in range(12)} == {"w1", "w2"}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("code", [code for code in Code if code])
def test_every_code_arrives_intact(served: GatewayProcess, code: Code, compression: grpc.Compression) -> None:
    """A worker's code, message, details and pushback arrive unchanged on both paths."""
    error = refused(served, request_for(id=f"error:{int(code)}"), compression=compression)
    assert error.code().value[0] == code
    assert error.details() == f"error {int(code)}: 100% ümlaut"
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "FAKE"
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "250"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_deadline_is_enforced(served: GatewayProcess, compression: grpc.Compression) -> None:
    """A call ends at its deadline however slow the model is."""
    started = time.monotonic()
    error = refused(served, request_for(id="sleep:3000"), timeout=0.3, compression=compression)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 1


def test_envoy_enforces_the_deadline_itself(served: GatewayProcess) -> None:
    """The deadline of a client that does not watch it is Envoy's to enforce: DEADLINE_EXCEEDED arrives as a status."""
    with served.channel() as channel:
        method = "/inference.GRPCInferenceService/ModelInfer"
        call = channel.unary_unary(method, request_serializer=lambda request: request.SerializeToString())
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            call(request_for(id="sleep:3000"), metadata=(("grpc-timeout", "300m"),))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.2 < time.monotonic() - started < 1


def test_routing_headers_of_outsiders_are_removed(served: GatewayProcess) -> None:
    """Headers that only the mesh sets never reach a worker; those the contract allows do, if well-formed."""
    sent = {
        "x-graphmesh-model": "evil",
        "x-graphmesh-version": "9",
        "x-graphmesh-graph-revision": "9",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-graphmesh-depth": "one",
        "x-graphmesh-calls": "-1",
        "x-graphmesh-graph-revisions": "inner=1;other=2",
        "x-graphmesh-explain": "1",
        "x-request-id": "mine",
    }
    seen = headers_seen(served.infer(request_for(id="echo-headers"), metadata=tuple(sent.items())))
    assert {name: seen.get(name) for name in sent} == {
        **dict.fromkeys(sent),
        "x-graphmesh-explain": "1",
        "x-request-id": "mine",
    }
    passed = {"x-graphmesh-depth": "3", "x-graphmesh-calls": "9999", "x-graphmesh-graph-revisions": "a.b-c_d=1,e=22"}
    seen = headers_seen(served.infer(request_for(id="echo-headers"), metadata=tuple(passed.items())))
    assert {name: seen.get(name) for name in passed} == passed


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    ("model", "version", "code", "words"),
    [
        ("ad", "", "NOT_FOUND", "did you mean 'add'"),
        ("add", "7", "NOT_FOUND", "there are 1, 2"),
        ("corrupt", "", "UNAVAILABLE", "corrupt.onnx: truncated"),
        ("slow-start", "", "UNAVAILABLE", "still loading on worker w3"),
        ("a\r\nx-evil: 1", "", "INVALID_ARGUMENT", "must match"),
        ("../etc", "", "INVALID_ARGUMENT", "must match"),
        ("", "", "INVALID_ARGUMENT", "must match"),
        ("add", "latest", "INVALID_ARGUMENT", "must match"),
    ],
)
def test_absent_models_are_explained(  # noqa: PLR0917 - parameters of the test
    served: GatewayProcess, model: str, version: str, code: str, words: str, compression: grpc.Compression
) -> None:
    """A model that no worker serves is answered with the reason, and a rich status, on both paths."""
    error = refused(served, request_for(model, version=version), compression=compression)
    assert error.code().name == code
    assert words in error.details()
    assert rpc_status.from_call(error).details


def test_absent_model_on_a_stream_and_by_metadata(served: GatewayProcess) -> None:
    """Streams and metadata calls for an unknown model are NOT_FOUND."""
    with served.channel() as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ModelStreamInfer(iter([request_for("nope")]), timeout=5))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelMetadata(pb.ModelMetadataRequest(name="nope"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert not stub.ModelReady(pb.ModelReadyRequest(name="corrupt"), timeout=5).ready


def test_unknown_services_are_unimplemented(served: GatewayProcess) -> None:
    """A service or method that the mesh does not have is UNIMPLEMENTED, the control plane's own included."""
    with served.channel() as channel:
        for method in (
            "/foo.Bar/Baz",
            "/inference.GRPCInferenceService/Nothing",
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            "/relay/inference.GRPCInferenceService/ModelInfer",
        ):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_64_mib_pass_both_ways(served: GatewayProcess) -> None:
    """A message with 64 MiB of tensor passes, on the fast path and by REST."""
    raw = bytes(64 * MIB)
    assert len(served.infer(request_for(raw=raw), timeout=30).raw_output_contents[0]) == len(raw)
    answer = http(f"{served.url}/v2/models/add/infer", body=raw)
    assert answer.json["length"] == len(raw)


def test_larger_messages_are_refused(served: GatewayProcess) -> None:
    """A larger request is RESOURCE_EXHAUSTED by gRPC, 413 by REST, and the gateway lives."""
    error = refused(served, request_for(raw=bytes(70 * MIB)), timeout=30)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "max_message_bytes" in error.details()
    error = refused(served, request_for(raw=bytes(70 * MIB)), timeout=30, compression=grpc.Compression.Gzip)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # One byte more than passes: a client that still sends when the refusal comes may see a reset instead.
    answer = http(f"{served.url}/v1/models/add:predict", body=bytes(65 * MIB + 1))
    assert (answer.status, answer.json["status"]) == (413, "RESOURCE_EXHAUSTED")
    assert worker_of(served.infer(request_for()))


@pytest.mark.parametrize("lie", ["lie-short", "lie-long", "no-length", "html"])
def test_broken_workers_are_internal_errors(served: GatewayProcess, lie: str) -> None:
    """A worker whose answer is no message makes that call INTERNAL, and nothing else: no crash, never UNKNOWN."""
    pid = served.envoy_pid
    eventually(lambda: served.infer(request_for("liar")), within_s=8)  # the lie before this one had it ejected
    assert refused(served, request_for("liar", id=lie)).code() is grpc.StatusCode.INTERNAL
    assert worker_of(served.infer(request_for()))
    assert served.envoy_pid == pid


def test_answers_past_the_buffer_limit_stream(served: GatewayProcess) -> None:
    """An answer larger than Envoy's buffers streams through (it once crashed Envoy)."""
    pid = served.envoy_pid
    assert len(served.infer(request_for(id=f"huge:{140 * MIB}"), timeout=30).raw_output_contents[0]) == 140 * MIB
    assert served.envoy_pid == pid
