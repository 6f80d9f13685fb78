"""The run folder's state: written whole, read back, and never taken for another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.state import MeshState, ProcessMark, mark, read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path


def test_state_comes_back_as_written(tmp_path: Path) -> None:
    """What one command writes another reads, and no draft is left beside it."""
    me = mark(os.getpid())
    state = MeshState(supervisor=me, phase="ready", gateway="127.0.0.1:1", children={"gateway": me})
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"supervisor": 1}', '{"supervisor": {"pid": 1, "started": 0}, "children": []}'],
)
def test_a_damaged_file_is_no_state(tmp_path: Path, text: str) -> None:
    """A file that is cut short or means something else is as good as none."""
    (tmp_path / "mesh.json").write_text(text)
    assert read_state(tmp_path) is None


def test_no_folder_no_state(tmp_path: Path) -> None:
    """A run folder that does not exist has no state."""
    assert read_state(tmp_path / "gone") is None


def test_unknown_fields_are_no_state(tmp_path: Path) -> None:
    """A file of another version of graphmesh is not misread."""
    me = {"pid": 1, "started": 0.0}
    document = {"supervisor": me, "phase": "ready", "gateway": "", "children": {}, "colour": "red"}
    (tmp_path / "mesh.json").write_text(json.dumps(document))
    assert read_state(tmp_path) is None


def test_a_mark_finds_its_process() -> None:
    """A mark leads to the process it was made of."""
    found = mark(os.getpid()).process()
    assert found is not None
    assert found.pid == os.getpid()


def test_a_mark_knows_another_process_with_the_same_id() -> None:
    """The same id with another start time is a different process."""
    me = mark(os.getpid())
    assert ProcessMark(me.pid, me.started - 60).process() is None


def test_a_mark_of_an_ended_process() -> None:
    """A process that ended is not found, also while its parent has not asked how."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        marked = mark(child.pid)
        assert marked.process() is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert marked.process() is None
    assert marked.process() is None
