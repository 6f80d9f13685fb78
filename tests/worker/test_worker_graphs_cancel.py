"""A client that leaves stops everything: no compute of its request begins once it has left, wherever that is."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Annotated, ClassVar, TypedDict

import numpy as np
import pytest

from graphmesh.core.errors import Unavailable
from graphmesh.core.inference import InferenceRequest
from graphmesh.worker import Context, batched
from graphmesh.worker.forms.headers import REQUEST_ID
from tests.worker.graph_bench import bench
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

Vector = Annotated[np.ndarray, "FP32 (N,)"]
COUNT = 1_000


class Out(TypedDict):
    """The only output."""

    y: Vector


class Ledger:
    """Which requests have left, and what was begun for them."""

    left: ClassVar[set[str]] = set()
    begun = 0
    late: ClassVar[list[str]] = []
    running = 0

    @classmethod
    def begin(cls, *requests: str) -> None:
        """Note that computing begins."""
        cls.begun += len(requests)
        cls.late += [request for request in requests if request in cls.left]


class Step:
    """On the event loop, in a few turns."""

    async def predict(self, x: Vector, context: Context) -> Out:
        """Return x."""
        Ledger.begin(context.request_id)
        Ledger.running += 1
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            Ledger.running -= 1
        return {"y": x}


class Flaky(Step):
    """Fails."""

    async def predict(self, x: Vector, context: Context) -> Out:
        """Raise."""
        await super().predict(x, context)
        raise Unavailable("on purpose")


class Batch:
    """In batches, on the event loop."""

    @batched(max_batch_size=4)
    async def predict(self, x: Vector, contexts: list[Context]) -> Out:
        """Return x."""
        Ledger.begin(*(context.request_id for context in contexts))
        await asyncio.sleep(0)
        return {"y": x}


class Hold:
    """On the only thread, until it is let go."""

    gate = threading.Event()

    def predict(self, x: Vector, context: Context) -> Out:
        """Wait for the gate."""
        Ledger.begin(context.request_id)
        self.gate.wait(30)
        return {"y": x}


MODELS = {"step": Step, "flaky": Flaky, "batch": Batch, "hold": Hold}
INNER = """
    name: inner
    inputs: [x]
    nodes:
      one: {model: step, inputs: {x: x}}
      two: {model: batch, inputs: {x: one.y}}
    outputs: {y: two.y}
"""
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
    Ledger.left, Ledger.late, Ledger.begun, Ledger.running = set(), [], 0, 0
    Hold.gate.clear()
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
