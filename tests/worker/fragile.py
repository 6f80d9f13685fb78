"""Models for processes of their own: each goes wrong in a way of its own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator  # noqa: TC003 - a model's annotations are read
from typing import Annotated, TypedDict

import numpy as np

from graphmesh.core.errors import Overloaded
from graphmesh.worker import Context, batched

Vector = Annotated[np.ndarray, "FP32 (N,)"]
Matrix = Annotated[np.ndarray, "INT64 (A, B)"]
Half = Annotated[np.ndarray, "FP16 ()"]

ABORT, SEGFAULT, HANG, EXIT, RAISE, REFUSE, LEAK, CHATTER, LATE = range(-1, -10, -1)


def _hang() -> None:
    time.sleep(60)


def _raise() -> None:
    message = "secret at /etc/passwd"
    raise ValueError(message)


def _refuse() -> None:
    message = "not now"
    raise Overloaded(message, retry_after_s=1.5)


def _leak() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    try:
        kept = [np.ones(1 << 26) for _ in range(16)]
        kept.clear()
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when there is no memory left


def _abort_late() -> None:
    time.sleep(0.4)
    os.abort()


ACTS: dict[int, Callable[[], object]] = {
    ABORT: os.abort,
    SEGFAULT: lambda: ctypes.string_at(0),
    HANG: _hang,
    EXIT: sys.exit,
    RAISE: _raise,
    REFUSE: _refuse,
    LEAK: _leak,
    CHATTER: lambda: sys.stdout.write(""),
    LATE: _abort_late,
}


class Everything(TypedDict):
    """The outputs of `Echo`."""

    text: str
    data: bytes
    matrix: Matrix
    half: Half


class Fragile:
    """Adds one, or does what the first number says; the second is a pause."""

    def predict(self, x: Vector) -> Vector:
        """Return x + 1."""
        act = ACTS.get(int(x[0])) if len(x) else None
        if act is not None:
            act()
        if len(x) > 1:
            time.sleep(float(x[1]))
        return x + 1


class FragileBatch(Fragile):
    """The same in batches."""

    @batched(max_batch_size=8, max_delay_ms=50)
    def predict(self, x: Vector) -> Vector:
        """Return x + 1."""
        for number in x:
            super().predict(np.array([number]))
        time.sleep(0.02)
        return x + 1


class Pid:
    """Tells its process, and what it was told of the call."""

    def predict(self, x: Vector, context: Context) -> int:
        """Return the process id."""
        context.set_header("x-seen", f"{context.request_id} {context.headers.get('x-one')} {context.parameters}")
        return os.getpid()


class Rude:
    """Sets response headers past the one way there is."""

    def predict(self, x: Vector, context: Context) -> Vector:
        """Return x."""
        context.set_header("x-fine", "1")
        context._response_headers.update({"content-length": "0", "x-split": "a\r\nb: c"})
        return x


class Keeper:
    """Keeps what it was given, and gives back what it kept last."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = [np.zeros(1, np.float32)]

    def predict(self, x: Vector) -> Vector:
        """Return the inputs of the call before."""
        self._kept.append(x)
        return self._kept[-2]


class Echo:
    """Gives back text, bytes and numbers as they came."""

    def predict(
        self,
        text: str,
        data: bytes,
        matrix: Matrix,
        half: Half,
    ) -> Everything:
        """Return the inputs."""
        return {"text": text, "data": data, "matrix": matrix, "half": half}


class Patient:
    """Waits until it is cancelled, on the event loop, and says so in a file."""

    def __init__(self, note: str) -> None:
        self._note = note

    async def predict(self, seconds: float) -> float:
        """Return after the seconds."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            await asyncio.to_thread(_write, self._note, "cancelled")
            raise
        return seconds


class Watchful:
    """Waits on a thread for its caller to leave, and says so in a file."""

    def __init__(self, note: str) -> None:
        self._note = note

    def predict(self, seconds: float, context: Context) -> float:
        """Return after the seconds, or when nobody waits."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if context.cancelled:
                _write(self._note, "cancelled")
                break
            time.sleep(0.01)
        return seconds


class Counts:
    """Streams numbers; notes in a file when it was stopped. A negative count aborts after one answer."""

    def __init__(self, note: str = "") -> None:
        self._note = note

    def predict(self, count: int) -> Iterator[int]:
        """Yield 0, 1, ..."""
        try:
            for number in range(abs(count)):
                if number and count < 0:
                    os.abort()
                yield number
        except GeneratorExit:
            _write(self._note, "stopped")
            raise


class CountsAsync:
    """The same on the event loop."""

    async def predict(self, count: int) -> AsyncIterator[int]:
        """Yield 0, 1, ..."""
        for number in range(count):
            await asyncio.sleep(0)
            yield number


class AbortsAtLoad:
    """Ends its process while it is loaded."""

    def load(self) -> None:
        """Abort."""
        os.abort()

    def predict(self, x: Vector) -> Vector:
        """Never run."""
        return x


class SlowToLoad:
    """Takes its time, and says in a file where."""

    def __init__(self, note: str) -> None:
        self._note = note

    def load(self) -> None:
        """Sleep."""
        _write(self._note, str(os.getpid()))
        time.sleep(60)

    def predict(self, x: Vector) -> Vector:
        """Never run."""
        return x


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - at the end of a process, without imports
        file.write(text)
