"""Loading, reloading and unloading models while a worker runs, and what its record says meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.errors import LoadFailed, ModelNotReady, NotFound
from graphmesh.core.inference import InferenceRequest
from graphmesh.registry import MemoryKV, ModelState, Registry
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.backends.python import PythonModel
from graphmesh.worker.hosting.catalog import Catalog
from graphmesh.worker.hosting.memory import LoadMeter
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.hosting.repository import Repository
from graphmesh.worker.metrics.families import Metrics
from graphmesh.worker.worker import Worker
from tests.registry.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

SOURCE = """
import asyncio
class M:
    async def predict(self, x: float) -> float:
        await asyncio.sleep({pause})
        return x + {amount}
    def unload(self) -> None:
        unloaded.append({amount})
unloaded = []
{more}
"""
BROKEN = SOURCE.format(pause=0, amount=0, more="raise OSError('cannot read /home/someone/weights.bin')")


class Notebook:
    """A publisher that notes what the index was each time the mesh was told."""

    def __init__(self) -> None:
        self.index: Callable[[], Sequence[Any]] = list
        self.told: list[dict[str, ModelState]] = []

    def changed(self) -> None:
        """Tell."""
        self.told.append({model.version: model.state for model in self.index()})

    async def published(self) -> None:
        """Tell."""
        self.changed()


class Given:
    """A repository of one source whose versions the test changes, and what it was built of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions: tuple[str, ...] = ("1",)
        self.clock = FakeClock()
        self.catalog = Catalog()
        self.notebook = Notebook()
        metrics, meter = Metrics(), LoadMeter()
        self.repository = Repository(
            [ModelConfig(name="m", source=f"{path}:M"), ModelConfig(name="other", source=f"{path}:M")],
            catalog=self.catalog,
            make=lambda config: Model(config, worker_id="w", metrics=metrics, meter=meter),
            resolve=self.resolve,
            publisher=self.notebook,
            clock=self.clock,
            grace_s=5,
        )
        self.notebook.index = self.repository.index
        self.resolving = asyncio.Event()
        self.resolving.set()

    async def resolve(self, config: ModelConfig) -> tuple[ModelConfig, ...]:
        """Return the versions there are now."""
        await self.resolving.wait()
        return tuple(
            dataclasses.replace(config, backend="python", version=version, instances=1) for version in self.versions
        )

    def write(self, amount: float, *, pause: float = 0, more: str = "") -> None:
        """Change the model."""
        self.path.write_text(SOURCE.format(amount=amount, pause=pause, more=more))

    async def call(self, name: str = "m", version: str = "") -> float:
        """Call a model as the handler does."""
        model = self.catalog.find(name, version)
        assert model is not None
        response = await model.infer(InferenceRequest(model=name, inputs={"x": np.array(1.0)}))
        return float(response.outputs["output"])

    def states(self, name: str = "m") -> dict[str, ModelState]:
        """Return the states of a model's versions."""
        return {model.version: model.state for model in self.repository.index() if model.name == name}

    async def during(self, work: Any, seconds: float) -> Any:  # noqa: ANN401 - whatever the work gives
        """Run work and let time pass until it is done."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.sleep(0.01)
            await self.clock.advance(seconds)
        return await task


@pytest.fixture
async def given(tmp_path: Path) -> AsyncIterator[Given]:
    """A repository with a model that adds one."""
    made = Given(tmp_path / "m.py")
    made.write(1)
    async with made.repository:
        yield made


async def test_load_and_reload(given: Given) -> None:
    """A load reads the source anew; new calls get the new model, those in flight end in the old one, which unloads."""
    given.write(1, pause=0.3)
    await given.repository.load("m")
    old = given.catalog.find("m")
    in_flight = asyncio.create_task(given.call())
    await asyncio.sleep(0.05)
    given.write(2)
    await given.repository.load("m")
    assert await given.call() == 3
    assert old is not None
    assert old.ready
    assert await in_flight == 2
    await given.clock.advance(1)
    await _until(lambda: old.state is ModelState.UNLOADED)
    assert given.states() == {"1": ModelState.AVAILABLE}


async def test_a_failed_reload_keeps_the_old_model(given: Given) -> None:
    """A reload that fails says why, to its caller and beside the model, which goes on; a good one clears that."""
    await given.repository.load("m")
    given.path.write_text(BROKEN)
    with pytest.raises(LoadFailed, match=r"model 'm': version 1: m\.py:M: OSError: cannot read weights\.bin"):
        await given.repository.load("m")
    assert await given.call() == 2
    (hosted,) = (model for model in given.repository.index() if model.name == "m")
    assert hosted.state is ModelState.AVAILABLE
    assert hosted.message == "reload failed: m.py:M: OSError: cannot read weights.bin"
    given.write(3)
    await given.repository.load("m")
    assert await given.call() == 4
    assert [model.message for model in given.repository.index()] == [""]


async def test_a_first_load_that_fails(given: Given) -> None:
    """A model that never loaded is FAILED with the reason, refuses calls, and can be loaded once it was mended."""
    given.path.write_text(BROKEN)
    with pytest.raises(LoadFailed):
        await given.repository.load("m")
    assert given.states() == {"1": ModelState.FAILED}
    with pytest.raises(ModelNotReady, match=r"weights\.bin"):
        await given.call()
    given.write(1)
    await given.repository.load("m")
    assert (given.states(), await given.call()) == ({"1": ModelState.AVAILABLE}, 2)


async def test_whatever_a_load_raises_stays_with_its_model(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no backend foresaw fails the one model, with an id instead of its text; others load."""

    def raises(config: ModelConfig) -> None:
        raise RuntimeError(f"secret of {config.name}")

    await given.repository.load("other")
    monkeypatch.setattr("graphmesh.worker.hosting.model.load_model", raises)
    with pytest.raises(LoadFailed, match="failure-"):
        await given.repository.load("m")
    states = {model.name: model.state for model in given.repository.index()}
    assert states == {"m": ModelState.FAILED, "other": ModelState.AVAILABLE}


