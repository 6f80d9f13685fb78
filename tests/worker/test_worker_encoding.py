"""Every shell counts what encoding its answers takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from google.api import httpbody_pb2

from graphmesh.core.inference import InferenceRequest
from graphmesh.v1 import inference_service_pb2 as v1
from graphmesh.worker.forms.wire import encode_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable

    from graphmesh.worker.worker import Worker
    from tests.worker.conftest import Reply

    Http = Callable[..., Awaitable[Reply]]

pytestmark = pytest.mark.asyncio(loop_scope="module")

OIP = "/inference.GRPCInferenceService"
V1 = "/graphmesh.v1.InferenceService"
REQUEST = encode_request(InferenceRequest(model="add", inputs={"x": np.array([1], dtype=np.float32)}))
PREDICT = v1.PredictRequest(model="add", body=httpbody_pb2.HttpBody(data=b'{"x":[1]}')).SerializeToString()
BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}'


async def _all(stream: AsyncIterable[bytes]) -> list[bytes]:
    return [answer async for answer in stream]


async def _counted(worker: Worker, call: Callable[[], Awaitable[object]]) -> int:
    found = worker.catalog.find("add")
    assert found is not None
    before, spent = found.metrics.serialise.count, found.metrics.serialise.sum_s
    await call()
    assert found.metrics.serialise.sum_s > spent
    return found.metrics.serialise.count - before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{OIP}/ModelInfer", REQUEST),
        ("/v1/models/add:predict", b'{"x":[1]}'),
        ("/v1/models/add:predictStream", b'{"x":[1]}'),
        ("/v2/models/add/infer", BODY),
        ("/v2/models/add/generate", b'{"x":[1]}'),
    ],
)
async def test_over_http(worker: Worker, http: Http, path: str, body: bytes) -> None:
    """The fast path, natural JSON, OIP JSON and generate count one encoding for one answer."""
    assert await _counted(worker, lambda: http(worker.http_port, path, body)) == 1


async def test_over_grpc(worker: Worker) -> None:
    """So do unary gRPC, streams and `Predict`."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as channel:
        assert await _counted(worker, lambda: channel.unary_unary(f"{OIP}/ModelInfer")(REQUEST)) == 1
        assert await _counted(worker, lambda: channel.unary_unary(f"{V1}/Predict")(PREDICT)) == 1
        assert await _counted(worker, lambda: _all(channel.unary_stream(f"{V1}/PredictStream")(PREDICT))) == 1
        assert await _counted(worker, lambda: _all(channel.stream_stream(f"{OIP}/ModelStreamInfer")([REQUEST]))) == 1
