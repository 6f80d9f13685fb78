"""Caches of graphs on real workers: a model that is loaded again, here or elsewhere, and the memory that they share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pytest_asyncio

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.inference import InferenceRequest
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.forms.wire import graph_to_bytes
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.registry import GatewayRecord, MemoryKV, Registry
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = """
import itertools
from typing import Annotated, TypedDict
import numpy as np

Vector = Annotated[np.ndarray, "FP32 (N,)"]
calls = itertools.count(1)

class Out(TypedDict):
    y: Vector
    call: Vector

class Model:
    async def predict(self, x: Vector) -> Out:
        return {"y": x * 0 + ANSWER, "call": x * 0 + next(calls)}
"""
GRAPH = """
name: NAME
inputs: {x: "FP32 (N,)"}
nodes: [{name: a, inputs: {x: x}, cache: {ttl: 1h, body: {name: body, model: NAME-model}}}]
outputs: {y: a.y, call: a.call}
"""


def _none(_: str) -> None:
    """Return no graph."""


class Mesh:
    """A worker that runs graphs and has one model, and two more that have the other one; calls go to the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[Worker] = []

    def write(self, worker_id: str, answer: int) -> str:
        """Let a worker's model be another, once it is loaded again; return its source."""
        (self.folder / worker_id).mkdir(exist_ok=True)
        path = self.folder / worker_id / "model.py"
        path.write_text(MODEL.replace("ANSWER", str(answer)))
        return f"{path}:Model"

    async def reload(self, worker_id: str, answer: int) -> None:
        """Load a worker's model again in place, and wait until the worker that runs graphs has heard of it."""
        worker = next(one for one in self.workers if one.config.worker_id == worker_id)
        before = {model.load_id for model in worker.repository.index()}
        self.write(worker_id, answer)
        await worker.repository.load(worker.repository.names[0])
        (after,) = {model.load_id for model in worker.repository.index()}
        assert after not in before
        await self.workers[0]._mirror.wait_for(
            lambda seen: any(model.load_id == after for model in seen.workers[worker_id].models), 5.0
        )

    async def ask(self, name: str) -> tuple[int, int]:
        """Return the answer of a graph, and which call of the model it is of."""
        request = InferenceRequest(model=name, inputs={"x": np.zeros(1, np.float32)})
        outputs = (await self.workers[0].handler.infer(request)).outputs
        return int(outputs["y"][0]), int(outputs["call"][0])


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Three workers."""
    made = Mesh(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(MemoryKV()))
        for worker_id, name in (("w1", "here"), ("w2", "far"), ("w3", "far")):
            model = ModelConfig(name=f"{name}-model", source=made.write(worker_id, 1))
            config = WorkerConfig(worker_id=worker_id, models=(model,))
            made.workers.append(await stack.enter_async_context(Worker(config, registry)))
        gateway = GatewayRecord(gateway_id="g", host="127.0.0.1", port=made.workers[1].grpc_port)
        await stack.enter_async_context(await registry.register_gateway(gateway))
        snapshot = await registry.read()
        for name in ("here", "far"):
            graph = parse_yaml(GRAPH.replace("NAME", name))
            await registry.put_graph(name, graph_to_bytes(graph), validate(graph, snapshot.signature_of, graphs=_none))
        await made.workers[0]._mirror.wait_for(
            lambda seen: len(seen.graphs) == 2 and bool(seen.gateways) and len(seen.available("far-model")) == 2, 5.0
        )
        yield made


async def test_a_model_that_is_loaded_again_under_its_version_is_asked_again(mesh: Mesh) -> None:
    """In this process and on another worker alike; then its new answer is remembered."""
    for name, worker_id in (("here", "w1"), ("far", "w2")):
        assert [await mesh.ask(name) for _ in range(3)] == [(1, 1)] * 3
        await mesh.reload(worker_id, 2)
        assert [await mesh.ask(name) for _ in range(3)] == [(2, 1)] * 3


async def test_another_replica_that_is_loaded_again_empties_the_cache_once(mesh: Mesh) -> None:
    """It might have answered; that the replicas are of different loads costs nothing otherwise."""
    assert [await mesh.ask("far") for _ in range(3)] == [(1, 1)] * 3
    await mesh.reload("w3", 2)
    assert [await mesh.ask("far") for _ in range(3)] == [(1, 2)] * 3


async def test_a_worker_says_what_its_caches_hold(mesh: Mesh) -> None:
    """All of them together."""
    for name in ("here", "far"):
        await mesh.ask(name)
    text = mesh.workers[0].metrics.text().decode()
    assert "\ngraphmesh_worker_cache_bytes 16\n" in text
    assert "\ngraphmesh_worker_cache_answers 2\n" in text
    assert f"\ngraphmesh_worker_cache_max_bytes {1 << 30}\n" in text


async def test_all_caches_of_a_worker_share_one_bound(tmp_path: Path) -> None:
    """Of two graphs that do not fit together the one that was asked last is remembered."""
    made = Mesh(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(MemoryKV()))
        model = ModelConfig(name="one-model", source=made.write("w1", 1))
        config = WorkerConfig(worker_id="w1", models=(model,), cache_bytes=12)
        made.workers.append(await stack.enter_async_context(Worker(config, registry)))
        snapshot = await registry.read()
        for name in ("one", "two"):
            graph = parse_yaml(GRAPH.replace("NAME-model", "one-model").replace("NAME", name))
            await registry.put_graph(name, graph_to_bytes(graph), validate(graph, snapshot.signature_of, graphs=_none))
        await made.workers[0]._mirror.wait_for(lambda seen: len(seen.graphs) == 2, 5.0)
        asked = [await made.ask(name) for name in ("one", "one", "two", "two", "one")]
        assert [call for _, call in asked] == [1, 1, 2, 2, 3]
        text = made.workers[0].metrics.text().decode()
    assert "\ngraphmesh_worker_cache_bytes 8\n" in text
    assert '\ngraphmesh_worker_cache_evictions_total{bound="worker"} 2\n' in text


async def test_the_bound_is_checked() -> None:
    """It cannot be negative."""
    with pytest.raises(InvalidRequest, match="cache_bytes must not be negative"):
        WorkerConfig(worker_id="w", cache_bytes=-1)
