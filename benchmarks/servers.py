"""Server processes under test: started, waited for, their CPU counted, stopped by process id whatever happens.

CPU time is the operating system's counter of user and system time per process, read through psutil. A system's
processes are looked up before and after each measurement; if one came or went between, the numbers would be wrong, so
that is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["Server", "ServerFailed", "System", "listening", "start"]

_STOP_GRACE_S = 60.0
_START_S = 60.0
_POLL_S = 0.05
_LOG_TAIL = 2000
_ROOT = Path(__file__).resolve().parents[1]


class ServerFailed(Exception):
    """A server did not start, or its processes changed while it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What is measured as one: processes, in named parts."""

    parts: Mapping[str, Sequence[psutil.Process]]
    """Roots by part: a part is its roots and all processes below them, except other roots."""

    def cpu_seconds(self) -> Counters:
        """Return each process' CPU time so far, by part.

        Raises:
            ServerFailed: a root has ended.
        """
        roots = [(part, root) for part, processes in self.parts.items() for root in processes]
        others = {root.pid for _, root in roots}
        counters: dict[tuple[str, int], float] = {}
        try:
            for part, root in roots:
                for process in _below(root, others):
                    times = process.cpu_times()
                    counters[part, process.pid] = times.user + times.system
        except psutil.Error as error:
            raise ServerFailed(f"a server process ended while it was measured: {error}") from error
        return Counters(counters)


@dataclass(frozen=True, slots=True)
class Counters:
    """CPU times of one moment."""

    seconds: Mapping[tuple[str, int], float]
    """By part and process id."""

    def since(self, before: Counters) -> dict[str, float]:
        """Return the seconds used since an earlier moment, by part.

        Raises:
            ServerFailed: there were other processes then.
        """
        if self.seconds.keys() != before.seconds.keys():
            changed = sorted(self.seconds.keys() ^ before.seconds.keys())
            raise ServerFailed(f"processes must stay the same while they are measured, these came or went: {changed}")
        used: dict[str, float] = {}
        for (part, pid), seconds in self.seconds.items():
            used[part] = used.get(part, 0.0) + seconds - before.seconds[part, pid]
        return used


def _below(process: psutil.Process, roots: AbstractSet[int]) -> list[psutil.Process]:
    found = [process]
    for child in process.children():
        if child.pid not in roots:
            found += _below(child, roots)
    return found


class Server:
    """A started process; `start` makes it."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._detached: list[psutil.Process] = []
        self.root = psutil.Process(process.pid)

    def own(self, process: psutil.Process) -> None:
        """Take responsibility for a process that detached itself from this server."""
        self._detached.append(process)

    async def wait(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Return once ``ready`` is true.

        Raises:
            ServerFailed: the process ended, or was not ready in time; carries the end of its log.
        """
        until = time.monotonic() + _START_S
        while not await ready():
            if self._process.returncode is not None:
                raise ServerFailed(f"exit code {self._process.returncode} at start: {self._tail()}")
            if time.monotonic() > until:
                raise ServerFailed(f"not ready after {_START_S:.0f} s: {self._tail()}")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Send SIGTERM and wait; what is left then, or when the wait is cancelled, is killed."""
        known = [*self._detached]
        with contextlib.suppress(psutil.Error):
            known += [self.root, *self.root.children(recursive=True)]
        try:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _STOP_GRACE_S)
        finally:
            for process in known:
                with contextlib.suppress(psutil.Error):  # psutil checks that the id still is the same process
                    process.kill()

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-_LOG_TAIL:].strip() or "it wrote nothing"


@contextlib.asynccontextmanager
async def start(name: str, command: Sequence[str], *, folder: Path) -> AsyncIterator[Server]:
    """Run a command while the body runs; its output goes to ``folder/NAME.log``."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=_ROOT,
            start_new_session=True,  # Ctrl-C reaches only the benchmark, which stops its servers in order
        )
    server = Server(process, log)
    try:
        yield server
    finally:
        await server.stop()


def listening(port: int) -> Callable[[], Awaitable[bool]]:
    """Return a check for whether something accepts connections on a loopback port."""

    async def check() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    return check
