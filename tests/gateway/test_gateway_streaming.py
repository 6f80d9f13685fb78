"""Streams through a real gateway: real Envoy and etcd, two real workers in this process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from graphmesh.core.inference import InferenceRequest
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.registry import Registry, connect
from graphmesh.v1 import inference_service_pb2, inference_service_pb2_grpc
from graphmesh.worker import WorkerConfig
from graphmesh.worker.backends.python import _import_file
from graphmesh.worker.forms.wire import encode_request, response_from_message
from graphmesh.worker.worker import Worker
from tests.gateway.harness import request_for, running_mesh
from tests.worker.conftest import TOYS, toy
from tests.worker.streams import CLOSED_WITHIN_S, eventually, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from tests.gateway.harness import Mesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.etcd, pytest.mark.e2e]

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
LEFT = [toy("Count"), toy("CountAsync", name="count-async"), toy("Tokens"), toy("Echo"), toy("Sluggish"), toy("Blocks")]
RIGHT = [toy("Count", name="far-count"), toy("Add", name="far")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def port() -> AsyncIterator[int]:
    """The port of a gateway that knows both workers."""
    with running_mesh() as mesh:
        gateway = mesh.start_gateway()
        async with contextlib.AsyncExitStack() as stack:
            registry = await stack.enter_async_context(Registry(connect([f"127.0.0.1:{mesh.etcd_port}"])))
            for name, models in (("left", LEFT), ("right", RIGHT)):
                await stack.enter_async_context(Worker(WorkerConfig(worker_id=name, models=tuple(models)), registry))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(gateway.address))
            for model in ("count", "far-count"):
                await _served(channel, model)
            yield gateway.config["port"]


async def _served(channel: grpc.aio.Channel, model: str) -> None:
    async with asyncio.timeout(15):
        while not await _try(channel, model):  # noqa: ASYNC110 - the gateway has no event
            await asyncio.sleep(0.1)


async def _try(channel: grpc.aio.Channel, model: str) -> bool:
    with contextlib.suppress(grpc.aio.AioRpcError):
        return bool([data async for data in channel.stream_stream(STREAM_INFER)([_count(1, model=model)])])
    return False


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def channel(port: int) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the gateway."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def toys() -> ModuleType:
    """The module that the workers loaded the toys from."""
    return _import_file(TOYS)


def _request(model: str, id: str = "", /, *, parameters: dict[str, Any] | None = None, **inputs: object) -> bytes:  # noqa: A002
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    return encode_request(InferenceRequest(model=model, inputs=arrays, id=id, parameters=parameters or {}))


def _count(n: int, pause_s: float = 0.0, *, model: str = "count") -> bytes:
    return _request(model, model, n=n, pause_s=pause_s)


async def test_stream_over_grpc(channel: grpc.aio.Channel) -> None:
    """A stream's answers and headers come through, of models on other workers too."""
    call = channel.stream_stream(STREAM_INFER)(
        [_count(3), _count(2, model="far-count"), _request("far", "a", x=np.ones(1, np.float32))]
    )
    assert ("x-count", "3") in tuple(await call.initial_metadata())
    answers = [pb.ModelStreamInferResponse.FromString(data) async for data in call]
    assert not any(answer.error_message for answer in answers)
    assert [answer.infer_response.id for answer in answers] == ["count"] * 3 + ["far-count"] * 2 + ["a"]


@pytest.mark.parametrize("model", ["count", "far-count"])
async def test_caller_over_grpc_leaves(channel: grpc.aio.Channel, toys: ModuleType, model: str) -> None:
    """A caller that leaves the gateway stops the generator at its next yield, also one it was passed on to."""
    call = channel.stream_stream(STREAM_INFER)([_count(1), _count(1000, 0.2, model=model)])
    for _ in range(3):
        await call.read()
    yielded, closed = len(toys.Count.yielded), len(toys.Count.closed)
    call.cancel()
    await eventually(lambda: len(toys.Count.closed) == closed + 1)
    assert len(toys.Count.yielded) <= yielded + 1
    assert toys.Count.closed[-1] - toys.Count.yielded[-1] < CLOSED_WITHIN_S


async def _one_more_closed(toys: ModuleType, before: int) -> None:
    await eventually(lambda: len(toys.Count.closed) == before + 1)


