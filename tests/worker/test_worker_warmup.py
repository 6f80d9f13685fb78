"""Warm-up before a model is announced, and how its memory is measured."""

from __future__ import annotations

import asyncio
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.registry import ModelState
from graphmesh.worker import Batching, ModelConfig
from graphmesh.worker.backends.python import import_class
from graphmesh.worker.hosting.memory import LoadMeter, resident_bytes
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.metrics.families import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCE = """
import threading
from typing import Annotated, Iterator
import numpy as np
Vector = Annotated[np.ndarray, "FP32 (N,)"]
seen = []
class M:
    def predict(self, x: Vector) -> Vector:
        seen.append((len(x), model.state.name))
        if x[0] < 0:
            raise ValueError("secret")
        return x
class Big(M):
    def load(self):
        self.weights = np.ones(8 << 20)
class S:
    def predict(self, x: Vector) -> Iterator[float]:
        for number in x:
            seen.append(float(number))
            yield float(number)
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Model, list[Any]]]:
    """Return a model of the source above and what it saw."""

    def _make(kind: str = "M", **options: Any) -> tuple[Model, list[Any]]:  # noqa: ANN401 - any field
        path = tmp_path / "m.py"
        path.write_text(SOURCE)
        given = {
            "name": "m",
            "source": f"{path}:{kind}",
            "version": "1",
            "backend": "python",
            "instances": 1,
            **options,
        }
        model = Model(ModelConfig(**given), worker_id="w", metrics=Metrics(), meter=LoadMeter())
        module: Any = sys.modules[import_class(f"{path}:M").__module__]  # which the model will use too
        module.model = model
        seen: list[Any] = module.seen
        seen.clear()
        return model, seen

    return _make


async def test_samples_run_before_it_is_available(make: Callable[..., tuple[Model, list[Any]]]) -> None:
    """Every sample runs while the model is still LOADING."""
    model, seen = make(warmup=({"x": [1]}, {"x": [1, 2, 3]}))
    await model.load()
    assert model.state is ModelState.AVAILABLE
    assert seen == [(1, "LOADING"), (3, "LOADING")]
    await model.unload()


async def test_instances_and_batches(make: Callable[..., tuple[Model, list[Any]]]) -> None:
    """With several instances each gets one; with batching, batches of one and of the largest size are run."""
    model, seen = make(warmup=({"x": [1]},), instances=3)
    await model.load()
    assert len(seen) == 4
    await model.unload()
    model, seen = make(warmup=({"x": [1]},), batching=Batching(max_batch_size=8, max_delay_ms=50))
    await model.load()
    assert seen == [(1, "LOADING"), (8, "LOADING")]
    await model.unload()


async def test_streams_are_warmed_up_whole(make: Callable[..., tuple[Model, list[Any]]]) -> None:
    """A streaming model gives all its answers to a sample."""
    model, seen = make("S", warmup=({"x": [1, 2]},))
    await model.load()
    assert seen == [1.0, 2.0]
    await model.unload()


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({"x": [-1]}, r"warmup\[1\]: model 'm' failed; the worker's log has the reason"),
        ({"y": [1]}, r"warmup\[1\]: .*'y'"),
        ({"x": ["a"]}, r"warmup\[1\]: .*FP32 elements must be numbers"),
        ({"x": object()}, r"warmup\[1\]: a sample must be JSON"),
    ],
)
async def test_a_sample_that_fails(
    make: Callable[..., tuple[Model, list[Any]]], sample: dict[str, Any], reason: str
) -> None:
    """A sample that fails, or does not fit, is a failed load that names the sample; the model is let go of."""
    model, _ = make(warmup=({"x": [1]}, sample))
    await model.load()
    assert model.state is ModelState.FAILED
    assert re.search(reason, model.message), model.message
    assert model.platform == ""


async def test_memory_of_a_model(make: Callable[..., tuple[Model, list[Any]]]) -> None:
    """What loading a model added is shown while it is loaded."""
    model, _ = make("Big")
    await model.load()
    assert 48 << 20 < model.hosted.memory_bytes < 256 << 20
    await model.unload()
    assert model.hosted.memory_bytes == 0


async def test_memory_of_loads_that_take_turns() -> None:
    """What a load adds is measured; loads take turns so that it can be told of each."""
    taken = [100]
    meter = LoadMeter(lambda: taken[0])

    async def load(count: int) -> int:
        await asyncio.sleep(0.01)
        taken[0] += count
        return count

    results = await asyncio.gather(*(meter.measure(partial(load, count)) for count in (5, 7, -3)))
    assert results == [(5, 5), (7, 7), (-3, 0)]


async def test_memory_of_loads_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load waits only a moment for its turn; what loads side by side take is unknown, later loads are measured."""
    monkeypatch.setattr("graphmesh.worker.hosting.memory._PATIENCE_S", 0.01)
    taken = [0]
    meter, slow = LoadMeter(lambda: taken[0]), asyncio.Event()

    async def load() -> None:
        taken[0] += 10
        await slow.wait()

    first = asyncio.create_task(meter.measure(load))
    second = asyncio.create_task(meter.measure(load))
    await asyncio.sleep(0.05)
    slow.set()
    assert [(await task)[1] for task in (first, second)] == [0, 0]
    assert (await meter.measure(load))[1] == 10


def test_memory_of_processes() -> None:
    """A process's memory is what is resident; of one that is gone, nothing."""
    assert resident_bytes() > 1 << 20
    assert resident_bytes(1 << 22) == 0
