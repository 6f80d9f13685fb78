"""A model in a process of its own, as a loaded model: tensors, contexts, streams, and every way it can end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import psutil
import pytest

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import (
    Cancelled,
    GraphmeshError,
    InvalidRequest,
    LoadFailed,
    ModelNotReady,
    ModelProcessDied,
    Overloaded,
)
from graphmesh.worker import Context, Isolation, ModelConfig
from graphmesh.worker.isolation.lane import Lane, RaisedApart
from graphmesh.worker.isolation.process import ModelProcess, resolve_apart
from tests.worker import fragile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAGILE = Path(__file__).parent / "fragile.py"


def isolated(kind: str, /, **options: Any) -> ModelConfig:  # noqa: ANN401 - any field
    """Return the configuration of a class of fragile.py in a process of its own."""
    given = {
        "name": kind.lower(),
        "source": f"{FRAGILE}:{kind}",
        "version": "1",
        "backend": "python",
        "instances": 1,
        "isolation": Isolation.PROCESS,
        **options,
    }
    return ModelConfig(**given)


class Deaths(list[str]):
    """How processes died."""

    def wait(self) -> str:
        """Return how the next one did."""
        end = time.monotonic() + 5
        while not self:
            assert time.monotonic() < end, "nothing died"
            time.sleep(0.01)
        return self.pop(0)


@pytest.fixture
def deaths() -> Deaths:
    """What was told of processes that died."""
    return Deaths()


@pytest.fixture
def start(deaths: Deaths) -> Iterator[Callable[..., ModelProcess]]:
    """Start models; all are ended, and gone, when the test is over."""
    started: list[ModelProcess] = []

    def _start(kind: str, /, **options: Any) -> ModelProcess:  # noqa: ANN401 - any field
        process = ModelProcess(isolated(kind, **options), deaths.append)
        started.append(process)
        process.load()
        return process

    yield _start
    for process in started:
        process.unload()
        assert not process.alive


def _vector(*values: float) -> dict[str, Any]:
    return {"x": np.array(values, dtype=np.float32)}


def _large(number: float) -> dict[str, Any]:
    """Return 4 MiB of a number, after the pause that `Fragile` is to make: none."""
    array = np.full(1 << 20, number, np.float32)
    array[1] = 0
    return {"x": array}


def _run(process: ModelProcess, *values: float, context: Context | None = None) -> list[float]:
    outputs = process.run(_vector(*values), [context or Context()])
    found: list[float] = outputs["output"].tolist()
    return found


def test_a_call(start: Callable[..., ModelProcess]) -> None:
    """A call runs in another process, whose memory is known; the process ends when the model is unloaded."""
    process = start("Fragile")
    assert _run(process, 1, 0) == [2, 1]
    assert process.signature.inputs[0].name == "x"
    assert process.platform.startswith("python 3")
    assert process.pid != os.getpid()
    assert process.memory_bytes > 10 << 20
    pid = process.pid
    process.unload()
    assert not psutil.pid_exists(pid)


def test_every_kind_of_tensor(start: Callable[..., ModelProcess]) -> None:
    """Text, bytes, scalars, empty and many-dimensional tensors arrive as they were sent, both ways."""
    process = start("Echo")
    for matrix in (np.arange(6).reshape(2, 3), np.zeros((0, 5), np.int64), np.arange(90_000).reshape(300, 300).T):
        inputs = {
            "text": np.array("żółw".encode(), dtype=object),
            "data": np.array(b"\x00\xff" * 50_000, dtype=object),
            "matrix": matrix,
            "half": np.array(0.5, np.float16),
        }
        outputs = process.run(inputs, [Context()])
        assert outputs["text"].item() == "żółw".encode()
        assert outputs["data"].item() == inputs["data"].item()
        np.testing.assert_array_equal(outputs["matrix"], matrix)
        assert outputs["matrix"].dtype == np.int64
        assert (outputs["half"].shape, outputs["half"].item()) == ((), 0.5)


def test_large_answers_are_never_written_over(start: Callable[..., ModelProcess]) -> None:
    """Answers that are kept stay as they were, however many calls follow; those let go of give their memory back."""
    process = start("Fragile")
    kept = [process.run(_large(number), [Context()])["output"] for number in range(1, 9)]
    for number, array in enumerate(kept, start=1):
        assert array[0] == number + 1
        assert (array[2:] == number + 1).all()
    del kept, array
    before = psutil.Process().num_fds()
    for number in range(1, 20):
        process.run(_large(number), [Context()])
    assert psutil.Process().num_fds() <= before
    process.sample()
    assert process.memory_bytes < 200 << 20


def test_a_model_that_keeps_its_inputs(start: Callable[..., ModelProcess]) -> None:
    """What a model keeps of its inputs is not written over by the next call."""
    process = start("Keeper")
    process.run(_large(1), [Context()])
    for number in range(2, 6):
        outputs = process.run(_large(number), [Context()])
        assert (outputs["output"][2:] == number - 1).all()


def test_instances_run_side_by_side(start: Callable[..., ModelProcess]) -> None:
    """Calls from several threads run at once in the one process."""
    process = start("Fragile", instances=4)
    threads = [threading.Thread(target=_run, args=(process, 1, 0.4)) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 1.2


def test_the_context(start: Callable[..., ModelProcess]) -> None:
    """The model reads id, headers and parameters of the call and sets response headers."""
    process = start("Pid")
    context = Context(request_id="r1", headers={"x-one": "1"}, parameters={"p": 2}, deadline=Deadline.after(5))
    assert process.run(_vector(1), [context])["output"].item() == process.pid
    assert context.response_headers == {"x-seen": "r1 1 {'p': 2}"}


def test_headers_are_not_trusted(start: Callable[..., ModelProcess], caplog: pytest.LogCaptureFixture) -> None:
    """What a process says its model set passes the same check as `set_header`; nothing else changes it."""
    process, context = start("Rude"), Context(model="rude")
    with caplog.at_level(logging.WARNING):
        _run(process, 1, context=context)
    assert context.response_headers == {"x-fine": "1"}
    assert caplog.text.count("response header dropped model=rude") == 2
    with pytest.raises(TypeError):
        context.response_headers["content-length"] = "0"  # type: ignore[index]


def test_a_call_that_cannot_travel(start: Callable[..., ModelProcess], deaths: Deaths) -> None:
    """A call that cannot be written, or not be read in the process, fails by itself: the next one runs."""
    process = start("Pid")
    for inputs in (_vector(1), _large(1)):
        with pytest.raises(InvalidRequest, match="plain"):
            process.run(inputs, [Context(parameters={"p": object()})])  # type: ignore[dict-item]
        with pytest.raises(GraphmeshError, match="cannot be read"):
            process.run(inputs, [Context(headers={"x-bin": b"\xff"})])  # type: ignore[dict-item]
        assert process.run(inputs, [Context()])["output"].item() == process.pid
    assert len(process._lanes) == 1
    assert not deaths


@pytest.mark.parametrize("kind", ["Watchful", "Patient"])
def test_cancellation_before_the_call(start: Callable[..., ModelProcess], tmp_path: Path, kind: str) -> None:
    """A call whose caller has left already is not begun."""
    process = start(kind, parameters={"note": str(tmp_path / "note")})
    context = Context()
    context.cancel()
    with pytest.raises(Cancelled):
        process.run({"seconds": np.array(20.0)}, [context])


@pytest.mark.parametrize("kind", ["Watchful", "Patient"])
def test_cancellation(start: Callable[..., ModelProcess], tmp_path: Path, kind: str) -> None:
    """A caller that leaves is seen by the model: a sync one is told, an async one is cancelled."""
    note = tmp_path / "note"
    process = start(kind, parameters={"note": str(note)})
    context = Context()
    threading.Timer(0.2, context.cancel).start()
    began = time.monotonic()
    try:
        process.run({"seconds": np.array(20.0)}, [context])
    except Cancelled:
        assert kind == "Patient"
    while not (note.exists() and note.read_text()):
        assert time.monotonic() - began < 5
        time.sleep(0.01)
    assert note.read_text() == "cancelled"


@pytest.mark.parametrize("kind", ["Counts", "CountsAsync"])
def test_streams(start: Callable[..., ModelProcess], kind: str) -> None:
    """A stream's answers come one by one, in order; the next call runs on the same lane."""
    process = start(kind)
    for count in (0, 1, 5):
        answers = list(process.run({"count": np.array(count)}, [Context()]))
        assert [int(answer["output"]) for answer in answers] == list(range(count))


