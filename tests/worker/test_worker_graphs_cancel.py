"""A client that leaves stops everything: no compute of its request begins once it has left, wherever that is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from graphmesh.core.inference import InferenceRequest
from graphmesh.worker.forms.headers import REQUEST_ID
from tests.worker.graph_bench import bench
from tests.worker.leaving import INNER, Batch, Flaky, Hold, Ledger, Step
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 1_000
MODELS = {"step": Step, "flaky": Flaky, "batch": Batch, "hold": Hold}
EVERYTHING = """
    name: everything
    inputs: [x]
    nodes:
      first: {model: step, inputs: {x: x}}
      map: {map: {model: step, over: x, batch_size: 1, max_concurrency: 2}, inputs: {x: first.y}}
      nested: {graph: inner, inputs: {x: first.y}}
      batch: {model: batch, inputs: {x: first.y}}
      all:
        inputs: {x: map.y}
        parallel: {aggregate: mean, branches: [{name: a, model: step}, {name: b, model: batch}]}
      safe: {inputs: {x: nested.y}, fallback: [{name: a, model: flaky}, {name: b, model: step}]}
      hedge: {inputs: {x: batch.y}, race: {branches: [{name: a, model: step}, {name: b, graph: inner}]}}
      loop: {inputs: {x: all.y}, loop: {body: {name: a, model: step}, max_iterations: 3, carry: {x: y}}}
      cache: {inputs: {x: safe.y}, cache: {ttl: 1ms, body: {name: a, model: step}}}
    outputs: {a: loop.y, b: cache.y, c: hedge.y}
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    Ledger.open()
    yield
    Hold.gate.set()


def _request(name: str, request_id: str) -> InferenceRequest:
    inputs = {"x": np.arange(3, dtype=np.float32)}
    return InferenceRequest(model=name, inputs=inputs, headers={REQUEST_ID: request_id})


async def test_a_thousand_cancellations_at_every_stage_begin_nothing() -> None:
    """Each request is left after some turns of the event loop, from the first to the last it would take."""
    async with bench(MODELS, INNER, EVERYTHING) as one:
        await one.handler.infer(
            _request("everything", "first")
        )  # it waits for a thread, for as many turns as that takes
        Ledger.begun = 0
        task = asyncio.create_task(one.handler.infer(_request("everything", "whole")))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await task
        whole, left = Ledger.begun, 0
        assert turns > 20
        for index in range(COUNT):
            name = f"r{index}"
            task = asyncio.create_task(one.handler.infer(_request("everything", name)))
            for _ in range(index % turns):
                await asyncio.sleep(0)
            if not task.done():
                Ledger.left.add(name)
                left += task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() == (name in Ledger.left)
        assert left > COUNT * 0.7
        assert Ledger.late == []
        assert Ledger.running == 0
        assert whole < Ledger.begun < COUNT * whole
        metrics = one.graphs.metrics
        assert metrics.graph("everything").in_flight == metrics.graph("inner").in_flight == 0


async def test_calls_that_wait_for_a_thread_never_begin() -> None:
    """The call that a thread has already begun goes on, counted apart; all others are gone."""
    graph = "{name: g, inputs: [x], nodes: {a: {model: hold, inputs: {x: x}}}, outputs: {y: a.y}}"
    async with bench(MODELS, graph) as one:
        tasks = [asyncio.create_task(one.handler.infer(_request("g", f"r{index}"))) for index in range(100)]
        await eventually(lambda: Ledger.begun == 1)
        Ledger.left.update(f"r{index}" for index in range(100))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        Hold.gate.set()
        after = asyncio.create_task(one.handler.infer(_request("g", "after")))
        await after
        assert (Ledger.begun, Ledger.late) == (2, [])
