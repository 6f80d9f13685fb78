"""Large JSON: another process reads and writes it, and nobody else waits for that."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest

from graphmesh.core.errors import InvalidRequest, Unavailable
from graphmesh.registry import MemoryKV, Registry
from graphmesh.worker import WorkerConfig
from graphmesh.worker.forms.json_pool import JsonPool, tensors_size
from graphmesh.worker.worker import Worker
from tests.worker.conftest import toy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.worker.conftest import Reply

_LARGE = 1 << 20


@pytest.fixture
async def pool() -> AsyncIterator[JsonPool]:
    """A pool of its own."""
    made = JsonPool()
    yield made
    made.close()


def _pid() -> int:
    return os.getpid()


def _refuse() -> None:
    raise InvalidRequest("on purpose", metadata={"a": "b"})


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def test_small_here_large_there(pool: JsonPool) -> None:
    """Small work is done in this process, large work in another, always the same one."""
    assert await pool.run(100, _pid) == os.getpid()
    there = await pool.run(_LARGE, _pid)
    assert there != os.getpid()
    assert await pool.run(_LARGE, _pid) == there


async def test_errors_and_death(pool: JsonPool) -> None:
    """An error comes back as it is; a process that died is told, and replaced."""
    with pytest.raises(InvalidRequest, match="on purpose") as caught:
        await pool.run(_LARGE, _refuse)
    assert caught.value.metadata == {"a": "b"}
    with pytest.raises(Unavailable):
        await pool.run(_LARGE, _end)
    assert await pool.run(_LARGE, _pid) != os.getpid()


def test_size_of_tensors() -> None:
    """The estimate grows with numbers and with text, and costs nothing for many elements."""
    assert tensors_size({"x": np.zeros(1000, np.float32)}) >= 4000
    assert tensors_size({"x": np.array([b"a" * 500, b"b"], dtype=object)}) == 501
    assert tensors_size({"x": np.full(100_000, b"", dtype=object)}) > _LARGE
    assert tensors_size({}) == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["/v1/models/add:predict", "/v2/models/add/infer"])
async def test_large_json_leaves_others_alone(http: Callable[..., Awaitable[Reply]], path: str) -> None:
    """While 30 MiB of JSON are read and answered, probes and another model answer as ever."""
    numbers = np.round(np.linspace(0, 1, 3_200_000), 7).astype(np.float64)
    if path.endswith("predict"):
        body = orjson.dumps({"x": numbers}, option=orjson.OPT_SERIALIZE_NUMPY)
    else:
        tensor = {"name": "x", "datatype": "FP32", "shape": [len(numbers)], "data": numbers}
        body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
    assert len(body) > 25 << 20
    config = WorkerConfig(worker_id="w1", models=(toy("Add"), toy("Upper")))
    async with Registry(MemoryKV()) as registry, Worker(config, registry) as worker:
        loop = asyncio.get_running_loop()
        loop.set_debug(False)  # it would count every callback of the client, which is in this process too
        large = asyncio.ensure_future(http(worker.http_port, path, body))
        slowest, probes = 0.0, 0
        while not large.done():
            started = time.perf_counter()
            assert (await http(worker.http_port, "/healthz/live")).status == 200
            reply = await http(worker.http_port, "/v1/models/upper:predict", b'{"text": "a"}')
            assert reply.json["outputs"] == {"output": "A"}
            slowest, probes = max(slowest, time.perf_counter() - started), probes + 1
            await asyncio.sleep(0.005)
        reply = await large
        assert (reply.status, len(reply.body) > 10 << 20) == (200, True)
        assert probes > 20
        assert slowest < 0.25, "parsing it here would take half a second in one go"
