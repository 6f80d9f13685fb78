"""Threads that run a model's sync calls: a bounded queue on the event loop in front of `count` threads.

The queue lives on the loop, so that a cancelled call leaves it at once and the order is first come, first served. A
call that a thread has begun cannot be stopped: its caller may leave, the thread is free again when the call returns.
The threads are daemons: a model that hangs must not keep the process alive.

Not done: batching. Each call runs alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import OrderedDict
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
    __slots__ = ("argument", "timing", "waiter", "work")

    def __init__(self, work: _Work, argument: Any, waiter: asyncio.Future[Any]) -> None:  # noqa: ANN401
        self.work = work
        self.argument = argument
        self.waiter = waiter
        self.timing = Timing(time.perf_counter())


class Instances:
    """``count`` daemon threads that run one call each."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._running = 0
        self._pending: OrderedDict[_Call, None] = OrderedDict()
        self._handed: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def statistics(self) -> Statistics:
        """The counts of this moment."""
        return Statistics(running=self._running, waiting=len(self._pending))

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
        loop = asyncio.get_running_loop()
        call = _Call(work, argument, loop.create_future())
        if self._running < self._count:
            self._begin(call)
        elif len(self._pending) < _MAX_WAITING:
            self._pending[call] = None
        else:
            raise Overloaded(f"{self._name}: {_MAX_WAITING} calls are waiting already")
        try:
            return await call.waiter, call.timing
        finally:
            self._pending.pop(call, None)

    def close(self) -> None:
        """Let the threads end after their calls; calls still waiting fail with ModelNotReady."""
        self._closed = True
        while self._pending:
            call, _ = self._pending.popitem(last=False)
            if not call.waiter.done():
                call.waiter.set_exception(ModelNotReady(f"{self._name} is being unloaded"))
        for _ in self._threads:
            self._handed.put(None)

    def _begin(self, call: _Call) -> None:
        self._running += 1
        if len(self._threads) < self._running:
            loop = asyncio.get_running_loop()
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, args=(loop,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._handed.put(call)

    def _begin_next(self) -> None:
        while self._pending:
            call, _ = self._pending.popitem(last=False)
            if not call.waiter.done():  # cancelled a moment ago
                self._begin(call)
                return

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (call := self._handed.get()) is not None:
            result, error = None, None
            call.timing.begun = time.perf_counter()
            try:
                result = call.work(call.argument)
            except Exception as raised:  # noqa: BLE001 - it is the caller's, on the other thread
                # A future cannot carry StopIteration.
                error = RuntimeError("StopIteration was raised") if isinstance(raised, StopIteration) else raised
            except BaseException as raised:  # noqa: BLE001 - sys.exit() in a model must not end its thread
                error = RuntimeError(f"{type(raised).__name__} was raised")
            call.timing.ended = time.perf_counter()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._end, call, result, error)
            del call, result, error

    def _end(self, call: _Call, result: Any, error: Exception | None) -> None:  # noqa: ANN401 - any result
        self._running -= 1
        self._begin_next()
        if call.waiter.done():
            return
        if error is None:
            call.waiter.set_result(result)
        else:
            call.waiter.set_exception(error)
