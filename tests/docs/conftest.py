"""A runner for documents, in a folder and on a port of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.ports import free_port
from tests.docs.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """Return a runner in an empty folder beside a clone, on free ports; a mesh that a document leaves is stopped."""
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "graphmesh").symlink_to(ROOT)
    port = free_port()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "GRAPHMESH_GATEWAY_ADDRESS": f"127.0.0.1:{port}",
        **{f"GRAPHMESH_{command}_PORT": str(port) for command in ("UP", "DEMO")},
        **{f"GRAPHMESH_UP_{name}_PORT": "0" for name in ("GRPC", "METRICS")},
    }
    made = Runner(
        folder, environment, replace={f"{host}:8000": f"127.0.0.1:{port}" for host in ("127.0.0.1", "localhost")}
    )
    try:
        yield made
    finally:
        if (folder / ".graphmesh").exists():
            made.command("graphmesh down")
