"""A model version that would break a live graph: held for the graph, shown to people, in use for everyone else."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.cli.http import get, post
from tests.e2e.running import MODELS, Processes, RunningMesh, start_mesh, stop_mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(150)]

MESH = f"""
workers:
  - name: old
    models:
      - {{name: first, source: "{MODELS}:Add"}}
      - {{name: last, source: "{MODELS}:Add", parameters: {{amount: 10}}}}
graphs: [chain.yaml]
"""
NEWER = f"""
workers:
  - name: new
    models:
      - {{name: last, version: "2", source: "{MODELS}:AddWhole", parameters: {{amount: 20}}}}
"""
CHAIN = """
name: chain
inputs: [{name: x}]
nodes:
  - {name: one, model: first, inputs: {x: x}}
  - {name: two, model: last, inputs: {x: one.y}}
outputs: {y: two.y}
"""
SOLO = CHAIN.replace("chain", "solo").replace("model: last", "model: changing")
AROUND = """
name: around
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: inner, graph: solo, inputs: {x: x}}
outputs: {y: inner.y}
"""
CHANGING = """
workers:
  - name: new
    models:
      - {{name: changing, source: "{source}"}}
"""
SOURCE = """
from typing import Annotated, TypedDict
import numpy as np
class Answer(TypedDict):
    y: Annotated[np.ndarray, "{datatype} (N,)"]
class Changing:
    async def predict(self, x: Annotated[np.ndarray, "{datatype} (N,)"]) -> Answer:
        return {{"y": (x + 1).astype(x.dtype)}}
"""
SHOWN_WITHIN_S = 5.0
"""A second or two, and as much again for a busy machine."""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RunningMesh]:
    """One worker with both models, and a graph over them."""
    (tmp_path / "chain.yaml").write_text(CHAIN)
    running = start_mesh(tmp_path, MESH)
    yield running
    stop_mesh(running)


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    """A model's file that the test writes to."""
    path = tmp_path / "changing.py"
    path.write_text(SOURCE.format(datatype="FP32"))
    return path


@pytest.fixture
def newer(mesh: RunningMesh, processes: Processes, tmp_path: Path) -> Callable[[str], None]:
    """Start a worker of another file in the same mesh."""

    def start(text: str) -> None:
        (tmp_path / "newer.yaml").write_text(text)
        etcd = next(line for line in (mesh.run_dir / "up.log").read_text().splitlines() if "etcd listens on" in line)
        processes.worker("new-1", etcd.split()[-1], "--mesh-file", str(tmp_path / "newer.yaml"), "--group", "new")

    return start


def infer(mesh: RunningMesh, name: str, *values: float) -> Any:  # noqa: ANN401 - a JSON document
    """Return what a model or graph answers."""
    return json.loads(post(f"http://{mesh.address}/v1/models/{name}:predict", json.dumps({"x": values}).encode()).body)


def shown(mesh: RunningMesh, path: str) -> Any:  # noqa: ANN401 - a JSON document
    """Return what the gateway shows."""
    return json.loads(get(f"http://{mesh.address}/v1/{path}").body)


def eventually(check: Callable[[], Any], *, within_s: float) -> Any:  # noqa: ANN401 - whatever it returns
    """Return the first true answer of ``check``."""
    began = time.monotonic()
    while not (found := check()):
        assert time.monotonic() - began < within_s, f"must be so within {within_s} s"
        time.sleep(0.05)
    return found


