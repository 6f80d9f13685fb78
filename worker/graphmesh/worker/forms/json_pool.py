"""Large JSON, read and written by another process.

Parsing tens of mebibytes takes half a second, and orjson keeps the interpreter's lock all the while, so that a thread
would not spare the event loop that. The process is started when it is first needed, and kept. It does one body at a
time; tensors come back as they are in memory. Small bodies are done where they are: a process costs a millisecond.

Not done: several processes. JSON of this size is better sent as binary tensors, and must not take every core.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from graphmesh.core.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.tensor import Tensor

__all__ = ["JsonPool", "tensors_size"]

P = ParamSpec("P")
T = TypeVar("T")

_INLINE_BYTES = 256 * 1024
_PR_SET_PDEATHSIG = 1
_MANY_OBJECTS = 4096


class JsonPool:
    """Runs functions that read or write JSON, here or in its process."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    async def run(self, size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function of a module returns; its arguments and result must be picklable.

        Args:
            size: Bytes of JSON, more or less; decides where it is run.
            function: What reads or writes them.
            *args: Its arguments.
            **kwargs: More of them.

        Raises:
            Unavailable: the process was killed (UNAVAILABLE, retry: same).
            Exception: what the function raised.

        Cancellation: work that waits is forgotten, work that runs goes on without a caller.
        """
        if size <= _INLINE_BYTES:
            return function(*args, **kwargs)
        executor = self._started()
        try:
            return await asyncio.wrap_future(executor.submit(function, *args, **kwargs))
        except BrokenProcessPool as error:
            if self._executor is executor:
                self._executor = None
            raise Unavailable("the process that reads large JSON was ended; repeat the call") from error

    def close(self) -> None:
        """End the process; what it does is lost."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
            )
        return self._executor


def tensors_size(tensors: Mapping[str, Tensor]) -> int:
    """Return about how many bytes of JSON tensors become, quickly."""
    return sum(_size(array) for array in tensors.values())


def _size(array: Tensor) -> int:
    if array.dtype.kind != "O":
        return int(array.nbytes) * 2
    if array.size > _MANY_OBJECTS:
        return int(array.size) * 64
    return sum(map(len, array.reshape(-1).tolist()))


def _begin(parent: int) -> None:
    """Prepare the process: signals are the parent's to handle, and it must not outlive the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.nice(5)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
