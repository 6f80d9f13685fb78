"""A real MLServer as the server of external models: typed by its metadata, called by gRPC and by REST."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from graphmesh.cli.http import get
from graphmesh.cli.ports import free_port
from graphmesh.core.errors import GraphmeshError, LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.local import LocalMesh
from tests.contract.environments import MLSERVER

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MODELS = Path(__file__).with_name("mlserver_models.py")
STARTED_WITHIN_S = 60
SETTINGS: dict[str, dict[str, object]] = {
    "add": {
        "implementation": "mlserver_models.AddOne",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        "parameters": {"version": "v7"},
    },
    "upper": {
        "implementation": "mlserver_models.Upper",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "upper", "datatype": "BYTES", "shape": [-1, 1]}],
    },
    "bare": {"implementation": "mlserver_models.AddOne"},
}
CHAIN = """
name: chain
inputs: [x]
nodes:
  - {name: one, model: add, inputs: {x: x}}
  - {name: two, model: add, inputs: {x: one.y}}
outputs: {y: two.y}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running MLServer: its addresses by scheme."""
    MLSERVER.check()
    folder = tmp_path_factory.mktemp("mlserver")
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    for name, settings in SETTINGS.items():
        (folder / name).mkdir()
        (folder / name / "model-settings.json").write_text(json.dumps({"name": name, **settings}))
    shutil.copy(MODELS, folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [MLSERVER.python.with_name("mlserver"), "start", "."],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
        try:
            _await_ready(process, f"http://127.0.0.1:{ports['http_port']}/v2/health/ready", folder / "log")
            yield {scheme: f"{scheme}://127.0.0.1:{ports[f'{scheme}_port']}" for scheme in ("grpc", "http")}
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        if get(url).status == 200:
            return
        time.sleep(0.1)
    pytest.fail(log.read_text())


@pytest.fixture(params=["grpc", "http"])
def base(request: pytest.FixtureRequest, server: dict[str, str]) -> str:
    """The server's address, by gRPC and by REST."""
    return server[request.param]


async def test_call(base: str) -> None:
    """A model is typed by MLServer's metadata and called with its parameters, also by its version there."""
    async with LocalMesh({"add": [f"{base}/add"], "seven": f"{base}/add/v7"}) as mesh:
        signature = await mesh.signature("add")
        assert [str(spec) for spec in (*signature.inputs, *signature.outputs)] == ["x: FP32 (?, 2)", "y: FP32 (?, 2)"]
        for name in ("add", "seven"):
            outputs = await mesh.predict(name, x=np.ones((3, 2), np.float32), parameters={"k": 1, "flag": True})
            assert np.array_equal(outputs["y"], np.full((3, 2), 2, np.float32))


async def test_node_of_a_graph(base: str, tmp_path: Path) -> None:
    """Models of a real MLServer are nodes of a graph, which is typed by them."""
    (tmp_path / "chain.yaml").write_text(CHAIN)
    async with LocalMesh({"add": f"{base}/add"}, [tmp_path / "chain.yaml"]) as mesh:
        assert (await mesh.signature("chain")).outputs[0].datatype == "FP32"
        assert (await mesh.predict("chain", x=np.zeros((1, 2), np.float32)))["y"].tolist() == [[2, 2]]


async def test_text(base: str) -> None:
    """Texts go there and come back, in any script."""
    config = ModelConfig(name="upper", source=f"{base}/upper", parameters={"text": ["text", "upper"]})
    async with LocalMesh({"upper": config}) as mesh:
        assert (await mesh.predict("upper", text=["a", "ü", "я"]))["upper"] == [["A"], ["Ü"], ["Я"]]


async def test_failure_of_its_model(base: str) -> None:
    """What a model there raises is an error that names the server."""
    async with LocalMesh({"add": f"{base}/add"}) as mesh:
        with pytest.raises(GraphmeshError, match=r"127\.0\.0\.1:\d+: .*") as caught:
            await mesh.predict("add", x=-np.ones((1, 2), np.float32))
    assert caught.value.code.http_status == 500


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("bare", "its metadata names no inputs; declare its inputs and outputs in its settings there"),
        ("nope", "has no model 'nope' that is ready"),
        ("add/v8", "has no model 'add' version v8 that is ready"),
    ],
)
async def test_what_cannot_be_loaded(base: str, path: str, said: str) -> None:
    """A model that is not there, or says nothing of its tensors, is refused with the next step."""
    with pytest.raises(LoadFailed) as caught:
        async with LocalMesh({"far": f"{base}/{path}"}):
            pass
    assert said in caught.value.message
    assert "graphmesh model load far" in caught.value.message
