"""A local mesh seen from outside: where its run folder is, what flags change, and stopping what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphmesh.cli import local
from graphmesh.cli.mesh_file import GatewayEntry, MeshFile
from graphmesh.cli.state import MeshState, ProcessMark, mark, write_state
from graphmesh.core.errors import StartFailed

NO_PORTS = {"port": None, "grpc_port": None, "metrics_port": None}


def test_the_run_folder_is_beside_the_mesh_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mesh file it is in the working folder."""
    monkeypatch.chdir(tmp_path)
    assert local.default_run_dir(None) == tmp_path / ".graphmesh"
    assert local.default_run_dir(Path("sub/mesh.yaml")) == tmp_path.resolve() / "sub/.graphmesh"


def test_the_run_folder_of_a_folder_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest folder that a mesh ran from counts; one without a mesh's state does not, nor if a file is given."""
    (tmp_path / "project/sub/deep").mkdir(parents=True)
    (tmp_path / "project/sub/.graphmesh").mkdir()
    (tmp_path / "project/.graphmesh").mkdir()
    write_state(tmp_path / "project/.graphmesh", MeshState(supervisor=mark(os.getpid()), phase="ready", gateway="g:1"))
    monkeypatch.chdir(tmp_path / "project/sub/deep")
    assert local.default_run_dir(None) == tmp_path / "project/.graphmesh"
    assert local.default_run_dir(Path("mesh.yaml")) == tmp_path / "project/sub/deep/.graphmesh"


def test_flags_win_over_the_file() -> None:
    """A flag replaces what mesh.yaml says, 0 included; a flag not given leaves it."""
    mesh = MeshFile(mesh="m", gateway=GatewayEntry(bind="::1", port=1, grpc_port=2, metrics_port=3))
    assert local.with_gateway_flags(mesh, bind=None, ports=NO_PORTS) == mesh
    changed = local.with_gateway_flags(mesh, bind="127.0.0.1", ports={**NO_PORTS, "port": 9, "grpc_port": 0})
    assert changed.gateway == GatewayEntry(bind="127.0.0.1", port=9, grpc_port=0, metrics_port=3)
    assert changed.mesh == "m"


def test_port_0_becomes_a_free_one() -> None:
    """`--port 0` picks a port that can be listened on."""
    picked = local.with_gateway_flags(MeshFile(), bind=None, ports={**NO_PORTS, "port": 0}).gateway.port
    assert 1024 <= picked <= 65535


def test_nothing_to_stop(tmp_path: Path) -> None:
    """Stopping where no mesh runs says so and is no error."""
    said: list[str] = []
    local.stop(tmp_path, say=said.append)
    assert said == [f"no mesh runs from {tmp_path}"]


def test_a_running_mesh_is_stopped(tmp_path: Path) -> None:
    """The supervisor gets SIGTERM and is waited for; its state is gone afterwards."""
    said: list[str] = []
    with subprocess.Popen(["sleep", "60"]) as supervisor:
        write_state(tmp_path, MeshState(supervisor=mark(supervisor.pid), phase="ready", gateway="g:1"))
        marked = mark(supervisor.pid)
        local.stop(tmp_path, say=said.append)
        assert marked.process() is None
    assert said == [f"stopping the mesh of {tmp_path}", "stopped"]
    assert not (tmp_path / "mesh.json").exists()


def test_what_a_killed_supervisor_left_is_stopped(tmp_path: Path) -> None:
    """Children outlive a supervisor that was killed; they are ended by their marks, and nothing else is."""
    said: list[str] = []
    me = mark(os.getpid())
    gone = ProcessMark(me.pid, me.started - 60)  # this process's id, as another process had it before
    with subprocess.Popen(["sleep", "60"]) as child:
        state = MeshState(supervisor=gone, phase="ready", gateway="g:1", children={"a": mark(child.pid), "b": gone})
        write_state(tmp_path, state)
        marked = mark(child.pid)
        local.stop(tmp_path, say=said.append)
        assert marked.process() is None
    assert said == [
        f"stopping a (process {child.pid}), left behind by a graphmesh up that was killed",
        "stopped",
    ]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a Python program that stands for `graphmesh up`."""
    path = tmp_path / "program.py"
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {path} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(wrapper))
    return path


HEAD = """
import os, sys, time
from pathlib import Path
from graphmesh.cli.state import MeshState, mark, write_state
folder = Path(sys.argv[-1])
def write(phase, message=""):
    state = MeshState(supervisor=mark(os.getpid()), phase=phase, gateway="g:1", message=message)
    write_state(folder, state)
"""


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")  # detached means that nobody waits for it
def test_detached_returns_when_ready(program: Path, tmp_path: Path) -> None:
    """The mesh's progress is shown until it is ready; then it runs on."""
    program.write_text(f"{HEAD}\nprint('one', flush=True)\nwrite('starting')\nwrite('ready')\ntime.sleep(60)")
    said: list[str] = []
    state = local.start_detached([str(tmp_path)], tmp_path, say=said.append)
    process = state.supervisor.process()
    assert process is not None
    process.terminate()
    os.waitpid(process.pid, 0)
    assert (state.phase, said) == ("ready", ["one", f"log: {tmp_path}/up.log"])


def test_detached_beside_a_running_mesh(tmp_path: Path) -> None:
    """A mesh that runs from the folder already is named with how to stop it; nothing is started."""
    with subprocess.Popen(["sleep", "60"]) as other:
        write_state(tmp_path, MeshState(supervisor=mark(other.pid), phase="ready", gateway="g:1"))
        with pytest.raises(StartFailed, match=rf"already runs from .*\(process {other.pid}\); .* graphmesh down"):
            local.start_detached([], tmp_path, say=print)
        other.terminate()
    assert not (tmp_path / "up.log").exists()


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("write('failed', 'port 8000 is taken')", "^port 8000 is taken$"),
        ("print('graphmesh: the error', flush=True)", "^the error$"),
        ("print('graphmesh: two\\n- a\\n- b', flush=True)", "^two\n- a\n- b$"),
        ("pass", "graphmesh up ended with exit code 4; see .*up.log"),
    ],
)
def test_detached_fails_with_the_reason(program: Path, tmp_path: Path, last: str, reason: str) -> None:
    """If the mesh does not start, its own reason is the error, or its last error line, or where to look."""
    program.write_text(f"{HEAD}\n{last}\nprint('last words', flush=True)\nsys.exit(4)")
    said: list[str] = []
    with pytest.raises(StartFailed, match=reason):
        local.start_detached([str(tmp_path)], tmp_path, say=said.append)
    assert said == ["last words"]
