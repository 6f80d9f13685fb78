"""What a running `graphmesh up` leaves in its run folder, so that `down` and a second `up` find it.

`mesh.json` holds the supervisor's process id with its start time (a process id alone may belong to another process
by now), its phase and the gateway's address, and the same for every child, so that what a killed supervisor left
behind can be ended by id.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

__all__ = ["RUN_DIR", "MeshState", "ProcessMark", "mark", "nearest_run_dir", "read_state", "write_state"]

RUN_DIR = ".graphmesh"
"""The folder's usual name."""
_STATE = "mesh.json"


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process, told apart from a later one with the same id."""

    pid: int
    """Process id."""
    started: float
    """When it started, seconds since the epoch, as the operating system says."""

    def process(self) -> psutil.Process | None:
        """Return the process if it still is the same one and runs."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def mark(pid: int) -> ProcessMark:
    """Return the mark of a process that runs now."""
    return ProcessMark(pid, psutil.Process(pid).create_time())


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """A mesh on this machine."""

    supervisor: ProcessMark
    """`graphmesh up` itself."""
    phase: str
    """`starting`, `ready`, `failed` or `stopping`."""
    gateway: str
    """`host:port` of the gateway."""
    message: str = ""
    """Why it failed."""
    children: dict[str, ProcessMark] = field(default_factory=dict)
    """Its child processes by name."""


def nearest_run_dir() -> Path:
    """Return the run folder of this folder or the nearest one around it that has a mesh's state, else of this one."""
    here = Path.cwd()
    return next((folder / RUN_DIR for folder in (here, *here.parents) if _has_state(folder)), here / RUN_DIR)


def _has_state(folder: Path) -> bool:
    with contextlib.suppress(OSError):  # a folder that may not be looked into
        return (folder / RUN_DIR / _STATE).is_file()
    return False


def read_state(run_dir: Path) -> MeshState | None:
    """Return the state in a run folder; None if there is none that can be read."""
    try:
        document = json.loads((run_dir / _STATE).read_text())
        document["supervisor"] = ProcessMark(**document["supervisor"])
        document["children"] = {name: ProcessMark(**child) for name, child in document["children"].items()}
        return MeshState(**document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_state(run_dir: Path, state: MeshState) -> None:
    """Write the state whole: a reader sees the old or the new one."""
    draft = run_dir / f"{_STATE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(state)))
    draft.replace(run_dir / _STATE)
