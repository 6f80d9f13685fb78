"""Processes that are not our children: whether one is still the same, and waiting for its end.

A process id alone may be anybody's by now; with the time its process started it is one process for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from graphmesh.core.clock import Deadline

__all__ = ["OsProcess"]

_POLL_S = 0.1
_START_TIME_FIELD = 19
"""Of /proc/PID/stat, counted after the command's closing parenthesis (field 22 of proc(5))."""


@dataclass(frozen=True, slots=True)
class OsProcess:
    """One process of this machine."""

    pid: int
    """Its id."""
    started: str
    """When it started, as the system says it; tells it from a later process with the same id."""

    @classmethod
    def find(cls, pid: int) -> OsProcess | None:
        """Return the process that has the id now."""
        started = _start_time(pid)
        return cls(pid, started) if started else None

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return _start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal; none if it has ended."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self) -> None:
        """Return when it has ended."""
        if not hasattr(os, "pidfd_open"):
            while self.is_alive():  # noqa: ASYNC110 - macOS has nothing to wait for
                await asyncio.sleep(_POLL_S)
            return
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            await _readable(fd) if self.is_alive() else None
        finally:
            os.close(fd)

    async def stop(self, *, within_s: float) -> None:
        """End it: SIGTERM, and SIGKILL when it is still there after ``within_s``."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.send(number)
            deadline = Deadline.after(within_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline.timeout()):
                    await self.wait()
                    return


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)


def _start_time(pid: int) -> str:
    """Return when a process started; empty for none, and for one that has ended and waits to be reaped."""
    if not Path("/proc/self/stat").exists():
        ps = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(ps, capture_output=True, text=True, timeout=10, check=False).stdout.strip()  # noqa: S603
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[_START_TIME_FIELD]
