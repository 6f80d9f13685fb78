"""`graphmesh demo`, from an empty folder: the known lines, the drawn picture, and nothing left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from graphmesh.cli.local import free_port
from tests.e2e.running import graphmesh

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(180)]


def _children() -> set[int]:
    mine = {process.pid for process in psutil.process_iter() if "graphmesh" in " ".join(_command(process))}
    return mine | {process.pid for process in psutil.process_iter() if process.name() == "envoy"}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_demo_reads_the_page(tmp_path: Path) -> None:
    """The demo reads the scanned page over gRPC and REST, tells fused from remote nodes, draws, and exits 0."""
    before = _children()
    done = graphmesh("demo", "--port", str(free_port()), cwd=tmp_path)
    for line in KNOWN_LINES:
        assert line in done.stdout
    assert "fused" in done.stdout
    assert "remote" in done.stdout
    assert "Try next" in done.stdout
    assert (tmp_path / "ocr-boxes.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["ocr-boxes.png"]
    assert _children() <= before


KNOWN_LINES: tuple[str, ...] = ()
