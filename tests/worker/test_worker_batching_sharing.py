"""Models of one worker beside each other: none takes another's turn, a hang stays where it is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio

from graphmesh.core.inference import InferenceRequest
from graphmesh.registry import MemoryKV, Registry
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.worker.batching_models"
MODELS = (
    ModelConfig(name="flooded", source=f"{MODULE}:Work", instances=2),
    ModelConfig(name="single", source=f"{MODULE}:Work"),
    ModelConfig(name="other", source=f"{MODULE}:Work"),
    ModelConfig(name="hangs", source=f"{MODULE}:Wait", instances=2),
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker() -> AsyncIterator[Worker]:
    """A worker with all of them."""
    async with (
        Registry(MemoryKV()) as registry,
        Worker(WorkerConfig(worker_id="w", models=MODELS), registry) as running,
    ):
        yield running


async def call(worker: Worker, name: str, seconds: float = 0.0) -> float:
    """Make one call and return how long it took."""
    started = time.monotonic()
    await worker.handler.infer(InferenceRequest(model=name, inputs={"x": np.array([seconds], dtype=np.float32)}))
    return time.monotonic() - started


@contextlib.asynccontextmanager
async def beside(make: Callable[[], Coroutine[Any, Any, object]], count: int) -> AsyncIterator[None]:
    """Have so many callers call one after the other while the body runs."""

    async def caller() -> None:
        while True:
            await make()

    tasks = [asyncio.create_task(caller()) for _ in range(count)]
    try:
        await asyncio.sleep(0.1)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def rate(worker: Worker, name: str, seconds: float) -> float:
    """Call a model one call at a time and return how many a second it answered."""
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        await call(worker, name)
        done += 1
    return done / (time.monotonic() - started)


async def test_flooded_model_leaves_others_their_share(worker: Worker) -> None:
    """Beside a model with a deep queue, one called call by call keeps 40% of its rate beside an equal one."""
    shares = []
    for _ in range(3):  # each compares within a second; the machine may be busy with other things in one of them
        async with beside(lambda: call(worker, "other"), 1):
            alone = await rate(worker, "single", 0.5)
        async with beside(lambda: call(worker, "flooded"), 64):
            flooded = await rate(worker, "single", 0.5)
        shares.append(flooded / alone)
    assert max(shares) > 0.4, shares


async def test_hung_model_leaves_others_alone(worker: Worker) -> None:
    """While a model hangs with a queue behind it, another one answers as fast as before."""
    before = sorted([await call(worker, "single") for _ in range(40)])
    async with beside(lambda: call(worker, "hangs", 3.0), 50):
        during = sorted([await call(worker, "single") for _ in range(40)])
    assert during[20] < before[20] * 2 + 0.005
    assert during[38] < before[38] * 2 + 0.02
