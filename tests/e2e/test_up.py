"""`graphmesh up` keeps a mesh running: restarts what dies, scales, and leaves nothing behind even when killed."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc

from tests.e2e.running import MODELS, RunningMesh, graphmesh, start_mesh, stop_mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

MESH = f"""
workers:
  - name: math
    models:
      - {{name: add, source: "{MODELS}:Add"}}
      - {{name: slow, source: "{MODELS}:Slow"}}
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RunningMesh]:
    """One worker."""
    running = start_mesh(tmp_path, MESH)
    yield running
    stop_mesh(running)


def workers(mesh: RunningMesh) -> dict[str, dict[str, Any]]:
    """Return the workers that the gateway knows, by id."""
    found = json.loads(mesh.graphmesh("workers", "-o", "json").stdout)["workers"]
    return {worker["worker_id"]: worker for worker in found}


def eventually(check: Callable[[], bool], *, within_s: float) -> None:
    """Wait until something is so."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < within_s, f"must be so within {within_s} s"
        time.sleep(0.1)


def answers(mesh: RunningMesh) -> bool:
    """Return whether `add` answers."""
    return mesh.graphmesh("infer", "add", "x=[1]", check=False).returncode == 0


def test_a_killed_worker_is_back_under_its_name_at_once(mesh: RunningMesh) -> None:
    """The restarted worker takes its dead predecessor's record over instead of waiting for the lease to end."""
    before = workers(mesh)["math-1"]
    os.kill(mesh.state()["children"]["math-1"]["pid"], signal.SIGKILL)
    eventually(lambda: workers(mesh).get("math-1", before)["http_port"] != before["http_port"], within_s=8)
    eventually(lambda: answers(mesh), within_s=5)


def test_scale_up_and_down(mesh: RunningMesh) -> None:
    """A model scaled to three runs on two more workers that host it alone; scaled to one, they drain and leave."""
    mesh.graphmesh("scale", "add", "3")
    eventually(lambda: set(workers(mesh)) == {"math-1", "add-x1", "add-x2"}, within_s=20)
    assert [model["name"] for model in workers(mesh)["add-x1"]["models"]] == ["add"]
    mesh.graphmesh("scale", "add", "1")
    eventually(lambda: set(workers(mesh)) == {"math-1"}, within_s=20)
    assert answers(mesh)


def test_a_second_up_in_the_same_folder_is_refused(mesh: RunningMesh) -> None:
    """Two meshes cannot share a run folder; the message says how to stop the first."""
    refused = graphmesh("up", str(mesh.run_dir.parent / "mesh.yaml"), "--run-dir", str(mesh.run_dir), check=False)
    assert refused.returncode == 4
    assert "graphmesh down" in refused.stderr


def test_a_second_mesh_on_the_same_port_is_refused(mesh: RunningMesh, tmp_path: Path) -> None:
    """It never takes the first mesh's gateway for its own, though their models are named alike; nothing is applied."""
    second = tmp_path / "second"
    second.mkdir()
    (second / "twice.yaml").write_text(
        "name: twice\ninputs: [x]\nnodes:\n  a: {model: add, inputs: {x: x}}\noutputs: {y: a.y}\n"
    )
    (second / "mesh.yaml").write_text(MESH + "graphs: [twice.yaml]\n")
    port = mesh.address.rpartition(":")[2]
    flags = ("--port", port, "--grpc-port", "0", "--metrics-port", "0")
    refused = graphmesh("up", "--detach", *flags, check=False, cwd=second)
    assert refused.returncode == 4
    assert f"another mesh answers at {mesh.address}" in refused.stderr
    assert "twice" not in mesh.graphmesh("graph", "list").stdout


