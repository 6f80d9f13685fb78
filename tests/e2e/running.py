"""A whole mesh as users start it: `graphmesh up` as a process, on free ports, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphmesh.cli.http import get
from graphmesh.cli.ports import free_port

MODELS = Path(__file__).parent / "models.py"


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """A mesh that `graphmesh up` runs for a test."""

    address: str
    """`host:port` of the gateway."""
    run_dir: Path
    """Its run folder."""

    def graphmesh(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command against this mesh and return what it printed."""
        return graphmesh(*arguments, "--gateway", self.address, check=check)

    def state(self) -> dict[str, Any]:
        """Return what `graphmesh up` wrote of its processes."""
        document: dict[str, Any] = json.loads((self.run_dir / "mesh.json").read_text())
        return document

    def gateway_pid(self) -> int:
        """Return the process id of the gateway's control plane; 0 while there is none."""
        pid: int = self.state()["children"].get("gateway", {"pid": 0})["pid"]
        return pid

    def status(self) -> dict[str, Any]:
        """Return the mesh's status, in protobuf's JSON."""
        document: dict[str, Any] = json.loads(get(f"http://{self.address}/v1/status").body)
        return document


def graphmesh(*arguments: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command of the environment under test."""
    command = [sys.executable, "-m", "graphmesh.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    if check:
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


def start_mesh(folder: Path, mesh_yaml: str, *flags: str) -> RunningMesh:
    """Start a mesh and return it once it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mesh.yaml").write_text(mesh_yaml)
    port, run_dir = free_port(), folder / ".graphmesh"
    ports = ["--port", str(port), "--grpc-port", "0", "--metrics-port", "0"]
    graphmesh("up", str(folder / "mesh.yaml"), "--detach", "--run-dir", str(run_dir), *ports, *flags)
    return RunningMesh(f"127.0.0.1:{port}", run_dir)


def stop_mesh(mesh: RunningMesh) -> None:
    """Stop a mesh and check that none of its processes is left."""
    marks = [*mesh.state()["children"].values(), mesh.state()["supervisor"]]
    graphmesh("down", "--run-dir", str(mesh.run_dir))
    left = [mark["pid"] for mark in marks if Path(f"/proc/{mark['pid']}/stat").exists()]
    assert not left, f"still running: {left}"


class Processes:
    """Processes that a test starts by hand; all are ended by id when it is over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a command; its output goes to a file named after it."""
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._running.append(process)
        return process

    def worker(self, worker_id: str, etcd: str, *flags: str) -> subprocess.Popen[bytes]:
        """Start a worker by hand."""
        command = [sys.executable, "-m", "graphmesh.cli", "worker", "--worker-id", worker_id, "--etcd", etcd]
        return self.start(worker_id, *command, *flags)

    def log(self, name: str) -> str:
        """Return what a process has written so far."""
        return (self._folder / f"{name}.log").read_text()

    def end_all(self) -> None:
        """End what still runs, also what is stopped."""
        for process in self._running:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