def test_cancelling_a_long_stream(start: Callable[..., ModelProcess], deaths: Deaths) -> None:
    """A stream is cancelled as well after very many answers, and the process goes on."""
    process, context = start("CountsAsync"), Context()
    answers = process.run({"count": np.array(5000)}, [context])
    for _ in range(1500):
        next(answers)
    context.cancel()
    with pytest.raises(Cancelled):
        list(answers)
    assert len(list(process.run({"count": np.array(3)}, [Context()]))) == 3
    assert not deaths


def test_a_stream_that_is_closed(start: Callable[..., ModelProcess], tmp_path: Path) -> None:
    """Closing a stream stops the model's generator at its yield."""
    process = start("Counts", parameters={"note": str(tmp_path / "note")})
    answers = process.run({"count": np.array(1000)}, [Context()])
    assert [int(next(answers)["output"]) for _ in range(2)] == [0, 1]
    answers.close()
    assert (tmp_path / "note").read_text() == "stopped"
    assert len(list(process.run({"count": np.array(3)}, [Context()]))) == 3


def test_what_a_model_raises(start: Callable[..., ModelProcess]) -> None:
    """Errors of ours arrive as they were raised, others with their traceback; sys.exit() ends nothing."""
    process = start("Fragile")
    with pytest.raises(Overloaded, match="not now") as refused:
        _run(process, fragile.REFUSE)
    assert refused.value.retry_after_s == 1.5
    with pytest.raises(RaisedApart, match=r"(?s)Traceback.*in _raise.*ValueError"):
        _run(process, fragile.RAISE)
    with pytest.raises(RaisedApart, match="SystemExit"):
        _run(process, fragile.EXIT)
    assert _run(process, 1) == [2]


