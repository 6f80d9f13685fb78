"""tritonclient.http.aio: what its own code does differently from the synchronous client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pytest_asyncio
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.contract.tensors import EVERYTHING, same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

X = [InferInput("x", [2], "FP32").set_data_from_numpy(np.array([1, 2], np.float32))]


@pytest_asyncio.fixture
async def client(target: Target) -> AsyncIterator[InferenceServerClient]:
    """A client of the worker or the gateway."""
    async with InferenceServerClient(target.http) as opened:
        yield opened


async def test_server_and_models(client: InferenceServerClient) -> None:
    """Health, metadata, configuration, statistics, index and settings."""
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("chain")
    assert (await client.get_server_metadata())["name"] == "graphmesh"
    assert (await client.get_model_metadata("upper"))["inputs"][0]["datatype"] == "BYTES"
    assert (await client.get_model_config("batched"))["max_batch_size"] == 8
    await client.infer("add", X)
    (stats,) = (await client.get_inference_statistics("add"))["model_stats"]
    assert stats["inference_stats"]["success"]["count"] >= 1
    assert "add" in {entry["name"] for entry in await client.get_model_repository_index()}
    assert (await client.get_log_settings())["log_error"] is True


async def test_load_and_unload(client: InferenceServerClient) -> None:
    """A model is loaded again and answers; one that is not known is neither loaded nor unloaded."""
    await client.load_model("movable")
    assert (await client.infer("movable", X)).as_numpy("y").tolist() == [2, 3]
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="nope"):
            await call("nope")


@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
@pytest.mark.parametrize("answer", [None, "gzip", "deflate"])
async def test_every_datatype(client: InferenceServerClient, request_: str | None, answer: str | None) -> None:
    """Every datatype goes there and back, compressed or not, many calls at once."""
    inputs = [
        InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)
        for name, (datatype, array) in EVERYTHING.items()
    ]
    options = {"request_compression_algorithm": request_, "response_compression_algorithm": answer}
    for result in await asyncio.gather(*(client.infer("echo", inputs, **options) for _ in range(4))):
        assert all(same(result.as_numpy(name), array) for name, (_, array) in EVERYTHING.items())


async def test_a_large_answer_is_compressed(client: InferenceServerClient) -> None:
    """Answers past a few kilobytes are compressed for those who ask, and still what they were."""
    values = np.arange(50_000, dtype=np.float32)
    x = InferInput("x", [50_000], "FP32").set_data_from_numpy(values, binary_data=False)
    outputs = [InferRequestedOutput("y", binary_data=False)]
    result = await client.infer("add", [x], outputs=outputs, response_compression_algorithm="gzip")
    assert np.array_equal(result.as_numpy("y"), values + 1)


async def test_errors(client: InferenceServerClient) -> None:
    """Errors are JSON with an `error`."""
    with pytest.raises(InferenceServerException, match="add") as caught:
        await client.infer("ad", X)
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="nope"):
        await client.load_model("nope")
