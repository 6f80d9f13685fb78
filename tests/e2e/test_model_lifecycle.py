"""Models loaded, unloaded and crashing in a running mesh, seen by its clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from graphmesh.cli.http import Answer, get, post
from tests.e2e.load import Load
from tests.e2e.running import MODELS, RunningMesh

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

FRAGILE = Path(__file__).parents[1] / "worker" / "fragile.py"
SOURCE = """
import asyncio, os
from typing import Annotated, TypedDict
import numpy as np
class Answer(TypedDict):
    y: Annotated[np.ndarray, "FP32 (N,)"]
    pid: Annotated[np.ndarray, "INT64 ()"]
class Changing:
    async def predict(self, x: Annotated[np.ndarray, "FP32 (N,)"]) -> Answer:
        await asyncio.sleep(0.02)
        return {{"y": x + {amount}, "pid": np.array({pid})}}
"""


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's file that tests write to."""
    path = tmp_path_factory.mktemp("models") / "changing.py"
    path.write_text(SOURCE.format(amount=1, pid=1))
    return path


@pytest.fixture(scope="module")
def mesh(start: Callable[..., RunningMesh], changing: Path) -> RunningMesh:
    """Two workers with a model that changes; beside it one in a process of its own."""
    return start(f"""
workers:
  - name: w
    replicas: 2
    models:
      - {{name: changing, source: "{changing}:Changing", warmup: [{{x: [1]}}]}}
      - {{name: steady, source: "{MODELS}:Slow"}}
  - name: apart
    models:
      - {{name: fragile, source: "{FRAGILE}:Fragile", isolation: process}}
      - {{name: beside, source: "{MODELS}:Slow"}}
""")


def write(path: Path, text: str) -> None:
    """Change a model's source."""
    path.write_text(text)


async def change(mesh: RunningMesh, what: str, name: str) -> Answer:
    """Load or unload a model through the gateway."""
    return await asyncio.to_thread(post, f"http://{mesh.address}/v2/repository/models/{name}/{what}", b"{}")


def infer(mesh: RunningMesh, model: str, *values: float) -> Any:  # noqa: ANN401 - a JSON document
    """Call a model and return its outputs, or the error."""
    answer = post(f"http://{mesh.address}/v1/models/{model}:predict", json.dumps({"x": values}).encode())
    document = json.loads(answer.body)
    return document["outputs"] if answer.status == 200 else document["error"]


def replicas(mesh: RunningMesh, name: str) -> list[dict[str, Any]]:
    """Return what the workers say of a model."""
    document = json.loads(get(f"http://{mesh.address}/v1/models/{name}").body)
    return [replica["model"] for replica in document.get("replicas", [])]


async def eventually(check: Callable[[], bool], *, within_s: float) -> None:
    """Wait until something is so."""
    began = time.monotonic()
    while not await asyncio.to_thread(check):
        assert time.monotonic() - began < within_s, f"must be so within {within_s} s"
        await asyncio.sleep(0.1)


async def test_reload_under_load(mesh: RunningMesh, changing: Path) -> None:
    """A model that is loaded again under load loses no call; a source that is broken leaves the old one serving."""
    async with Load(mesh.address, "changing", rate=100) as load:
        await asyncio.sleep(0.5)
        for number in (2, 3):
            write(changing, SOURCE.format(amount=number, pid=number))
            assert (await change(mesh, "load", "changing")).status == 200
            await asyncio.sleep(0.3)
        write(changing, "def broken(:\n")
        refused = await change(mesh, "load", "changing")
        assert refused.status == 400
        assert b"SyntaxError" in refused.body
        await asyncio.sleep(0.3)
    assert load.failed() == []
    assert [outcome.pid for outcome in load.outcomes if outcome.pid == 3] != []
    assert load.outcomes[-1].pid == 3
    for replica in replicas(mesh, "changing"):
        assert replica["state"] == "MODEL_STATE_AVAILABLE"
        assert replica["message"].startswith("reload failed: changing.py:Changing: SyntaxError")
    write(changing, SOURCE.format(amount=4, pid=4))
    done = await asyncio.to_thread(mesh.graphmesh, "model", "load", "changing")
    assert done.stdout.count("available") == 2
    assert infer(mesh, "changing", 1)["y"] == [5.0]


async def test_unload_and_load(mesh: RunningMesh) -> None:
    """An unloaded model is UNAVAILABLE with the way to get it back, others go on; loaded again, it answers."""
    async with Load(mesh.address, "steady", rate=50) as load:
        done = await asyncio.to_thread(mesh.graphmesh, "model", "unload", "changing")
        assert "unloaded" in done.stdout
        assert {replica["state"] for replica in replicas(mesh, "changing")} == {"MODEL_STATE_UNLOADED"}
        error = infer(mesh, "changing", 1)
        assert "graphmesh model load changing" in error
        await change(mesh, "load", "changing")
        assert "y" in infer(mesh, "changing", 1)
    assert load.failed() == []
    unknown = await change(mesh, "load", "chnging")
    assert (unknown.status, b"changing" in unknown.body) == (404, True)


async def test_a_crash_beside_others(mesh: RunningMesh) -> None:
    """A model whose process dies comes back and is shown meanwhile; the model beside it fails no call."""
    worker = psutil.Process(mesh.state()["children"]["apart-1"]["pid"])
    assert infer(mesh, "fragile", 1) == {"output": [2.0]}
    assert int(replicas(mesh, "fragile")[0]["memory_bytes"]) > 10 << 20
    async with Load(mesh.address, "beside", rate=100) as load:
        for _ in range(2):
            (child,) = worker.children()
            os.kill(child.pid, signal.SIGSEGV)
            await eventually(
                lambda: replicas(mesh, "fragile")[0].get("message") == "the model's process died (signal 11, SIGSEGV)",
                within_s=5,
            )
            await eventually(lambda: infer(mesh, "fragile", 1) == {"output": [2.0]}, within_s=10)
        error = await asyncio.to_thread(infer, mesh, "fragile", -2)
        assert "died twice of this very request" in error
    assert load.failed() == []
    await eventually(lambda: infer(mesh, "fragile", 1) == {"output": [2.0]}, within_s=10)
    assert "MiB" in mesh.graphmesh("models", "fragile").stdout
