"""Isolated models under a worker: what others notice of a crash, a hang, a poison; warm-up, memory, signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import grpc
import grpc.aio
import numpy as np
import psutil
import pytest

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import (
    DeadlinePassed,
    GraphmeshError,
    ModelNotReady,
    ModelProcessDied,
    Overloaded,
    Quarantined,
)
from graphmesh.core.inference import InferenceRequest
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.oip import open_inference_pb2_grpc as pb_grpc
from graphmesh.registry import MemoryKV, ModelState, Registry
from graphmesh.worker import Isolation, ModelConfig, WorkerConfig
from graphmesh.worker.isolation import IsolatedModel
from graphmesh.worker.isolation.process import ModelProcess
from graphmesh.worker.rpc.servicer_errors import metadata_of
from graphmesh.worker.worker import Worker
from tests.worker import fragile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from graphmesh.worker.hosting.execution import Execution

FRAGILE = Path(__file__).parent / "fragile.py"

Start = "Callable[..., Awaitable[Worker]]"


def isolated(kind: str, /, **options: Any) -> ModelConfig:  # noqa: ANN401 - any field
    """Return the configuration of a class of fragile.py in a process of its own."""
    given = {"name": "m", "source": f"{FRAGILE}:{kind}", "isolation": Isolation.PROCESS, **options}
    return ModelConfig(**given)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Worker]]]:
    """Start workers that host what they are given; they end with the test, and so do the models' processes."""
    async with AsyncExitStack() as stack:

        async def _start(*models: ModelConfig) -> Worker:
            registry = await stack.enter_async_context(Registry(MemoryKV()))
            config = WorkerConfig(worker_id="w", models=models, drain_s=0.05)
            return await stack.enter_async_context(Worker(config, registry))

        yield _start
    assert not [child for child in psutil.Process().children() if "isolation.child" in " ".join(child.cmdline())]


async def _call(worker: Worker, *values: float, name: str = "m", timeout_s: float = 20) -> list[float]:
    inputs = {"x": np.array(values, dtype=np.float32)}
    request = InferenceRequest(model=name, inputs=inputs, deadline=Deadline.after(timeout_s))
    response = await worker.handler.infer(request)
    found: list[float] = response.outputs["output"].tolist()
    return found


def _model(worker: Worker, name: str = "m") -> IsolatedModel:
    model = worker.catalog.find(name)
    assert isinstance(model, IsolatedModel)
    return model


