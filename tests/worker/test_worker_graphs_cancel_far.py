"""A client that leaves stops everything on other workers, too: nothing is begun there once they have heard of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.inference import InferenceRequest
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.registry import GatewayRecord, MemoryKV, Registry
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.forms.headers import REQUEST_ID
from graphmesh.worker.worker import Worker
from tests.worker.leaving import INNER, Hold, Ledger
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from graphmesh.core.inference import InferenceResponse
    from graphmesh.worker.handler import Servable

COUNT = 200
WITHIN_S = 0.05
"""How long a cancellation may take to the other worker, half of the time."""
HOP = """
    name: hop
    inputs: [x]
    nodes:
      first: {model: near, inputs: {x: x}}
      map: {map: {model: step, over: x, batch_size: 1, max_concurrency: 2}, inputs: {x: first.y}}
      hedge: {inputs: {x: first.y}, race: {branches: [{name: a, model: step}, {name: b, graph: inner}]}}
      both: {inputs: {x: map.y}, fallback: [{name: a, model: flaky}, {name: b, model: batch}]}
      nested: {graph: inner, inputs: {x: both.y}}
      last: {model: near, inputs: {x: nested.y}}
    outputs: {a: last.y, b: hedge.y}
"""
WAITS = "{name: waits, inputs: [x], nodes: {a: {model: hold, inputs: {x: x}}}, outputs: {y: a.y}}"


@dataclass
class Pair:
    """A worker that runs graphs, and one that has their models; what the second hears of."""

    near: Worker
    far: Worker
    on_far: int = 0
    """Calls that came to the other worker and run there now."""
    gone: dict[str, float] = field(default_factory=dict)
    """When the callers of requests left."""
    heard: dict[str, float] = field(default_factory=dict)
    """When the other worker first heard of it."""

    def watch(self) -> None:
        """Give each call that comes to the other worker an id, and note its cancellation before it has any effect."""
        handler: Any = self.far.handler
        run, numbers = handler._run, itertools.count()

        async def watched(servable: Servable, request: InferenceRequest) -> InferenceResponse:
            name = request.headers[REQUEST_ID]
            if "#" in name:  # a step of a graph that was called
                answer: InferenceResponse = await run(servable, request)
                return answer
            mine = f"{name}#{next(numbers)}"
            request.headers = {**request.headers, REQUEST_ID: mine}
            Ledger.stages[name] += 1
            self.on_far += 1
            running: asyncio.Task[InferenceResponse] = asyncio.create_task(run(servable, request))
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                Ledger.left.add(mine)
                if name in self.gone:  # else another branch came first
                    self.heard.setdefault(name, time.monotonic())
                running.cancel()
                await asyncio.wait([running])
                raise
            finally:
                self.on_far -= 1
            return running.result()

        handler._run = watched

    def ask(self, name: str, request_id: str) -> asyncio.Task[InferenceResponse]:
        """Call a graph."""
        headers, inputs = {REQUEST_ID: request_id}, {"x": np.arange(3, dtype=np.float32)}
        request = InferenceRequest(model=name, inputs=inputs, headers=headers)
        return asyncio.create_task(self.near.handler.infer(request))


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    Ledger.open()
    yield
    Hold.gate.set()


def _models(*names: str) -> tuple[ModelConfig, ...]:
    kinds = {"near": "Step", "step": "Step", "batch": "Batch", "flaky": "Flaky", "hold": "Hold"}
    return tuple(ModelConfig(name=name, source=f"tests.worker.leaving:{kinds[name]}") for name in names)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two workers and their graphs."""
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(MemoryKV()))
        configs = (
            WorkerConfig(worker_id="near", models=_models("near")),
            WorkerConfig(worker_id="far", models=_models("step", "batch", "flaky", "hold")),
        )
        near, far = [await stack.enter_async_context(Worker(config, registry)) for config in configs]
        gateway = GatewayRecord(gateway_id="g", host="127.0.0.1", port=far.grpc_port)
        await stack.enter_async_context(await registry.register_gateway(gateway))
        for text in (INNER, HOP, WAITS):
            graph, snapshot = parse_yaml(text), await registry.read()
            live = {name: graph_from_bytes(record.document) for name, record in snapshot.graphs.items()}
            signature = validate(graph, snapshot.signature_of, graphs=live.get)
            await registry.put_graph(graph.name, graph_to_bytes(graph), signature)
        for worker in (near, far):
            await worker._mirror.wait_for(lambda seen: len(seen.graphs) == 3 and bool(seen.gateways), 5.0)
        yield Pair(near, far)


async def test_cancellations_at_every_stage_reach_the_other_worker(pair: Pair) -> None:
    """Each request is left at another stage, from its beginning to its end; what is there hears of it soon."""
    await pair.ask("hop", "first")
    pair.watch()
    Ledger.open()
    await pair.ask("hop", "whole")
    await eventually(lambda: pair.on_far == 0)
    stages = Ledger.stages["whole"]
    assert stages > 12
    for index in range(COUNT):
        name = f"r{index}"
        task = pair.ask("hop", name)
        while Ledger.stages[name] < index % stages and not task.done():  # noqa: ASYNC110 - the next turn may be it
            await asyncio.sleep(0)
        for _ in range(index // stages % 5):
            await asyncio.sleep(0)
        if not task.done():
            pair.gone[name] = time.monotonic()
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() == (name in pair.gone)
    await eventually(lambda: pair.on_far == 0)
    took = [at - pair.gone[name] for name, at in pair.heard.items()]
    assert len(pair.gone) > COUNT * 0.7
    assert len(took) > COUNT * 0.4
    assert statistics.median(took) < WITHIN_S
    assert Ledger.late == []
    assert Ledger.running == 0
    metrics = pair.far.metrics
    counted = [metrics.graph("inner"), *(metrics.model(name, "1") for name in ("step", "batch", "flaky"))]
    assert [one.in_flight for one in counted] == [0] * 4


async def test_calls_that_wait_on_the_other_worker_never_begin(pair: Pair) -> None:
    """The call that a thread there has already begun goes on, counted apart; all others are gone."""
    pair.watch()
    tasks = [pair.ask("waits", f"r{index}") for index in range(100)]
    await eventually(lambda: pair.on_far == 100 and Ledger.begun == 1)
    pair.gone = dict.fromkeys((f"r{index}" for index in range(100)), 0.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await eventually(lambda: pair.on_far == 0)
    assert len(pair.heard) == 100
    Hold.gate.set()
    await pair.ask("waits", "after")
    assert (Ledger.begun, Ledger.late) == (2, [])
