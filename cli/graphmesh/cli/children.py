"""Child processes of `graphmesh up`: started, prefixed, restarted with back-off, stopped by process id.

Children run in sessions of their own, so that Ctrl-C reaches only `up`, which then stops them in the order that loses
no request. A child that ends while it should run is started again after a pause that doubles from 0.5 s to 10 s and
starts over once the child has run for 30 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Child"]

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_SETTLED_S = 30.0
_LAST_WORDS_S = 1.0
_CHUNK = 1 << 16


class Child:
    """One supervised `graphmesh` command.

    Args:
        name: Prefix of its output.
        arguments: The command after `graphmesh`.
        say: Receives each line it writes, prefixed.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, say: Callable[[str], None]) -> None:
        self.name = name
        self._arguments = tuple(arguments)
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._last_line = ""
        self.ended = asyncio.Event()
        """Set while the child is not running although it should be."""
        self.exit_code: int | None = None
        """How it ended last."""

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def last_line(self) -> str:
        """The last line it wrote: after an error, the error."""
        return self._last_line

    async def start(self) -> None:
        """Start it and keep it running until `stop`."""
        await self._spawn()
        self._task = asyncio.create_task(self._supervise(), name=f"child {self.name}")

    async def stop(self, *, grace_s: float) -> None:
        """Send SIGTERM, wait, and after ``grace_s`` seconds send SIGKILL; no effect if it never started."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(self._ended(process), grace_s)
        except TimeoutError:
            self._say(f"[{self.name}] did not stop within {grace_s:.0f} s and is killed")
            process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "graphmesh.cli",
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"GRAPHMESH_LOG_FORMAT": "brief", **os.environ},
            start_new_session=True,
        )
        self.ended.clear()

    async def _supervise(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            process, started = self._process, time.monotonic()
            if process is None:
                return
            self.exit_code = await self._ended(process)
            self.ended.set()
            pause = _FIRST_PAUSE_S if time.monotonic() - started > _SETTLED_S else pause
            self._say(f"[{self.name}] ended with exit code {self.exit_code}; starting it again in {pause:.1f} s")
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)
            await self._spawn()

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Pass its output on until it ends; a process of its own that keeps the pipe open is not waited for."""
        reading = asyncio.create_task(self._read(process))
        try:
            code = await process.wait()
            await asyncio.wait({reading}, timeout=_LAST_WORDS_S)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return code

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        stream = process.stdout
        if stream is None:
            return
        pending = b""
        while chunk := await stream.read(_CHUNK):
            *lines, pending = (pending + chunk).split(b"\n")
            if len(pending) > _CHUNK:  # a line without an end is passed on in parts
                lines, pending = [*lines, pending], b""
            for line in lines:
                self._pass_on(line)
        if pending:
            self._pass_on(pending)

    def _pass_on(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._last_line = text
        self._say(f"[{self.name}] {text}")
