"""tritonclient.grpc.aio: what its own code does differently from the synchronous client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.contract.tensors import EVERYTHING, same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]


@pytest_asyncio.fixture
async def client(target: Target) -> AsyncIterator[InferenceServerClient]:
    """A client of the worker or the gateway."""
    async with InferenceServerClient(target.grpc) as opened:
        yield opened


def tensor(name: str, array: Any, datatype: str) -> InferInput:  # noqa: ANN401 - an array
    """Return an input."""
    return InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


X = [tensor("x", np.array([1, 2], np.float32), "FP32")]


async def test_server_and_models(client: InferenceServerClient) -> None:
    """Health, metadata, configuration, statistics, index and settings."""
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("chain")
    assert (await client.get_server_metadata()).name == "graphmesh"
    assert (await client.get_model_metadata("upper", as_json=True))["inputs"][0]["datatype"] == "BYTES"
    assert (await client.get_model_config("batched", as_json=True))["config"]["max_batch_size"] == 8
    await client.infer("add", X)
    (stats,) = (await client.get_inference_statistics("add")).model_stats
    assert stats.inference_stats.success.count >= 1
    assert "add" in {entry.name for entry in (await client.get_model_repository_index()).models}
    assert (await client.get_log_settings()).settings["log_error"].bool_param
    with pytest.raises(InferenceServerException, match="shared memory"):
        await client.get_system_shared_memory_status()


async def test_load_and_unload(client: InferenceServerClient) -> None:
    """A model is loaded again and answers; one that is not known is neither loaded nor unloaded."""
    await client.load_model("movable")
    assert (await client.infer("movable", X)).as_numpy("y").tolist() == [2, 3]
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="nope"):
            await call("nope")


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
async def test_every_datatype(client: InferenceServerClient, algorithm: str | None) -> None:
    """Every datatype goes there and back, compressed or not, many calls at once."""
    inputs = [tensor(name, array, datatype) for name, (datatype, array) in EVERYTHING.items()]
    calls = [client.infer("echo", inputs, compression_algorithm=algorithm) for _ in range(4)]
    for result in await asyncio.gather(*calls):
        assert all(same(result.as_numpy(name), array) for name, (_, array) in EVERYTHING.items())


async def test_deadline_and_cancellation(client: InferenceServerClient) -> None:
    """A deadline and a cancellation end a call, each with its own code."""
    slow = [tensor("seconds", np.array(30.0), "FP64")]
    with pytest.raises(InferenceServerException) as caught:
        await client.infer("slow", slow, client_timeout=0.2)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    call = asyncio.create_task(client.infer("slow", slow))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_streams(client: InferenceServerClient) -> None:
    """Requests over one stream are answered in order, models that stream with many answers, errors inside."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "add", "inputs": X, "request_id": "a"}
        yield {"model_name": "nothing", "inputs": X}
        yield {"model_name": "count", "inputs": [tensor("n", np.array(2), "INT64")], "request_id": "b"}

    found: list[Any] = []
    async for result, error in client.stream_infer(requests()):
        if error is not None:
            found.append("nothing" in str(error))
        elif outputs := result.get_response().outputs:
            found.append((result.get_response().id, outputs[0].name))
    assert found == [("a", "y"), True, ("b", "output"), ("b", "output")]


async def test_a_stream_that_is_cancelled(client: InferenceServerClient) -> None:
    """A client may leave a stream between two answers."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "count", "inputs": [tensor("n", np.array(10**9), "INT64")]}

    responses = client.stream_infer(requests())
    for _ in range(3):
        _, error = await anext(responses)
        assert error is None
    assert responses.cancel()
