"""What only the gRPC shell does: the protocol's other methods, streams, health, reflection, natural JSON."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from graphmesh.core.inference import InferenceRequest
from graphmesh.core.oip import EXTENSIONS
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.v1 import inference_service_pb2, inference_service_pb2_grpc
from graphmesh.worker.forms.wire import encode_request, response_from_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from google.protobuf.message import Message

    from graphmesh.worker.worker import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = "/inference.GRPCInferenceService"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def channel(worker: Worker) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the worker."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as opened:
        yield opened


async def _call(channel: grpc.aio.Channel, method: str, request: Message, answer: type[Any]) -> Any:  # noqa: ANN401
    call = channel.unary_unary(f"{SERVICE}/{method}", type(request).SerializeToString, answer.FromString)
    return await call(request)


def _add(*values: float, model: str = "add") -> bytes:
    inputs = {"x": np.array(values, dtype=np.float32)}
    return encode_request(InferenceRequest(model=model, inputs=inputs, id="i"))


async def test_server(channel: grpc.aio.Channel) -> None:
    """The server's own methods answer."""
    assert (await _call(channel, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live
    assert (await _call(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
    metadata = await _call(channel, "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    assert (metadata.name, tuple(metadata.extensions)) == ("graphmesh", EXTENSIONS)


async def test_models(channel: grpc.aio.Channel) -> None:
    """Metadata and readiness of models: versions, shapes, failures, unknown names."""
    metadata = await _call(channel, "ModelMetadata", pb.ModelMetadataRequest(name="add"), pb.ModelMetadataResponse)
    assert list(metadata.versions) == ["2", "1"]
    assert (metadata.inputs[0].name, metadata.inputs[0].datatype, list(metadata.inputs[0].shape)) == ("x", "FP32", [-1])
    for name, ready in (("add", True), ("unloadable", False)):
        answer = await _call(channel, "ModelReady", pb.ModelReadyRequest(name=name), pb.ModelReadyResponse)
        assert answer.ready is ready
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _call(channel, "ModelReady", pb.ModelReadyRequest(name="adx"), pb.ModelReadyResponse)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_malformed_messages(channel: grpc.aio.Channel) -> None:
    """Bytes that are no message are INVALID_ARGUMENT on every method."""
    for method in ("ModelInfer", "ModelMetadata", "ServerLive"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"{SERVICE}/{method}")(b"\x0f\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_unknown_method(channel: grpc.aio.Channel) -> None:
    """A method that is not offered is UNIMPLEMENTED."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"{SERVICE}/ModelTeleport")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_request_too_large(channel: grpc.aio.Channel) -> None:
    """A message beyond the limit is RESOURCE_EXHAUSTED, compressed or not."""
    for compression in (None, grpc.Compression.Gzip):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"{SERVICE}/ModelInfer")(bytes(2 << 20), compression=compression)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_compressed_request(channel: grpc.aio.Channel) -> None:
    """A compressed request is a request."""
    answer = await channel.unary_unary(f"{SERVICE}/ModelInfer")(_add(1), compression=grpc.Compression.Gzip)
    assert response_from_wire(answer).outputs["y"].tolist() == [3.0]


async def test_stream(channel: grpc.aio.Channel) -> None:
    """A stream answers each message in turn in Triton's wrapper; a message that fails does not end it."""
    stream = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")()
    for request in (_add(1), _add(1, model="nothing"), b"\xff", _add(5)):
        await stream.write(request)
    await stream.done_writing()
    answers = [pb.ModelStreamInferResponse.FromString(data) async for data in stream]
    assert [bool(answer.error_message) for answer in answers] == [False, True, True, False]
    assert "nothing" in answers[1].error_message
    last = response_from_wire(answers[3].infer_response.SerializeToString())
    assert (last.outputs["y"].tolist(), last.id) == ([7.0], "i")


async def test_stream_of_a_caller_that_leaves(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """Cancelling a stream cancels the model that runs for it."""
    before = toys.Sleep.cancelled
    stream = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")()
    await stream.write(encode_request(InferenceRequest(model="sleep", inputs={"seconds": np.array(30.0)})))
    await _eventually(lambda: toys.Sleep.running == 1)
    stream.cancel()
    await _eventually(lambda: toys.Sleep.cancelled == before + 1)


async def test_unary_caller_that_leaves(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """Cancelling a call cancels the model that runs for it."""
    before = toys.Sleep.cancelled
    request = encode_request(InferenceRequest(model="sleep", inputs={"seconds": np.array(30.0)}))
    call = channel.unary_unary(f"{SERVICE}/ModelInfer")(request)
    await _eventually(lambda: toys.Sleep.running == 1)
    call.cancel()
    await _eventually(lambda: toys.Sleep.cancelled == before + 1)


async def _eventually(holds: Any) -> None:  # noqa: ANN401
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_natural_json(channel: grpc.aio.Channel) -> None:
    """Natural JSON is callable by gRPC, explained on request."""
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
    body = httpbody_pb2.HttpBody(data=b'{"x": [1]}')
    request = inference_service_pb2.PredictRequest(model="add", version="1", body=body)
    answer = await stub.Predict(request, metadata=(("x-graphmesh-explain", "1"),))
    assert answer.content_type == "application/json"
    facts = orjson.loads(answer.data)
    assert (facts["outputs"], facts["explain"]["worker"]) == ({"y": [2.0]}, "w1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Predict(inference_service_pb2.PredictRequest(model="add", body=httpbody_pb2.HttpBody(data=b"{")))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_health(worker: Worker, channel: grpc.aio.Channel) -> None:
    """Health checking follows the worker's readiness."""
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in ("", "inference.GRPCInferenceService", "graphmesh.v1.InferenceService"):
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == serving


async def test_reflection(channel: grpc.aio.Channel) -> None:
    """Reflection lists the services and finds the protocol's messages, which are in a pool of their own."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.ModelInferRequest"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="graphmesh.v1.InferenceService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
    ]
    services, *files = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
    names = {service.name for service in services.list_services_response.service}
    assert {"inference.GRPCInferenceService", "graphmesh.v1.InferenceService", "grpc.health.v1.Health"} <= names
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in files)
