"""The wheel, installed in a clean environment, serves from an empty folder: what a user gets from `pip install`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphmesh.cli.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[2]
OCR_MODELS = "rapidocr-onnxruntime==1.4.4"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it with the demo's extra; return the environment's `bin`."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=120)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wheel = next(folder.glob("graphmesh-*.whl"))
    subprocess.run([*pip, f"{wheel}[demo]"], check=True, timeout=300)
    subprocess.run([*pip, "--no-deps", "--ignore-requires-python", OCR_MODELS], check=True, timeout=120)
    return folder / "venv/bin"


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    """Run the installed command where nothing of the source tree can help it."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment["PATH"] = f"{installed}:/usr/bin:/bin"
    command = [str(installed / "graphmesh"), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_up_and_demo_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """`graphmesh up` starts an empty mesh and `graphmesh demo` reads its page, with nothing but the wheel."""
    port = str(free_port())
    ports = ("--port", port, "--grpc-port", "0", "--metrics-port", "0")
    assert "ready" in run(installed, tmp_path, "up", "--detach", *ports)
    assert "ready workers" in run(installed, tmp_path, "status", "--gateway", f"127.0.0.1:{port}")
    assert "stopped" in run(installed, tmp_path, "down")
    said = run(installed, tmp_path, "demo", "--port", str(free_port()))
    assert "lines read" in said
    assert (tmp_path / "ocr-boxes.png").stat().st_size > 10_000
