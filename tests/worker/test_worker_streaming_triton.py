"""tritonclient's streams: answers by callback, the end of each request told, several requests at a time."""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from graphmesh.worker.worker import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _inputs(module: Any, n: int) -> list[Any]:  # noqa: ANN401
    made = []
    for name, datatype, value in (("n", "INT64", np.array(n)), ("pause_s", "FP64", np.array(0.0))):
        tensor = module.InferInput(name, [], datatype)
        tensor.set_data_from_numpy(value)
        made.append(tensor)
    return made


def _decoupled(port: int) -> list[tuple[str, int | None, bool]]:
    results: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    got: list[tuple[str, int | None, bool]] = []
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.start_stream(lambda result, error: results.put((result, error)))
        for request_id, n in (("a", 3), ("b", 0), ("c", 1)):
            inputs = _inputs(tritonclient.grpc, n)
            client.async_stream_infer("count", inputs, request_id=request_id, enable_empty_final_response=True)
        while sum(final for _, _, final in got) < 3:
            result, error = results.get(timeout=10)
            assert error is None
            response = result.get_response()
            value = result.as_numpy("output")
            final = response.parameters["triton_final_response"].bool_param
            got.append((response.id, None if value is None else int(value), final))
        client.stop_stream()
    return got


async def test_callbacks(worker: Worker) -> None:
    """Each request's answers come in order, then an empty one that is final, also for a request without answers."""
    got = await asyncio.to_thread(_decoupled, worker.grpc_port)
    assert got == [
        *[("a", i, False) for i in range(3)],
        ("a", None, True),
        ("b", None, True),
        ("c", 0, False),
        ("c", None, True),
    ]


async def test_asyncio(worker: Worker) -> None:
    """tritonclient.grpc.aio streams there and back; a failure is told beside the answers."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "count", "inputs": _inputs(tritonclient.grpc.aio, 2), "request_id": "a"}
        yield {"model_name": "nothing", "inputs": _inputs(tritonclient.grpc.aio, 2), "request_id": "b"}
        yield {"model_name": "count", "inputs": _inputs(tritonclient.grpc.aio, 1), "request_id": "c"}

    async with tritonclient.grpc.aio.InferenceServerClient(f"127.0.0.1:{worker.grpc_port}") as client:
        got = [
            (error.message() if error else result.get_response().id)
            async for result, error in client.stream_infer(requests())
        ]
    assert got[:2] == ["a", "a"]
    assert "nothing" in got[2]
    assert got[3] == "c"