async def test_a_call_in_flight_is_never_beside_unload(given: Given) -> None:
    """An async call that outlasts the grace is left its model: `unload` does not run beside it."""
    given.write(pause=3600, amount=1)
    await given.repository.load("m")
    (model,) = given.catalog.hosted("m")
    assert isinstance(model._loaded, PythonModel)
    module = sys.modules[type(model._loaded._instance).__module__]
    call = asyncio.create_task(model.infer(InferenceRequest(model="m", inputs={"x": np.array(1.0)})))
    await asyncio.sleep(0)
    await model.unload()
    assert module.unloaded == []
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_unload_is_announced_first(given: Given) -> None:
    """UNLOADING is published while calls are still answered; only a propagation time later are they refused."""
    await given.repository.load("m")
    unloading = asyncio.create_task(given.repository.unload("m"))
    await given.clock.settle()
    assert given.notebook.told[-1] == {"1": ModelState.UNLOADING}
    assert await given.call() == 2
    await given.clock.advance(0.9)
    assert await given.call() == 2
    await given.during(unloading, 0.2)
    assert given.states() == {"1": ModelState.UNLOADED}
    assert given.notebook.told[-1] == {"1": ModelState.UNLOADED}
    with pytest.raises(ModelNotReady, match="UNLOADED"):
        await given.call()
    await given.repository.load("m")
    assert await given.call() == 2


async def test_leaving_unloads_what_was_replaced_too(given: Given) -> None:
    """At the end also those models are unloaded that others have replaced a moment ago."""
    await given.repository.load("m")
    old = given.catalog.find("m")
    await given.repository.load("m")
    assert old is not None
    assert old.ready
    await given.repository.__aexit__(None, None, None)
    assert old.state is ModelState.UNLOADED


async def test_unload_lets_calls_finish(given: Given) -> None:
    """Calls in flight finish before the model is unloaded; unloading what is not loaded has no effect."""
    given.write(1, pause=0.3)
    await given.repository.load("m")
    call = asyncio.create_task(given.call())
    await asyncio.sleep(0.05)
    await given.during(given.repository.unload("m"), 2)
    assert await call == 2
    await given.during(given.repository.unload("m"), 2)
    assert given.states() == {"1": ModelState.UNLOADED}


async def test_states_only_go_forward(given: Given) -> None:
    """AVAILABLE is told once it is true; a model object never goes back, a load is a new one."""
    await given.repository.load("m")
    first = given.catalog.find("m")
    await given.during(given.repository.unload("m"), 2)
    await given.repository.load("m")
    assert given.catalog.find("m") is not first
    seen = [told["1"].name for told in given.notebook.told if "1" in told]
    order = [name for name, before in zip(seen, ["", *seen[:-1]], strict=True) if name != before]
    assert order == ["LOADING", "AVAILABLE", "UNLOADING", "UNLOADED", "LOADING", "AVAILABLE"]