@pytest.mark.parametrize(
    ("act", "how"), [("ABORT", "signal 6, SIGABRT"), ("SEGFAULT", "signal 11, SIGSEGV"), ("LEAK", "signal 9, SIGKILL")]
)
def test_a_crash(start: Callable[..., ModelProcess], deaths: Deaths, act: str, how: str) -> None:
    """A process that dies fails the call in it, says how, and takes no other."""
    process = start("Fragile")
    with pytest.raises(ModelProcessDied, match=how):
        _run(process, getattr(fragile, act))
    assert deaths.wait() == f"the model's process died ({how})"
    with pytest.raises(ModelNotReady, match="started again"):
        _run(process, 1)
    process.sample()
    assert process.memory_bytes == 0


def test_a_crash_within_a_stream(start: Callable[..., ModelProcess]) -> None:
    """A stream whose process dies ends with the error after the answers that came."""
    process = start("Counts")
    answers = process.run({"count": np.array(-3)}, [Context()])
    assert int(next(answers)["output"]) == 0
    with pytest.raises(ModelProcessDied):
        next(answers)


def test_idle_death(start: Callable[..., ModelProcess], deaths: Deaths) -> None:
    """A process that dies while it has nothing to do is noticed."""
    process = start("Fragile")
    os.kill(process.pid, signal.SIGKILL)
    assert "SIGKILL" in deaths.wait()