async def _until(true: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the state of another task
            await asyncio.sleep(0.01)


async def _restarted(worker: Worker, pid: int) -> None:
    await _until(lambda: _model(worker).ready and _model(worker).pid != pid)


async def test_a_crash_leaves_others_alone(start: Callable[..., Awaitable[Worker]]) -> None:
    """While one model's process dies over and over, another answers every call; the first comes back each time."""
    worker = await start(isolated("Fragile"), ModelConfig(name="steady", source=f"{FRAGILE}:Fragile", instances=2))
    stop, answers = asyncio.Event(), 0

    async def load() -> None:
        nonlocal answers
        while not stop.is_set():
            assert await _call(worker, 1, name="steady") == [2]
            answers += 1
            await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as group:
        group.create_task(load())
        for number in (0.5, 0.25):
            pid = _model(worker).pid
            os.kill(pid, signal.SIGSEGV)
            await _until(lambda: _model(worker).state is ModelState.FAILED)
            assert _model(worker).hosted.message == "the model's process died (signal 11, SIGSEGV)"
            with pytest.raises(ModelNotReady, match="SIGSEGV"):
                await _call(worker, number)
            await _restarted(worker, pid)
            assert await _call(worker, number) == [number + 1]
        stop.set()
    assert answers > 50


async def test_nobody_fails_but_the_poison(start: Callable[..., Awaitable[Worker]]) -> None:
    """Calls in the process beside a request that aborts it are answered; that request is refused, for good."""
    worker = await start(isolated("Fragile", instances=4))
    # Four and then four more: the poison takes the place of the first that ends, long before the other three do.
    pauses = [0.2] * 5 + [0.7] * 3
    innocents = [asyncio.create_task(_call(worker, number, pause)) for number, pause in enumerate(pauses)]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    with pytest.raises(Quarantined, match="died twice"):
        await _call(worker, fragile.ABORT)
    expected = [[number + 1, pytest.approx(1 + pause)] for number, pause in enumerate(pauses)]
    assert [await task for task in innocents] == expected
    assert time.monotonic() - began < 15
    pid = _model(worker).pid
    for _ in range(3):
        with pytest.raises(Quarantined):
            await _call(worker, fragile.ABORT)
    assert _model(worker).pid == pid
    assert _model(worker).metrics.refusals["quarantined"] == 3
    assert len(_model(worker).suspects) == 1
    assert _model(worker).metrics.refusals == {"quarantined": 3}


async def test_a_poisoned_batch(start: Callable[..., Awaitable[Worker]]) -> None:
    """Of a batch that ended its process, all but the one to blame are answered, and two processes died in all."""
    worker = await start(isolated("FragileBatch"))
    assert await _call(worker, 1) == [2]
    calls = [asyncio.create_task(_call(worker, number)) for number in (1, 2, 3, fragile.ABORT, 4, 5)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [r for r in results if not isinstance(r, BaseException)] == [[2], [3], [4], [5], [6]]
    assert isinstance(results[3], Quarantined)
    deaths = worker.repository._pauses["m", "1"] / 0.1
    assert deaths == 4  # doubled twice


async def test_reload_forgives(start: Callable[..., Awaitable[Worker]]) -> None:
    """A model that is loaded again starts without suspects: it may have been mended."""
    worker = await start(isolated("Fragile"))
    with pytest.raises(Quarantined):
        await _call(worker, fragile.ABORT)
    assert len(_model(worker).suspects) == 1
    await worker.repository.load("m")
    assert len(_model(worker).suspects) == 0
    assert await _call(worker, 1) == [2]


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after processes more often than once a second."""
    monkeypatch.setattr("graphmesh.worker.hosting.repository._TICK_S", 0.1)


@pytest.mark.usefixtures("watchful")
async def test_a_hang(start: Callable[..., Awaitable[Worker]]) -> None:
    """Calls of a model that hangs end at their deadline; then it is started again, and says so meanwhile."""
    worker = await start(isolated("Fragile", hang_s=0.3), ModelConfig(name="steady", source=f"{FRAGILE}:Fragile"))
    pid = _model(worker).pid
    began = time.monotonic()
    await _gives_up(worker, fragile.HANG)
    assert time.monotonic() - began < 1
    assert await _call(worker, 1, name="steady") == [2]
    await _until(lambda: _model(worker).state is ModelState.FAILED)
    assert "it hung" in _model(worker).message
    await _restarted(worker, pid)
    assert await _call(worker, 1) == [2]
    pid = _model(worker).pid
    await _gives_up(worker, fragile.HANG)
    await _restarted(worker, pid)
    with pytest.raises(Quarantined):
        await _call(worker, fragile.HANG)


async def _gives_up(worker: Worker, *values: float) -> None:
    with pytest.raises((DeadlinePassed, TimeoutError)):
        async with asyncio.timeout(0.25):
            await _call(worker, *values, timeout_s=0.2)


async def test_a_poison_whose_caller_leaves(start: Callable[..., Awaitable[Worker]]) -> None:
    """A request that ends the process after its caller has left is refused as well after two deaths; others go on."""
    worker = await start(isolated("Fragile", instances=4))
    stop = asyncio.Event()

    async def load(number: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(ModelNotReady):
                assert await _call(worker, number, 0.02) == [number + 1, pytest.approx(1.02)]
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(load(number))
        for _ in range(2):
            pid = _model(worker).pid
            while _model(worker).ready and _model(worker).pid == pid:  # it may have been left before it began
                await _gives_up(worker, fragile.LATE)
                await asyncio.sleep(0.5)
            await _restarted(worker, pid)
        pid = _model(worker).pid
        with pytest.raises(Quarantined):
            await _call(worker, fragile.LATE)
        assert _model(worker).pid == pid
        stop.set()


async def _endless(worker: Worker, count: int) -> None:
    request = InferenceRequest(model="m", inputs={"count": np.array(count)})
    async for _ in worker.handler.stream(_model(worker), request):
        await asyncio.sleep(0.01)


async def test_suspects_and_endless_streams(
    start: Callable[..., Awaitable[Worker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspect neither waits for a stream without an end, nor keeps others out for ever when it is one."""
    monkeypatch.setattr("graphmesh.worker.isolation.gate.PATIENCE_S", 0.2)
    monkeypatch.setattr("graphmesh.worker.isolation.model._ALONE_S", 0.3)
    worker = await start(isolated("Counts", instances=3))
    for count in (2, 1 << 30):
        await _model(worker).suspects.strike({"count": np.array(count)}, object(), alone=False)
    suspect = asyncio.create_task(_endless(worker, 1 << 30))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        await _endless(worker, 3)
        assert not suspect.done()
        refused = await asyncio.gather(*(_endless(worker, 2) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(error, Overloaded) and error.retry_after_s > 0 for error in refused)
        await _endless(worker, 3)
    suspect.cancel()
    await asyncio.gather(suspect, return_exceptions=True)


async def test_a_death_before_it_is_available(
    start: Callable[..., Awaitable[Worker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies after it has loaded, while the model warms up, is a failed load."""

    async def fatal(execution: Execution, *_: object) -> None:
        process = execution._loaded
        assert isinstance(process, ModelProcess)
        os.kill(process.pid, signal.SIGKILL)
        await _until(lambda: not psutil.pid_exists(process.pid))
        await asyncio.sleep(0.1)

    monkeypatch.setattr("graphmesh.worker.hosting.model.warm_up", fatal)
    worker = await start(isolated("Fragile"))
    await _until(lambda: _model(worker).state is ModelState.FAILED)
    assert "SIGKILL" in _model(worker).message


@pytest.mark.usefixtures("watchful")
async def test_a_death_without_news(start: Callable[..., Awaitable[Worker]]) -> None:
    """A process of an available model that is gone is noticed, whatever became of the news; calls go on in the next."""
    worker = await start(isolated("Fragile"))
    process = _model(worker)._process
    assert process is not None
    process._died = lambda _: None
    os.kill(process.pid, signal.SIGKILL)
    while process.alive:
        time.sleep(0.001)  # noqa: ASYNC251 - the watch must not see it before the call does
    assert await _call(worker, 1) == [2]
    assert _model(worker).pid != process.pid


async def test_binary_metadata(start: Callable[..., Awaitable[Worker]]) -> None:
    """A client's binary metadata reaches an isolated model as the text that travels, and harms nobody."""
    worker = await start(isolated("Pid"))
    call = pb.ModelInferRequest(model_name="m")
    call.inputs.add(name="x", datatype="FP32", shape=[1])
    call.raw_input_contents.append(bytes(4))
    pid = _model(worker).pid
    metadata = (("x-one-bin", b"\xff\x00"), ("x-one", "1"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        running = stub.ModelInfer(call, metadata=metadata)
        await running
        assert "1" in dict(await running.initial_metadata())["x-seen"]
    assert _model(worker).pid == pid
    assert metadata_of(Mock(invocation_metadata=lambda: metadata)) == {"x-one-bin": "/wA=", "x-one": "1"}


@pytest.mark.usefixtures("watchful")
async def test_a_stopped_process_is_a_hang(start: Callable[..., Awaitable[Worker]]) -> None:
    """A process that does nothing at all any more is found in the same way, and cancelling never blocks the worker."""
    worker = await start(isolated("Pid", hang_s=0.3, instances=2))
    pid = _model(worker).pid
    os.kill(pid, signal.SIGSTOP)
    calls = [asyncio.create_task(_call(worker, number)) for number in range(4)]
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await _restarted(worker, pid)


async def test_a_stream_that_dies(start: Callable[..., Awaitable[Worker]]) -> None:
    """A stream whose process dies ends with INTERNAL; sent again it runs alone, and is refused from then on."""
    worker = await start(isolated("Counts"))
    request = InferenceRequest(model="m", inputs={"count": np.array(-3)})
    for expected, dies in ((ModelProcessDied, True), (Quarantined, True), (Quarantined, False)):
        pid = _model(worker).pid
        with pytest.raises(expected):
            async for _ in worker.handler.stream(_model(worker), request):
                pass
        if dies:  # which the caller hears before the worker does
            await _restarted(worker, pid)
    assert _model(worker).ready
    assert _model(worker).pid == pid


async def test_unload_while_it_is_restarted(start: Callable[..., Awaitable[Worker]]) -> None:
    """Unloading ends the restarts; what waited for one is told that the model is gone."""
    worker = await start(isolated("Fragile"))
    call = asyncio.create_task(_call(worker, 1, 0.5))
    await asyncio.sleep(0.2)
    os.kill(_model(worker).pid, signal.SIGKILL)
    await _until(lambda: _model(worker).state is ModelState.FAILED)
    await worker.repository.unload("m")
    with pytest.raises(GraphmeshError):
        await call
    await asyncio.sleep(0.5)
    assert _model(worker).state is ModelState.UNLOADED
    await worker.repository.load("m")
    assert await _call(worker, 1) == [2]


async def test_the_record_shows_memory_and_death(start: Callable[..., Awaitable[Worker]]) -> None:
    """The registry shows what each process takes, and why a model is not ready."""
    worker = await start(isolated("Fragile"))
    read = worker._registry.read
    hosted = (await read()).workers["w"].models[0]
    assert hosted.memory_bytes > 10 << 20
    pid = _model(worker).pid
    os.kill(pid, signal.SIGKILL)
    async with worker._registry.mirror() as mirror:
        await mirror.wait_for(lambda s: s.workers["w"].models[0].state is ModelState.FAILED, 5)
        await mirror.wait_for(lambda s: s.workers["w"].models[0].state is ModelState.AVAILABLE, 15)


async def test_an_async_model_overlaps(start: Callable[..., Awaitable[Worker]], tmp_path: Path) -> None:
    """Calls of an async model in its own process run side by side, without `instances` being set."""
    worker = await start(isolated("Patient", parameters={"note": str(tmp_path / "note")}))
    requests = [InferenceRequest(model="m", inputs={"seconds": np.array(0.3)}) for _ in range(8)]
    began = time.monotonic()
    await asyncio.gather(*map(worker.handler.infer, requests))
    assert time.monotonic() - began < 1.5
    assert _model(worker).config.instances == 1  # also what a hang of the one that replaces it is measured by
