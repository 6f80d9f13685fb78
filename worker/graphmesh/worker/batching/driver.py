"""What brings a queue to life: callers wait here, instances take from here.

`Threads` runs sync models, `Tasks` async ones. Both keep to these rules:

- A caller that leaves takes its call out of the queue, or out of the batch that was formed and has not begun; a call
  that runs goes on, and its context says that nobody waits.
- A batch that raises is run again one call at a time, so that only the call that is to blame fails.
- Closing lets what runs end and fails what waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import ModelNotReady, ModelProcessDied
from graphmesh.core.logs import bind_request_id
from graphmesh.worker.batching.call import NEVER, Batch, Call, Statistics
from graphmesh.worker.batching.queue import BatchQueue
from graphmesh.worker.batching.refusals import abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphmesh.worker.batching.call import Limits, Refusal, Timing
    from graphmesh.worker.metrics.counts import CallMetrics

__all__ = ["Driver", "alone", "bind_requests"]

logger = logging.getLogger(__name__)

_NAMED = 8
_TIMER_S = 0.002  # timers of uvloop are whole milliseconds and may be early


class Driver:
    """Runs the calls of one model; subclasses say on what."""

    def __init__(self, name: str, limits: Limits, metrics: CallMetrics) -> None:
        self.name = name
        """For messages and threads."""
        self._queue = BatchQueue(name, limits)
        self._metrics = metrics
        self._closed = False
        self._open = 0

    @property
    def statistics(self) -> Statistics:
        """The counts of this moment."""
        waiting = self._queue.waiting
        return Statistics(running=self._open - waiting, waiting=waiting)

    async def submit(self, call: Call) -> Any:  # noqa: ANN401 - whatever the model gives
        """Run a call and return what it gave; its timing is filled in.

        Raises:
            DeadlinePassed: it passed before the model was begun, or the model alone takes longer (DEADLINE_EXCEEDED,
                retry: no).
            Overloaded: too many wait, or it would wait or has waited too long (RESOURCE_EXHAUSTED, retry: other
                endpoint).
            ModelNotReady: closed (UNAVAILABLE, retry: other endpoint).
            Exception: what the model raised.

        Cancellation: a waiting call leaves the queue at once; a running one keeps its instance until it returns, and
        its context is told.
        """
        if self._closed:
            raise self._closing()
        loop = asyncio.get_running_loop()
        call.waiter = loop.create_future()
        refusal = self._enter(call, loop)
        if refusal is not None:
            self._metrics.refuse(refusal.reason)
            raise refusal.error
        self._open += 1
        timer = None
        if call.start_by != NEVER:
            timer = loop.call_later(call.start_by - call.asked + _TIMER_S, self._give_up, call)
        try:
            return await call.waiter
        except asyncio.CancelledError:
            self._leave(call)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def run(self, work: Callable[[Any], Any], argument: Any) -> tuple[Any, Timing]:  # noqa: ANN401 - any work
        """Run ``work(argument)`` on an instance, as a call that can share no batch; return its result and times.

        Raises and is cancelled as `submit`.
        """
        call = Call(argument, time.monotonic())
        call.work = work
        return await self.submit(call), call

    def close(self) -> None:
        """Let the instances end after their batches; calls still waiting fail with ModelNotReady."""
        self._closed = True
        for call in self._clear():
            self._open -= 1
            if not call.waiter.done():
                call.waiter.set_exception(self._closing())

    def _enter(self, call: Call, loop: asyncio.AbstractEventLoop) -> Refusal | None:
        """Put a call into the queue and wake an instance, or say why not."""
        raise NotImplementedError

    def _remove(self, call: Call) -> bool:
        """Take a call out of the queue, and return whether it was there."""
        return self._queue.remove(call)

    def _clear(self) -> list[Call]:
        """Take all calls out of the queue."""
        return self._queue.clear()

    def _leave(self, call: Call) -> None:
        if self._remove(call):
            self._open -= 1
            self._metrics.refuse("cancelled")
        elif call.context is not None:
            call.context.cancel()

    def _give_up(self, call: Call) -> None:
        """Refuse a call that waits longer than it was willing to."""
        if call.waiting and (refusal := self._queue.late(call, time.monotonic())) and self._remove(call):
            self._refuse(call, refusal)

    def _refuse(self, call: Call, refusal: Refusal) -> None:
        self._open -= 1
        self._metrics.refuse(refusal.reason)
        if not call.waiter.done():
            call.waiter.set_exception(refusal.error)

    def _leave_out(self, batch: Batch) -> list[tuple[Call, Refusal]]:
        """Take calls that have ended out of a batch that is about to begin, and return them with why.

        A caller that is cancelled ends its call at once, but hears of it only in its next turn, and until then the
        call is in the queue: it may have been taken from there, or be taken now.
        """
        calls, ended = batch.calls, [call.waiter.done() for call in batch.calls]
        if not any(ended):
            return []
        batch.narrow([call for call, gone in zip(calls, ended, strict=True) if not gone])
        batch.expected_s = self._queue.costs.seconds(batch.cost)
        batch.telling = bool(batch.calls)
        return [(call, abandoned(self.name)) for call, gone in zip(calls, ended, strict=True) if gone]

    def _settle(self, batch: Batch) -> None:
        """Give the callers of a batch what became of them, on the event loop."""
        if batch.seconds:
            self._metrics.batch(batch.rows, len(batch.calls), batch.seconds)
        self._open -= len(batch.calls)
        for call in batch.calls:
            self._metrics.queue.add(call.begun - call.asked)
            waiter = call.waiter
            if waiter.done():
                continue
            if call.error is None:
                waiter.set_result(call.result)
            else:
                waiter.set_exception(call.error)

    def _again(self, batch: Batch, error: BaseException) -> bool:
        """Return whether a batch that raised is to be run again call by call; if not, its calls have the error.

        If the model's process died, there is none to run them in; who is to blame is found out where the next one is.
        """
        batch.telling = False
        if len(batch.calls) > 1 and not isinstance(error, ModelProcessDied):
            logger.warning("batch failed, its calls run alone queue=%r calls=%d", self.name, len(batch.calls))
            return True
        for call in batch.calls:
            call.error = _carried(error)
        return False

    def _closing(self) -> ModelNotReady:
        return ModelNotReady(f"{self.name} is being unloaded")


def alone(call: Call, now: float) -> Batch:
    """Return the batch of one call that is run again."""
    call.batch_rows = call.rows
    batch = Batch([call], now)
    batch.rows, batch.cost = call.rows, call.cost
    return batch


def bind_requests(calls: Sequence[Call]) -> None:
    """Let what the model logs belong to the requests that it runs, the first few of a large batch."""
    if len(calls) == 1:
        bind_request_id(calls[0].request_id)
    else:
        bind_request_id(",".join([call.request_id for call in calls[:_NAMED] if call.request_id]))


def _carried(error: BaseException) -> Exception:
    """Return what a future can carry: neither StopIteration nor what ends a process or a task."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"{type(error).__name__} was raised")