def test_a_hang(start: Callable[..., ModelProcess], deaths: Deaths) -> None:
    """A run that nobody waits for is a hang after a while; one whose caller waits never is."""
    process = start("Fragile")
    waiting, leaving = Context(), Context(deadline=Deadline.after(0.1))
    ended: list[Exception] = []

    def run(context: Context) -> None:
        try:
            _run(process, fragile.HANG, context=context)
        except ModelProcessDied as error:
            ended.append(error)

    threads = [threading.Thread(target=run, args=(context,)) for context in (waiting, leaving)]
    threads[0].start()
    time.sleep(0.2)
    assert not process.hung(100, 30)
    assert not process.hung(200, 30)
    waiting.cancel()
    assert not process.hung(300, 30)
    assert process.hung(331, 30)
    threads[1].start()
    process.kill("it hung")
    for thread in threads:
        thread.join(5)
    assert deaths.wait() == "the model's process died (it hung)"
    assert "it hung" in str(ended[0])


def test_only_what_runs_can_hang(deaths: Deaths) -> None:
    """A lane whose run has ended, or that runs another call since, is no hang."""
    process, lane, left = ModelProcess(isolated("Fragile"), deaths.append), Lane(Mock()), Context()
    left.cancel()
    lane.contexts = [left]
    process._running[1] = lane
    assert not process.hung(0, 30)
    del process._running[1]
    assert not process.hung(100, 30)
    process._running[2] = lane
    assert not process.hung(101, 30)
    del process._running[2]
    process._running[3] = lane  # between two looks
    assert not process.hung(140, 30)
    assert process.hung(171, 30)


def test_loads_that_fail(deaths: Deaths) -> None:
    """A process that dies while it loads, or a class that cannot be loaded, is a failed load with the reason."""
    for kind, reason in (
        ("AbortsAtLoad", r"fragile\.py:AbortsAtLoad: its process ended while it loaded: signal 6"),
        ("Nobody", "'Nobody' must be a class"),
    ):
        process = ModelProcess(isolated(kind), deaths.append)
        with pytest.raises(LoadFailed, match=reason):
            process.load()
        process.unload()
    with pytest.raises(LoadFailed, match="plain values"):
        ModelProcess(isolated("Fragile", parameters={"x": object()}), deaths.append).load()
    assert not deaths


def test_resolve_apart() -> None:
    """A source is read in a process of its own: its import may be what crashes."""
    (found,) = resolve_apart(isolated("FragileBatch", version="", backend="", instances=0))
    assert (found.backend, found.version, found.instances) == ("python", "1", 1)
    assert found.isolation is Isolation.PROCESS


async def test_the_worker_is_gone(tmp_path: Path) -> None:
    """A process ends when its worker is killed, even while it loads and reads nothing."""
    code = (
        "from graphmesh.worker import ModelConfig, Isolation\n"
        "from graphmesh.worker.isolation.process import ModelProcess\n"
        f"config = ModelConfig(name='m', source={str(FRAGILE) + ':SlowToLoad'!r}, version='1', backend='python',\n"
        f"    instances=1, isolation=Isolation.PROCESS, parameters={{'note': {str(tmp_path / 'pid')!r}}})\n"
        "ModelProcess(config, print).load()\n"
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    note = tmp_path / "pid"
    async with asyncio.timeout(20):
        while not (note.exists() and note.read_text()):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)
        worker.kill()
        await worker.wait()
        while psutil.pid_exists(int(note.read_text())):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)


def test_nonsense_from_the_process(
    start: Callable[..., ModelProcess], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that does not keep to the protocol is ended; nothing that it says is trusted."""
    monkeypatch.setattr("graphmesh.worker.isolation.process._LAST_WORDS_S", 0.3)
    process = start("Fragile")
    _run(process, 1)
    (lane,) = process._lanes
    lane._connection._pending = b"\x05\x00\x00\x00\xff\xff\xff\xff\xff"
    with caplog.at_level(logging.ERROR), pytest.raises(ModelProcessDied, match="protocol"):
        _run(process, 1)
    assert "does not keep to the protocol" in caplog.text