async def test_deadline_over_grpc(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """A deadline ends a stream and its generator."""
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        for timeout_s in (0.2, 0.3, 0.4):
            closed = len(toys.Count.closed)
            call = channel.stream_stream(STREAM_INFER)([_count(1000, 0.05)], timeout=timeout_s, compression=compression)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [data async for data in call]
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await _one_more_closed(toys, closed)


async def test_back_pressure_over_grpc(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """A generator waits for a caller that does not read, once what is between them is full."""
    before = toys.Blocks.made
    call = channel.stream_stream(STREAM_INFER)([_request("blocks", n=1_000_000, size=1_000_000)])
    await call.read()
    made = 0
    while toys.Blocks.made > made:
        made = toys.Blocks.made
        await asyncio.sleep(0.3)
    assert made - before < 400, "megabytes, of which Envoy holds at most 65 on either side"
    call.cancel()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_predict_stream(channel: grpc.aio.Channel, toys: ModuleType, compression: grpc.Compression) -> None:
    """PredictStream is routed by the model it names, compressed or not, and ends when its caller leaves."""
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)

    def call(body: bytes) -> Any:  # noqa: ANN401
        message = inference_service_pb2.PredictStreamRequest(model="far-count", body=httpbody_pb2.HttpBody(data=body))
        return stub.PredictStream(message, compression=compression)

    answers = [orjson.loads(body.data) async for body in call(b'{"n": 3, "pause_s": 0}')]
    assert [answer["outputs"] for answer in answers] == [{"output": 0}, {"output": 1}, {"output": 2}]
    stream = call(b'{"n": 1000, "pause_s": 0.1}')
    await stream.read()
    closed = len(toys.Count.closed)
    stream.cancel()
    await eventually(lambda: len(toys.Count.closed) == closed + 1)
    assert toys.Count.closed[-1] - toys.Count.yielded[-1] < CLOSED_WITHIN_S


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/count:predictStream", b'{"n": 3, "pause_s": 0.2}'),
        ("/v1/models/count/versions/1:predictStream", b'{"n": 3, "pause_s": 0.2}'),
        ("/v2/models/far-count/generate_stream", b'{"n": 3, "pause_s": 0.2}'),
        ("/v2/models/far-count/versions/1/generate_stream", b'{"n": 3, "pause_s": 0.2}'),
    ],
)
async def test_events(port: int, path: str, body: bytes) -> None:
    """Events come as they are made: nothing on the way waits for the end."""
    loop = asyncio.get_running_loop()
    times = []
    async with post(port, path, body) as answer:
        assert (answer.status, answer.headers["x-count"]) == (200, "3")
        async for event in answer.events():
            assert event.startswith("data: ")
            times.append(loop.time())
    assert len(times) == 3
    assert times[2] - times[0] > 0.3


async def test_caller_over_http_leaves(port: int, toys: ModuleType) -> None:
    """A caller that leaves the gateway stops the generator at its next yield."""
    async with post(port, "/v1/models/count:predictStream", b'{"n": 1000, "pause_s": 0.2}') as answer:
        events = answer.events()
        await anext(events)
        await anext(events)
        yielded, closed = len(toys.Count.yielded), len(toys.Count.closed)
    await eventually(lambda: len(toys.Count.closed) == closed + 1)
    assert len(toys.Count.yielded) <= yielded + 1
    assert toys.Count.closed[-1] - toys.Count.yielded[-1] < CLOSED_WITHIN_S


async def test_deadline_over_http(port: int) -> None:
    """A deadline is told by the last event; before the first one, by the status."""
    timeout = {"x-graphmesh-timeout-ms": "300"}
    for path in ("/v1/models/count:predictStream", "/v2/models/count/generate_stream"):
        async with post(port, path, b'{"n": 1000, "pause_s": 0.05}', headers=timeout) as answer:
            *events, last = [event async for event in answer.events()]
        assert events
        assert orjson.loads(last.partition("data: ")[2])["status"] == "DEADLINE_EXCEEDED"
    async with post(port, "/v1/models/count:predictStream", b'{"n": 5, "pause_s": 2}', headers=timeout) as answer:
        assert (answer.status, orjson.loads(await answer.text())["status"]) == (504, "DEADLINE_EXCEEDED")


async def test_generate(port: int) -> None:
    """Triton's generate is answered, and refuses a model that answers twice."""
    body = {"text_input": "word", "grid": [1, 2]}
    async with post(port, "/v2/models/tokens/generate", orjson.dumps(body)) as answer:
        facts = orjson.loads(await answer.text())
    assert (answer.status, facts["text_output"], facts["shape"]) == (200, "word", [1, 2])
    async with post(port, "/v2/models/tokens/generate", orjson.dumps({**body, "text_input": "a b"})) as answer:
        assert answer.status == 400


async def test_unknown_models(port: int, channel: grpc.aio.Channel) -> None:
    """What nobody serves is not found, on every way in."""
    for path in ("/v1/models/nothing:predictStream", "/v2/models/nothing/generate_stream"):
        async with post(port, path, b"{}") as answer:
            assert (answer.status, orjson.loads(await answer.text())["status"]) == (404, "NOT_FOUND")
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
    for call in (
        channel.stream_stream(STREAM_INFER)([_count(1, model="nothing")]),
        stub.PredictStream(inference_service_pb2.PredictStreamRequest(model="nothing")),
        stub.GenerateStream(inference_service_pb2.GenerateStreamRequest(model="nothing")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [data async for data in call]
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_headers_and_pushback_of_the_fast_path(channel: grpc.aio.Channel) -> None:
    """A model sees what came and sets headers that come as initial metadata; pushback comes in the trailers."""
    infer = channel.unary_unary(INFER)
    name = np.array(b"x-mine", dtype=object)
    call = infer(_request("echo", name=name), metadata=[("x-mine", "yes"), ("x-request-id", "r1")])
    answer = response_from_message(pb.ModelInferResponse.FromString(await call))
    assert answer.outputs["output"].item() == b"yes"
    assert ("x-echo", "r1") in tuple(await call.initial_metadata())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(_request("sluggish", x=np.ones(1, np.float32)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("grpc-retry-pushback-ms", "1500") in tuple(caught.value.trailing_metadata())


async def test_a_stream_that_has_answered_is_not_repeated(mesh: Mesh) -> None:
    """When a worker dies in the middle of a stream, its caller is told; no other worker gets the messages again."""
    workers = [mesh.start_worker(name, "add") for name in ("w1", "w2")]
    gateway = mesh.start_gateway()
    for name in ("w1", "w2"):
        await asyncio.to_thread(gateway.wait_for_worker, name)
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        call = channel.stream_stream(STREAM_INFER)()
        await call.write(request_for().SerializeToString())
        await call.read()
        await call.write(request_for(id="die").SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL, "Envoy can only reset a stream that has begun"
    await eventually(lambda: any(worker.popen.poll() is not None for worker in workers))
    assert sum(worker.popen.poll() is None for worker in workers) == 1
