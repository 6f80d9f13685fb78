"""`graphmesh demo`, from an empty folder: the known lines, the drawn picture, and nothing left behind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from graphmesh.cli.ocr import PICTURE
from graphmesh.cli.ports import free_port
from tests.e2e.running import graphmesh

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(180)]

KNOWN_LINES = (
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
)


def _running_below(folder: Path) -> list[str]:
    """Return the command lines of running processes that name the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(folder) in command:
            found.append(command)
    return found


def test_demo_of_ones_own_picture_kept_running(tmp_path: Path) -> None:
    """`--image` reads another picture, a taken port is no obstacle, `--keep` leaves the mesh up until `down`."""
    picture = tmp_path / "mine.png"
    picture.write_bytes(PICTURE.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = graphmesh("demo", "--image", str(picture), "--port", port, "--keep", cwd=tmp_path).stdout
    try:
        address = re.findall(r"--gateway (\S+)", said)[0]
        assert not address.endswith(f":{port}")
        assert "Region-based" in graphmesh("infer", "ocr", f"image=@{picture}", "--gateway", address).stdout
    finally:
        assert "stopped" in graphmesh("down", cwd=tmp_path).stdout
    assert _running_below(tmp_path) == []


def test_demo_reads_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo reads the scanned page over gRPC and REST, tells fused from remote nodes, draws, and exits 0."""
    folder, temporary = tmp_path / "empty", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    command = [sys.executable, "-m", "graphmesh.cli", "demo", "--port", str(free_port())]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (*KNOWN_LINES, "over gRPC", "over REST", "fused detection-1", "remote recognition-1", "Try next"):
        assert said in done.stdout
    assert (folder / "ocr-boxes.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in folder.iterdir()] == ["ocr-boxes.png"]
    assert list(temporary.glob("graphmesh*")) == []
    assert _running_below(tmp_path) == []
