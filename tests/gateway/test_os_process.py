"""Processes that are not our children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import graphmesh.gateway.os_process
from graphmesh.gateway.os_process import OsProcess

DETACH = Path(graphmesh.gateway.os_process.__file__).with_name("detach.py")


def start(tmp_path: Path, *command: str) -> OsProcess:
    """Start a detached process."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(DETACH), str(tmp_path / "log"), *command], capture_output=True, check=True
    )
    process = OsProcess.find(int(done.stdout))
    assert process
    return process


async def test_detached_process_is_no_child_and_is_waited_for(tmp_path: Path) -> None:
    """A detached process has its own session, and its end is noticed at once."""
    process = start(tmp_path, "/bin/sleep", "60")
    assert os.getsid(process.pid) != os.getsid(0)
    assert process.is_alive()
    waiting = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    process.send(signal.SIGKILL)
    async with asyncio.timeout(2):
        await waiting
    assert not process.is_alive()


async def test_stop_asks_then_kills(tmp_path: Path) -> None:
    """SIGTERM ends a willing process, SIGKILL one that is not."""
    willing = start(tmp_path, "/bin/sleep", "60")
    await willing.stop(within_s=5)
    assert not willing.is_alive()
    stubborn = start(tmp_path, sys.executable, "-c", _STUBBORN)
    while b"ready" not in (tmp_path / "log").read_bytes():  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.02)
    await stubborn.stop(within_s=0.3)
    assert not stubborn.is_alive()


_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def test_another_process_with_the_same_id_is_not_it() -> None:
    """The start time tells a process from a later one with its id, which is left alone."""
    own = OsProcess.find(os.getpid())
    assert own
    assert own.is_alive()
    stranger = OsProcess(os.getpid(), "1")
    assert not stranger.is_alive()
    stranger.send(signal.SIGKILL)


async def test_waiting_for_what_has_ended() -> None:
    """A process that is gone is not waited for."""
    async with asyncio.timeout(1):
        await OsProcess(2**22 - 1, "1").wait()
