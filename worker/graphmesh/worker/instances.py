"""Threads that run a model's sync calls: a bounded queue in front of `count` threads.

Under load a call costs no switch between threads of its own: a thread takes the next call itself, without asking the
event loop, and what has ended by the time the loop looks is handed back in one go. Half the CPU time of handing each
call over and back, measured with a trivial model.

First come, first served. A call whose caller leaves before it has begun gives up its place and its inputs at once; what
is left of it is skipped. One that a thread has begun cannot be stopped: the thread is free again when it returns. The
threads are daemons: a model that hangs must not keep the process alive.

Not done: batching. Each call runs alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphmesh.core.errors import ModelNotReady, Overloaded

__all__ = ["Instances", "Statistics", "Timing"]

_MAX_WAITING = 1024

_Work: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the threads are doing."""

    running: int
    """Calls on a thread now."""
    waiting: int
    """Calls in the queue now."""


@dataclass(slots=True)
class Timing:
    """When a call was asked for and begun; monotonic seconds of `time.perf_counter`."""

    asked: float
    """When it entered the queue."""
    begun: float = 0.0
    """When a thread took it."""
    ended: float = 0.0
    """When it returned."""


class _Call:
    __slots__ = ("abandoned", "argument", "timing", "waiter", "work")

    def __init__(self, work: _Work, argument: Any, waiter: asyncio.Future[Any]) -> None:  # noqa: ANN401
        self.work = work
        self.argument = argument
        self.waiter = waiter
        self.timing = Timing(time.perf_counter())
        self.abandoned = False

    def abandon(self) -> None:
        """Leave the queue: the flag first, so that a thread that does not see it has read what is cleared next."""
        self.abandoned = True
        self.work, self.argument = _nothing, None


@dataclass(frozen=True, slots=True)
class _Outcome:
    call: _Call
    result: Any
    error: Exception | None


class Instances:
    """``count`` daemon threads that run one call each."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._open = 0
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._ended: deque[_Outcome] = deque()
        self._woken = False
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def statistics(self) -> Statistics:
        """The counts of this moment."""
        running = min(self._open, self._count)
        return Statistics(running=running, waiting=self._open - running)

    async def run(self, work: _Work, argument: Any) -> tuple[Any, Timing]:  # noqa: ANN401 - any work, any result
        """Run ``work(argument)`` on a thread and return its result and times.

        Raises:
            Overloaded: the queue is full (RESOURCE_EXHAUSTED, retry: other endpoint).
            ModelNotReady: closed (UNAVAILABLE, retry: other endpoint).
            Exception: what the work raised.

        Cancellation: a waiting call leaves the queue at once; a running one keeps its thread until it returns.
        """
        if self._closed:
            raise ModelNotReady(f"{self._name} is being unloaded")
        if self._open >= self._count + _MAX_WAITING:
            raise Overloaded(f"{self._name}: {_MAX_WAITING} calls are waiting already")
        loop = asyncio.get_running_loop()
        call = _Call(work, argument, loop.create_future())
        self._open += 1
        if len(self._threads) < min(self._open, self._count):
            self._start_thread(loop)
        self._calls.put(call)
        try:
            return await call.waiter, call.timing
        except asyncio.CancelledError:
            if not call.timing.begun and not call.abandoned:
                call.abandon()
                self._open -= 1
            raise

    def close(self) -> None:
        """Let the threads end after their calls; calls still waiting fail with ModelNotReady."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while (call := self._calls.get_nowait()) is not None:
                if not call.waiter.done():
                    self._open -= 1
                    call.waiter.set_exception(ModelNotReady(f"{self._name} is being unloaded"))
        for _ in self._threads:
            self._calls.put(None)

    def _start_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, args=(loop,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (call := self._calls.get()) is not None:
            work, argument = call.work, call.argument
            if call.abandoned:
                continue
            self._ended.append(_run(call, work, argument))
            if not self._woken:
                self._woken = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(self._hand_back)
            del call, work, argument

    def _hand_back(self) -> None:
        self._woken = False  # first: what ends from here on wakes the loop again
        while self._ended:
            outcome = self._ended.popleft()
            call = outcome.call
            if not call.abandoned:
                self._open -= 1
            if call.waiter.done():
                continue
            if outcome.error is None:
                call.waiter.set_result(outcome.result)
            else:
                call.waiter.set_exception(outcome.error)


def _nothing(_argument: object) -> None:
    """Stand for the work of a call that was abandoned."""


def _run(call: _Call, work: _Work, argument: Any) -> _Outcome:  # noqa: ANN401 - any argument
    result, error = None, None
    call.timing.begun = time.perf_counter()
    try:
        result = work(argument)
    except Exception as raised:  # noqa: BLE001 - it is the caller's, on the other thread
        # A future cannot carry StopIteration.
        error = RuntimeError("StopIteration was raised") if isinstance(raised, StopIteration) else raised
    except BaseException as raised:  # noqa: BLE001 - sys.exit() in a model must not end its thread
        error = RuntimeError(f"{type(raised).__name__} was raised")
    call.timing.ended = time.perf_counter()
    return _Outcome(call, result, error)
