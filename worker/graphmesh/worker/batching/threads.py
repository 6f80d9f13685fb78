"""Instances as threads, for sync models.

Under load a call costs no switch between threads of its own: a thread takes the next batch itself, without asking the
event loop, and what has ended by the time the loop looks is handed back in one go. Half the CPU time of handing each
call over and back, measured with a trivial model. A thread that finds nothing sleeps until it is given a token, or
until the batch that gathers is due.

The threads are daemons: a model that hangs must not keep the process alive.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from graphmesh.worker.batching.call import NEVER
from graphmesh.worker.batching.driver import Driver, alone, bind_requests

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from graphmesh.worker.batching.call import Batch, Call, Limits, Refusal
    from graphmesh.worker.metrics.counts import CallMetrics

    Compute: TypeAlias = Callable[[list[Call]], Sequence[Any]]

__all__ = ["Threads"]


class Threads(Driver):
    """As many daemon threads as a model has instances, started when they are first needed.

    Args:
        name: For messages and the threads.
        limits: Of the queue; its instances are the threads.
        metrics: Where batches and refusals are counted.
        compute: Runs the calls of a batch and returns what each gave, in their order.
    """

    def __init__(self, name: str, limits: Limits, metrics: CallMetrics, compute: Compute) -> None:
        super().__init__(name, limits, metrics)
        self._compute = compute
        self._count = limits.instances
        self._lock = threading.Lock()  # of the queue and of `_idle`
        self._idle = 0
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ended: deque[Batch | tuple[Call, Refusal]] = deque()
        self._woken = False
        self._started = 0

    def close(self) -> None:
        """Let the threads end after their batches; calls still waiting fail with ModelNotReady."""
        super().close()
        for _ in range(self._started):
            self._tokens.put(None)

    def _enter(self, call: Call, loop: asyncio.AbstractEventLoop) -> Refusal | None:
        with self._lock:
            now = call.asked
            refusal = self._queue.push(call, now)
            if refusal is not None:
                return refusal
            if self._idle:
                if self._queue.ready_at(now) <= now or call.deadline != NEVER:  # a deadline may make it due sooner
                    self._idle -= 1
                    self._tokens.put(None)
                return None
        if self._started < self._count:
            self._start(loop)
        return None

    def _remove(self, call: Call) -> bool:
        with self._lock:
            return super()._remove(call)

    def _clear(self) -> list[Call]:
        with self._lock:
            return super()._clear()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        name = f"{self.name}-{self._started}"
        self._started += 1
        threading.Thread(target=self._work, args=(loop,), name=name, daemon=True).start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        ended: Batch | None = None
        while ended is not None or not self._closed:
            now = time.monotonic()
            with self._lock:
                if ended is not None:
                    self._queue.done(ended, now)
                    # Not sooner: its callers may ask again at once, and must not be told to wait for what has ended.
                    if ended.calls:
                        self._ended.append(ended)
                        self._wake(loop)
                    ended = None
                batch = None if self._closed else self._queue.take(now)
                if batch is not None:
                    self._queue.dropped.extend(self._leave_out(batch))
                if self._queue.dropped:
                    self._ended.extend(self._queue.dropped)
                    self._queue.dropped.clear()
                    self._wake(loop)
                if batch is None:
                    self._idle += 1
                    due = self._queue.ready_at(now)
            if batch is None:
                self._sleep(None if due == NEVER else max(0.0, due - now))
                continue
            if batch.calls and self._try(batch):
                self._run_alone(batch, loop)
            ended, batch = batch, None

    def _sleep(self, seconds: float | None) -> None:
        """Wait for a token; it was counted out of the idle ones by whoever gave it."""
        try:
            self._tokens.get(timeout=seconds)
        except queue.Empty:
            with self._lock:
                try:
                    self._tokens.get_nowait()
                except queue.Empty:
                    self._idle -= 1

    def _run_alone(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        """Run the calls of a batch one by one and hand them back; nothing is left of it then."""
        for call in batch.calls:
            now = time.monotonic()
            with self._lock:
                refusal = self._queue.late(call, now)
            if refusal is not None:
                self._ended.append((call, refusal))
            else:
                again = alone(call, now)
                if not call.waiter.done():
                    self._try(again)
                self._ended.append(again)
            self._wake(loop)
        batch.narrow([])

    def _try(self, batch: Batch) -> bool:
        """Run a batch and return whether its calls are to be run again."""
        calls = batch.calls
        bind_requests(calls)
        try:
            work = calls[0].work
            if work is None:
                for call, result in zip(calls, self._compute(calls), strict=True):
                    call.result = result
            else:
                batch.telling = False
                calls[0].result = work(calls[0].inputs)
        except BaseException as error:  # noqa: BLE001 - it is the callers', and sys.exit() must not end the thread
            again = self._again(batch, error)
        else:
            again = False
        ended = time.monotonic()
        batch.seconds = ended - batch.begun
        for call in calls:
            call.ended = ended
        return again

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop hand back what has ended, unless it will do so already."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._hand_back)

    def _hand_back(self) -> None:
        self._woken = False  # first: what ends from here on wakes the loop again
        while self._ended:
            one = self._ended.popleft()
            if isinstance(one, tuple):
                self._refuse(*one)
            else:
                self._settle(one)
