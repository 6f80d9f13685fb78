"""Server processes: counted whole, never measured while they change, never left behind."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from benchmarks.servers import Counters, ServerFailed, System, start

if TYPE_CHECKING:
    from pathlib import Path

_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


async def _started(folder: Path) -> psutil.Process:
    log = folder / "parent.log"
    while not log.read_text().strip():  # noqa: ASYNC110 - another process' state
        await asyncio.sleep(0.02)
    return psutil.Process(int(log.read_text()))


async def test_children_are_counted(tmp_path: Path) -> None:
    """A system's CPU time is that of its root and everything below it."""
    async with start("parent", [sys.executable, "-c", _PARENT], folder=tmp_path) as server:
        child = await _started(tmp_path)
        counters = System(parts={"all": (server.root,)}).cpu_seconds()
        assert counters.seconds.keys() == {("all", server.root.pid), ("all", child.pid)}
        split = System(parts={"parent": (server.root,), "child": (child,)}).cpu_seconds()
        assert split.seconds.keys() == {("parent", server.root.pid), ("child", child.pid)}


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """A server and its children end with the body, also when that fails."""
    processes: list[psutil.Process] = []

    async def fail() -> None:
        async with start("parent", [sys.executable, "-c", _PARENT], folder=tmp_path) as server:
            processes.extend((server.root, await _started(tmp_path)))
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive


async def test_a_server_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    """Waiting for a server that failed raises what it wrote."""

    async def never() -> bool:
        return False

    async with start("broken", [sys.executable, "-c", "raise SystemExit('no such port')"], folder=tmp_path) as server:
        with pytest.raises(ServerFailed, match="no such port"):
            await server.wait(never)


def test_changed_processes_spoil_a_measurement() -> None:
    """A process that was restarted in between is an error, not a small number."""
    with pytest.raises(ServerFailed, match="must stay the same"):
        Counters({("worker", 2): 1.0}).since(Counters({("worker", 1): 9.0}))
    assert Counters({("worker", 1): 9.5, ("worker", 2): 1.0}).since(
        Counters({("worker", 1): 9.0, ("worker", 2): 0.75})
    ) == {"worker": 0.75}
