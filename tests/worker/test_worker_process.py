"""A worker as a process: signals, a real etcd, and starts that fail in one line."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import pytest_asyncio

from graphmesh.registry import LocalEtcd, ModelState, Registry, WorkerState, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from pathlib import Path

    from graphmesh.registry import Mirror, WorkerRecord

    Http = Callable[..., Coroutine[Any, Any, Any]]
    Start = Callable[..., Awaitable[asyncio.subprocess.Process]]

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio(loop_scope="module")]

SLOW_TO_LOAD = """
import time
class Slow:
    def load(self):
        time.sleep(30)
    def predict(self, x: float) -> float:
        return x
class Quick:
    async def predict(self, x: float) -> float:
        return x
class Sleeps:
    def predict(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds
"""

RUN = """
import asyncio, logging, sys
from graphmesh.core.errors import StartFailed
from graphmesh.worker import Isolation, ModelConfig, WorkerConfig
from graphmesh.worker.process import run_worker
logging.basicConfig(level=logging.INFO)
etcd, worker_id, *sources = sys.argv[1:]
models = tuple(ModelConfig(name=source.split(":")[-1].split("/")[-1].lower(), source=source.removeprefix("apart="),
                           isolation=Isolation.PROCESS if source.startswith("apart=") else Isolation.NONE)
               for source in sources)
config = WorkerConfig(worker_id=worker_id, etcd=(etcd,), models=models, drain_s=0.3, grace_s=5, ttl_s=5)
try:
    sys.exit(asyncio.run(run_worker(config)))
except StartFailed as error:
    sys.exit(f"error: {error}")
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def etcd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalEtcd]:
    """A real etcd."""
    async with LocalEtcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def mirror(etcd: LocalEtcd) -> AsyncIterator[Mirror]:
    """What is registered there."""
    async with Registry(connect([etcd.endpoint])) as registry, registry.mirror() as following:
        yield following


@pytest_asyncio.fixture(loop_scope="module")
async def start(etcd: LocalEtcd) -> AsyncIterator[Start]:
    """Start worker processes; those still running at the end are killed."""
    started: list[asyncio.subprocess.Process] = []

    async def _start(worker_id: str, *sources: str, endpoint: str = "") -> asyncio.subprocess.Process:
        arguments = [sys.executable, "-c", RUN, endpoint or etcd.endpoint, worker_id, *sources]
        process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
        started.append(process)
        return process

    yield _start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A file of models."""
    path = tmp_path / "models.py"
    path.write_text(SLOW_TO_LOAD)
    return path


async def _registered(mirror: Mirror, worker_id: str) -> WorkerRecord:
    return (await mirror.wait_for(lambda s: worker_id in s.workers, 20)).workers[worker_id]


async def _ends(process: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(20):
        _, log = await process.communicate()
    assert process.returncode is not None
    return process.returncode, log.decode()


async def test_sigterm_drains(mirror: Mirror, start: Start, models: Path, http: Http) -> None:
    """SIGTERM: the record says DRAINING, calls in flight finish, the record goes, exit code 0; idle connections too."""
    process = await start("drains", f"{models}:Sleeps")
    record = await _registered(mirror, "drains")
    call = asyncio.create_task(http(record.http_port, "/v1/models/sleeps:predict", b'{"seconds": 1.0}'))
    _, idle = await asyncio.open_connection("127.0.0.1", record.http_port)
    await asyncio.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    await mirror.wait_for(lambda s: s.workers["drains"].state is WorkerState.DRAINING, 5)
    reply = await call
    assert (reply.status, reply.json["outputs"]) == (200, {"output": 1.0})
    code, log = await _ends(process)
    assert code == 0, log
    assert "Traceback" not in log
    await mirror.wait_for(lambda s: "drains" not in s.workers, 1)
    idle.close()


async def test_sigterm_while_loading(start: Start, models: Path) -> None:
    """SIGTERM while a model loads ends the process at once with exit code 0."""
    process = await start("loads", f"{models}:Slow")
    await asyncio.sleep(2)
    process.send_signal(signal.SIGTERM)
    code, log = await _ends(process)
    assert (code, "Traceback" in log) == (0, False), log


async def _model_process(worker: asyncio.subprocess.Process) -> psutil.Process:
    """Wait for the process of an isolated model that is not only there to read its source."""
    async with asyncio.timeout(20):
        while True:
            for child in psutil.Process(worker.pid).children():
                await asyncio.sleep(0.7)
                if child.is_running():
                    return child
            await asyncio.sleep(0.05)


async def test_sigterm_while_an_isolated_model_loads(start: Start, models: Path) -> None:
    """SIGTERM while a model loads in a process of its own: exit code 0, and that process is gone."""
    process = await start("apart", f"apart={models}:Slow")
    child = await _model_process(process)
    process.send_signal(signal.SIGTERM)
    code, log = await _ends(process)
    assert (code, "Traceback" in log) == (0, False), log
    assert not child.is_running()


async def test_second_signal(mirror: Mirror, start: Start, models: Path, http: Http) -> None:
    """A second signal cuts the calls in flight and ends the process, exit code 0, though a thread is busy."""
    process = await start("hurries", f"{models}:Sleeps")
    record = await _registered(mirror, "hurries")
    call = asyncio.create_task(http(record.http_port, "/v1/models/sleeps:predict", b'{"seconds": 30}'))
    await asyncio.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    process.send_signal(signal.SIGINT)
    started = asyncio.get_running_loop().time()
    code, log = await _ends(process)
    assert code == 0, log
    assert asyncio.get_running_loop().time() - started < 4
    assert (await call).json["error"] == "this worker is stopping"


async def test_corrupt_onnx_beside_a_good_model(
    mirror: Mirror,
    start: Start,
    models: Path,
    tmp_path: Path,
    http: Http,
) -> None:
    """A corrupt file leaves the worker up, its record says which file and why, and the other model serves."""
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    process = await start("partly", f"{models}:Quick", f"{tmp_path}/broken.onnx")
    record = await _registered(mirror, "partly")
    states = {model.state: model for model in record.models}
    assert states[ModelState.FAILED].message.startswith("broken.onnx: ")
    assert str(tmp_path) not in states[ModelState.FAILED].message
    assert (await http(record.http_port, "/v1/models/quick:predict", b'{"x": 2}')).json["outputs"] == {"output": 2.0}
    process.send_signal(signal.SIGTERM)
    assert (await _ends(process))[0] == 0


async def test_no_etcd(start: Start, models: Path) -> None:
    """Without etcd the process ends with one line that says where it looked."""
    process = await start("lost", f"{models}:Quick", endpoint="127.0.0.1:1")
    code, log = await _ends(process)
    assert code == 1
    assert log.splitlines()[-1].startswith("error: no etcd answers at 127.0.0.1:1; start one")
    assert "Traceback" not in log