def test_a_breaking_version_is_held(mesh: RunningMesh, newer: Callable[[str], None], tmp_path: Path) -> None:
    """The old version serves the graph, the new one direct calls; status, models and doctor name the edge."""
    newer(NEWER)
    eventually(lambda: any(one["worker_id"] == "new-1" for one in shown(mesh, "workers")["workers"]), within_s=30)
    arrived = time.monotonic()
    held = eventually(lambda: shown(mesh, "status")["held_versions"], within_s=SHOWN_WITHIN_S)
    assert time.monotonic() - arrived < SHOWN_WITHIN_S
    (one,) = held
    assert (one["model"], one["version"], one["graph"], one["used_version"]) == ("last", "2", "chain", "1")
    assert one["reason"].startswith("edge one.y -> two.x: FP32 (N,) does not fit INT64")
    for _ in range(20):
        assert infer(mesh, "chain", 1)["outputs"] == {"y": [12.0]}
    seen = eventually(lambda: infer(mesh, "last/versions/2", 1).get("outputs"), within_s=10)
    assert seen == {"y": [21]}

    assert "edge one.y -> two.x" in mesh.graphmesh("status").stdout
    assert "version 2 is held for graph chain: edge one.y -> two.x" in mesh.graphmesh("models").stdout
    assert "last@2" in mesh.graphmesh("models", "chain").stdout
    notes = json.loads(mesh.graphmesh("doctor", "-o", "json", check=False).stdout)["findings"]
    (note,) = [finding for finding in notes if finding["check"] == "model last@2"]
    assert note["verdict"] == "note"
    log = (mesh.run_dir / "up.log").read_text()
    assert log.count("model version held out of service for a graph graph=chain model=last version=2") == 1

    # Another graph that the newest version would break is no reason to refuse it: an older one fits.
    (tmp_path / "more.yaml").write_text(CHAIN.replace("name: chain", "name: more"))
    mesh.graphmesh("graph", "apply", str(tmp_path / "more.yaml"))
    assert infer(mesh, "more", 1)["outputs"] == {"y": [12.0]}

    # Applied for the new contract: the new version is used, and the old one is what is held.
    whole = CHAIN.replace("model: first", "model: last")
    (tmp_path / "chain.yaml").write_text(whole)
    mesh.graphmesh("graph", "apply", str(tmp_path / "chain.yaml"))
    assert infer(mesh, "chain", 1)["outputs"] == {"y": [41]}
    held = [one for one in shown(mesh, "status")["held_versions"] if one["graph"] == "chain"]
    assert [(one["model"], one["version"], one["used_version"]) for one in held] == [("last", "1", "2")]
    mesh.graphmesh("graph", "rollback", "chain")
    assert infer(mesh, "chain", 1)["outputs"] == {"y": [12.0]}


def test_no_version_fits(mesh: RunningMesh, newer: Callable[[str], None], changing: Path, tmp_path: Path) -> None:
    """When the only version is loaded again with another contract, calls of the graph are refused with the edge."""
    newer(CHANGING.format(source=f"{changing}:Changing"))
    eventually(lambda: infer(mesh, "changing", 1).get("outputs") == {"y": [2.0]}, within_s=30)
    for name, text in (("solo", SOLO), ("around", AROUND)):
        (tmp_path / f"{name}.yaml").write_text(text)
        mesh.graphmesh("graph", "apply", str(tmp_path / f"{name}.yaml"))
        assert infer(mesh, name, 1)["outputs"] == {"y": [3.0]}
    changing.write_text(SOURCE.format(datatype="INT64"))
    mesh.graphmesh("model", "load", "changing")
    for name in ("solo", "around"):
        answer = eventually(partial(_refusal, mesh, name), within_s=SHOWN_WITHIN_S)
        assert answer["status"] == "FAILED_PRECONDITION"
        assert "edge one.y -> two.x: FP32 (N,) does not fit INT64" in answer["error"]
        assert "edge one.y -> two.x" in mesh.graphmesh("models", name).stdout
    assert infer(mesh, "changing", 1)["outputs"] == {"y": [2]}
    found = json.loads(mesh.graphmesh("doctor", "-o", "json", check=False).stdout)["findings"]
    assert [one["verdict"] for one in found if one["check"] == "graph solo"] == ["problem"]
    assert shown(mesh, "status")["unready_graphs"] == 2
    advice = mesh.graphmesh("graph", "advise", "solo", check=False)
    assert (advice.returncode, "edge one.y -> two.x" in advice.stderr) == (1, True)
    changing.write_text(SOURCE.format(datatype="FP32"))
    mesh.graphmesh("model", "load", "changing")
    for name in ("solo", "around"):
        eventually(partial(_answers, mesh, name), within_s=SHOWN_WITHIN_S)


def _refusal(mesh: RunningMesh, name: str) -> Any:  # noqa: ANN401 - a JSON document
    answer = infer(mesh, name, 1)
    return answer if answer.get("status") == "FAILED_PRECONDITION" else None


def _answers(mesh: RunningMesh, name: str) -> bool:
    return bool(infer(mesh, name, 1).get("outputs") == {"y": [3.0]})