def test_models_that_fail_are_named(tmp_path: Path) -> None:
    """The mesh serves whatever could not be loaded, and the line that says it is ready says what that is."""
    (tmp_path / "mesh.yaml").write_text(
        "workers: [{name: w, models: [{name: m, source: 'models.py:Gone'}]}]\ngraphs: [g.yaml]\n"
    )
    (tmp_path / "g.yaml").write_text(
        "name: g\ninputs: [x]\nnodes:\n  a: {model: m, inputs: {x: x}}\noutputs: {y: a.y}\n"
    )
    (tmp_path / "models.py").write_text("class Here: ...\n")
    started = graphmesh("up", "--detach", "--port", "0", "--grpc-port", "0", "--metrics-port", "0", cwd=tmp_path)
    shown = graphmesh("models", "m", cwd=tmp_path)  # of the mesh of this folder
    graphmesh("down", cwd=tmp_path)
    assert "models: none; failed: m (graphmesh models says why); graphs refused: g (see above)" in started.stdout
    assert "was refused: node a: model 'm' is not available: it failed on worker w-1: " in started.stdout
    assert "'Gone' must be a class with a predict method" in shown.stdout


def test_down_cleans_up_after_a_killed_up(tmp_path: Path) -> None:
    """With the supervisor killed the mesh serves on; `down` ends workers, gateway, Envoy and etcd all the same."""
    mesh = start_mesh(tmp_path, MESH)
    state = mesh.state()
    envoy = int(mesh.status()["envoy_pid"])
    etcd = int((mesh.run_dir / "etcd" / "etcd.pid").read_text())
    os.kill(state["supervisor"]["pid"], signal.SIGKILL)
    assert answers(mesh)
    graphmesh("down", "--run-dir", str(mesh.run_dir))
    left = [envoy, etcd, *(child["pid"] for child in state["children"].values())]
    assert [pid for pid in left if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"] == []


def test_up_after_a_killed_up(tmp_path: Path) -> None:
    """A new `up` first ends what the killed one left, and serves; `down` then leaves nothing."""
    mesh = start_mesh(tmp_path, MESH)
    old = [mark["pid"] for mark in mesh.state()["children"].values()]
    os.kill(mesh.state()["supervisor"]["pid"], signal.SIGKILL)
    again = start_mesh(tmp_path, MESH)
    assert answers(again)
    assert not [pid for pid in old if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    stop_mesh(again)


def test_up_says_what_is_not_ready_in_time(tmp_path: Path) -> None:
    """Past `--ready-timeout`, `up` names what is missing, in one line, and stops everything."""
    (tmp_path / "models.py").write_text(
        "import time\nclass Slow:\n    def load(self):\n        time.sleep(60)\n"
        "    def predict(self, x: float) -> float:\n        return x\n"
    )
    (tmp_path / "mesh.yaml").write_text("workers: [{name: w, models: [{name: m, source: 'models.py:Slow'}]}]")
    flags = ("--port", "0", "--grpc-port", "0", "--metrics-port", "0", "--ready-timeout", "3")
    late = graphmesh("up", *flags, check=False, cwd=tmp_path)
    assert late.returncode == 4
    assert "still missing: w-1" in late.stderr.splitlines()[-1]
    assert "Traceback" not in late.stdout + late.stderr


def test_a_stored_graph_whose_model_is_gone_does_not_stop_up(tmp_path: Path) -> None:
    """Etcd keeps graphs from day to day; one that mesh.yaml has no more, nor its model, delays nothing."""
    (tmp_path / "twice.yaml").write_text(
        "name: twice\ninputs: [x]\nnodes:\n  a: {model: add, inputs: {x: x}}\noutputs: {y: a.y}\n"
    )
    stop_mesh(start_mesh(tmp_path, MESH + "graphs: [twice.yaml]\n"))
    changed = MESH.replace("name: add", "name: plus")
    mesh = start_mesh(tmp_path, changed, "--ready-timeout", "20")
    assert mesh.graphmesh("infer", "plus", "x=[1]").returncode == 0
    stop_mesh(mesh)


def test_the_largest_message_is_set_in_one_place(tmp_path: Path) -> None:
    """`max_message_mib` reaches gateway and workers: 80 MiB pass where 100 are allowed."""
    mesh = start_mesh(tmp_path, "max_message_mib: 100\n" + MESH)
    size = (80 << 20) // 4
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with tritonclient.grpc.InferenceServerClient(mesh.address, channel_args=options) as client:
        x = tritonclient.grpc.InferInput("x", [size], "FP32").set_data_from_numpy(np.ones(size, np.float32))
        assert client.infer("add", [x], client_timeout=60).as_numpy("y").shape == (size,)
    stop_mesh(mesh)
