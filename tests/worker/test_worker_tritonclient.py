"""Triton's own clients, gRPC and HTTP, against a worker directly."""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http.aio as triton_http
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from graphmesh.worker import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

X = np.array([1, 2], dtype=np.float32)


def _input(module: Any, name: str, array: Any, datatype: str, **options: Any) -> Any:  # noqa: ANN401
    tensor = module.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, **options)
    return tensor


async def test_grpc(worker: Worker) -> None:
    """Health, metadata, inference, errors and cancellation over gRPC."""
    async with triton_grpc_aio.InferenceServerClient(f"127.0.0.1:{worker.grpc_port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("add", "1")
        metadata = await client.get_model_metadata("add", as_json=True)
        assert metadata["inputs"][0]["name"] == "x"
        result = await client.infer(
            "add",
            [_input(triton_grpc, "x", X, "FP32")],
            outputs=[triton_grpc.InferRequestedOutput("y")],
            request_id="r",
            compression_algorithm="gzip",
        )
        assert result.as_numpy("y").tolist() == [3.0, 4.0]
        assert result.get_response().id == "r"
        with pytest.raises(InferenceServerException, match="add") as caught:
            await client.infer("ad", [_input(triton_grpc, "x", X, "FP32")])
        assert caught.value.status() == "StatusCode.NOT_FOUND"
        with pytest.raises(InferenceServerException, match="sequences are not offered"):
            await client.infer("add", [_input(triton_grpc, "x", X, "FP32")], sequence_id=3)
        seconds = _input(triton_grpc, "seconds", np.array(30.0), "FP64")
        with pytest.raises(InferenceServerException) as caught:
            await client.infer("sleep", [seconds], client_timeout=0.1)
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


async def test_grpc_text(worker: Worker) -> None:
    """BYTES tensors of text over gRPC."""
    async with triton_grpc_aio.InferenceServerClient(f"127.0.0.1:{worker.grpc_port}") as client:
        lines = np.array(["a bé".encode(), b"c"], dtype=object)
        result = await client.infer("words", [_input(triton_grpc, "lines", lines, "BYTES")])
        assert result.as_numpy("output").tolist() == [b"a", "bé".encode(), b"c"]


async def test_grpc_stream(worker: Worker) -> None:
    """Triton's streaming client gets answers and errors in order."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def stream() -> None:
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{worker.grpc_port}") as client:
            client.start_stream(lambda result, error: answers.put((result, error)))
            for model in ("add", "nothing", "add"):
                client.async_stream_infer(model, [_input(triton_grpc, "x", X, "FP32")])
            client.stop_stream()

    await asyncio.to_thread(stream)
    results = [answers.get(timeout=5) for _ in range(3)]
    assert [error is None for _, error in results] == [True, False, True]
    assert "nothing" in str(results[1][1])
    assert results[2][0].as_numpy("y").tolist() == [3.0, 4.0]


@pytest.mark.parametrize("binary", [True, False])
async def test_http(worker: Worker, binary: bool) -> None:  # noqa: FBT001
    """Health, metadata, inference and errors over HTTP, binary and JSON."""
    async with triton_http.InferenceServerClient(f"127.0.0.1:{worker.http_port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("add")
        assert (await client.get_server_metadata())["name"] == "graphmesh"
        assert (await client.get_model_metadata("add"))["outputs"][0]["datatype"] == "FP32"
        x = _input(triton_http, "x", X, "FP32", binary_data=binary)
        y = triton_http.InferRequestedOutput("y", binary_data=binary)
        assert (await client.infer("add", [x], outputs=[y])).as_numpy("y").tolist() == [3.0, 4.0]
        assert (await client.infer("add", [x])).as_numpy("y").tolist() == [3.0, 4.0]
        compressed = await client.infer("add", [x], request_compression_algorithm="gzip")
        assert compressed.as_numpy("y").tolist() == [3.0, 4.0]
        lines = _input(triton_http, "lines", np.array([b"a b"], dtype=object), "BYTES", binary_data=binary)
        assert (await client.infer("words", [lines])).as_numpy("output").tolist() == [b"a", b"b"]
        with pytest.raises(InferenceServerException, match="add"):
            await client.infer("ad", [x])
        values = _input(triton_http, "values", np.array([1.0]), "FP64", binary_data=binary)
        half = triton_http.InferRequestedOutput("halves", binary_data=True)
        assert (await client.infer("describe", [values], outputs=[half])).as_numpy("halves").dtype == np.float16
