"""A mesh on this machine seen from outside its supervisor: starting it detached, finding it, stopping it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from graphmesh.cli.ports import free_port
from graphmesh.cli.state import RUN_DIR, MeshState, nearest_run_dir, read_state
from graphmesh.core.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from graphmesh.cli.mesh_file import MeshFile

__all__ = ["check_none_runs", "default_run_dir", "start_detached", "stop", "stop_leftovers", "with_gateway_flags"]

_STOP_S = 60.0
_POLL_S = 0.1
_MORE = ("- ", "  ")
"""How further lines of an error begin: a list of mistakes."""


def default_run_dir(mesh_file: Path | None) -> Path:
    """Return `.graphmesh` beside the mesh file; without one the nearest that a mesh ran from, else in this folder."""
    return mesh_file.resolve().parent / RUN_DIR if mesh_file is not None else nearest_run_dir()


def with_gateway_flags(mesh: MeshFile, *, bind: str | None, ports: Mapping[str, int | None]) -> MeshFile:
    """Return the mesh with what flags say about its gateway; a `port` of 0 becomes a free one."""
    changes: dict[str, Any] = {} if bind is None else {"bind": bind}
    for name in ("port", "grpc_port", "metrics_port"):
        if ports[name] is not None:
            changes[name] = ports[name]
    if changes.get("port") == 0:
        changes["port"] = free_port()
    return msgspec.structs.replace(mesh, gateway=msgspec.structs.replace(mesh.gateway, **changes))


def check_none_runs(run_dir: Path) -> None:
    """Refuse to start a second mesh from a run folder.

    Raises:
        StartFailed: one runs from it; names its supervisor's process (FAILED_PRECONDITION).
    """
    state = read_state(run_dir)
    if state is not None and state.supervisor.pid != os.getpid() and state.supervisor.process() is not None:
        raise StartFailed(
            f"a mesh already runs from {run_dir} (process {state.supervisor.pid}); stop it with: graphmesh down"
        )


def start_detached(arguments: Sequence[str], run_dir: Path, *, say: Callable[[str], None]) -> MeshState:
    """Start `graphmesh up` in the background, show its progress, and return its state once it is ready.

    Raises:
        StartFailed: it could not start; carries its reason.
    """
    check_none_runs(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "up.log"
    environment = {name: value for name, value in os.environ.items() if name != "GRAPHMESH_UP_DETACH"}
    with log.open("ab") as output:
        written = output.tell()
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "graphmesh.cli", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,  # or it would detach in its turn, without end
            start_new_session=True,
        )
    with log.open() as lines:
        lines.seek(written)
        refusal = ""
        while True:
            ended = process.poll() is not None
            state = read_state(run_dir)  # before the lines: it says that it is ready, then writes it
            for line in lines:
                if line.startswith("graphmesh: "):  # its error, which is raised here
                    refusal = line.removeprefix("graphmesh: ")
                elif refusal and line.startswith(_MORE):
                    refusal += line
                else:
                    say(line.rstrip())
            if state is not None and state.supervisor.pid == process.pid and state.phase == "ready":
                say(f"log: {log}")
                return state
            if ended:
                reason = state.message if state is not None and state.phase == "failed" else ""
                raise StartFailed(
                    reason or refusal.rstrip() or f"graphmesh up ended with exit code {process.returncode}; see {log}"
                )
            time.sleep(_POLL_S)


def stop(run_dir: Path, *, say: Callable[[str], None]) -> None:
    """Stop the mesh of a run folder, and whatever a killed supervisor left behind."""
    state = read_state(run_dir)
    supervisor = state.supervisor.process() if state is not None else None
    if supervisor is not None:
        say(f"stopping the mesh of {run_dir}")
        supervisor.send_signal(signal.SIGTERM)
        _wait([supervisor])
    left = stop_leftovers(run_dir, say=say)
    (run_dir / "mesh.json").unlink(missing_ok=True)
    say("stopped" if supervisor or left else f"no mesh runs from {run_dir}")


def stop_leftovers(run_dir: Path, *, say: Callable[[str], None]) -> bool:
    """Stop what a killed supervisor left behind, Envoy too; return whether there was anything."""
    state = read_state(run_dir)
    if state is not None and state.supervisor.process() is not None:
        return False
    leftovers = {} if state is None else {n: process for n, m in state.children.items() if (process := m.process())}
    for name, process in leftovers.items():
        say(f"stopping {name} (process {process.pid}), left behind by a graphmesh up that was killed")
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _wait(list(leftovers.values()))
    return _stop_envoy(run_dir / "gateway") or bool(leftovers)


def _wait(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=_STOP_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _stop_envoy(run_dir: Path) -> bool:
    from graphmesh.gateway.process import stop_envoy  # noqa: PLC0415 - loads Envoy's protocol, which only this needs

    return asyncio.run(stop_envoy(run_dir))