async def test_versions_side_by_side(given: Given) -> None:
    """A load takes up versions that the source has gained, and unloads those that it has lost; the highest answers."""
    given.versions = ("1", "2")
    await given.repository.load("m")
    assert await given.call(version="1") == 2
    assert given.catalog.versions("m") == ("2", "1")
    given.versions = ("2", "10")
    await given.repository.load("m")
    assert given.catalog.find("m") is given.catalog.find("m", "10")
    assert given.states()["1"] is ModelState.UNLOADING
    assert await given.call(version="1") == 2
    await given.clock.advance(1.1)
    await _until(lambda: given.states()["1"] is ModelState.UNLOADED)
    await given.repository.load("m")
    assert set(given.states()) == {"2", "10"}


async def test_a_version_that_fails_keeps_those_that_would_go(given: Given) -> None:
    """While a new version cannot be loaded, the one that it should replace is not taken away."""
    await given.repository.load("m")
    given.versions = ("2",)
    given.path.write_text(BROKEN)
    with pytest.raises(LoadFailed, match="version 2"):
        await given.repository.load("m")
    assert given.states() == {"1": ModelState.AVAILABLE, "2": ModelState.FAILED}
    assert await given.call() == 2


async def test_one_name_at_a_time(given: Given) -> None:
    """Loads of one name run one after the other, of others beside them; a caller that leaves stops neither."""
    given.resolving.clear()
    first = asyncio.create_task(given.repository.load("m"))
    second = asyncio.create_task(given.repository.load("m"))
    other = asyncio.create_task(given.repository.load("other"))
    await asyncio.sleep(0.05)
    assert given.repository.loading == {"m", "other"}
    first.cancel()
    given.resolving.set()
    await asyncio.gather(second, other)
    assert await given.call() == await given.call("other") == 2


async def test_unknown_names(given: Given) -> None:
    """A name that the worker was not given is NOT_FOUND, with close names."""
    with pytest.raises(NotFound, match="close names: other"):
        await given.repository.load("othr")
    with pytest.raises(NotFound):
        await given.repository.unload("nobody")


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - the state of another task
            await asyncio.sleep(0.01)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[tuple[Worker, Registry, MemoryKV, Path]]:
    """A worker with one model, its registry and the store below it."""
    path = tmp_path / "m.py"
    path.write_text(SOURCE.format(pause=0, amount=1, more=""))
    kv = MemoryKV()
    config = WorkerConfig(worker_id="w", models=(ModelConfig(name="m", source=f"{path}:M"),), drain_s=0.05)
    async with Registry(kv) as registry, Worker(config, registry) as worker:
        yield worker, registry, kv, path


async def test_the_record_follows(mesh: tuple[Worker, Registry, MemoryKV, Path]) -> None:
    """The worker's record shows every change, and a new signature is there before the record names it."""
    worker, registry, _, path = mesh
    before = (await registry.read()).workers["w"].models[0]
    path.write_text("class M:\n    def predict(self, text: str) -> str:\n        return text\n")
    await worker.repository.load("m")
    snapshot = await registry.read()
    (hosted,) = snapshot.workers["w"].models
    assert hosted.state is ModelState.AVAILABLE
    assert hosted.signature_digest != before.signature_digest
    signature = snapshot.signature_of("m")
    assert signature is not None
    assert signature.inputs[0].name == "text"
    await worker.repository.unload("m")
    assert (await registry.read()).workers["w"].models[0].state is ModelState.UNLOADED


async def test_changes_while_etcd_is_away(
    mesh: tuple[Worker, Registry, MemoryKV, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes while etcd is away takes effect here at once, and in the registry when etcd is back."""
    monkeypatch.setattr("graphmesh.worker.hosting.announcer._PATIENCE_S", 0.2)
    worker, registry, kv, path = mesh
    kv.stop()
    path.write_text("class M:\n    def predict(self, text: str) -> str:\n        return text\n")
    await worker.repository.load("m")
    model = worker.catalog.find("m")
    assert model is not None
    assert model.signature.inputs[0].name == "text"
    kv.resume()
    async with registry.mirror() as mirror:
        await mirror.wait_for(lambda s: s.workers["w"].models[0].signature_digest == model.signature.digest, 5)
        assert mirror.snapshot.signature_of("m") == model.signature


async def test_the_record_comes_back_with_what_was_loaded_since(
    mesh: tuple[Worker, Registry, MemoryKV, Path],
) -> None:
    """A record that was lost with all of etcd's data comes back with the signatures of today."""
    worker, registry, kv, path = mesh
    path.write_text("class M:\n    def predict(self, text: str) -> str:\n        return text\n")
    await worker.repository.load("m")
    kv.wipe()
    async with registry.mirror() as mirror:
        await mirror.wait_for(lambda s: "w" in s.workers and s.signature_of("m") is not None, 5)
