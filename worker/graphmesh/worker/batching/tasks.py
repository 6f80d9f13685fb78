"""Instances as tasks of the event loop, for async models that are batched."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from graphmesh.worker.batching.call import NEVER
from graphmesh.worker.batching.driver import Driver, alone, bind_requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from graphmesh.worker.batching.call import Batch, Call, Limits, Refusal
    from graphmesh.worker.metrics.counts import CallMetrics

    Compute: TypeAlias = Callable[[list[Call]], Awaitable[Sequence[Any]]]

__all__ = ["Tasks"]


class Tasks(Driver):
    """As many batches at once as a model has instances, each in a task of its own.

    A batch whose callers have all left is cancelled; if they leave before its task has its first turn, it never begins.

    Args:
        name: For messages.
        limits: Of the queue.
        metrics: Where batches and refusals are counted.
        compute: Runs the calls of a batch and returns what each gave, in their order.
    """

    def __init__(self, name: str, limits: Limits, metrics: CallMetrics, compute: Compute) -> None:
        super().__init__(name, limits, metrics)
        self._compute = compute
        self._count = limits.instances
        self._tasks: dict[asyncio.Task[None], tuple[Batch, list[Call]]] = {}  # and the calls not yet answered
        self._timer: asyncio.TimerHandle | None = None

    def _enter(self, call: Call, _loop: asyncio.AbstractEventLoop) -> Refusal | None:
        refusal = self._queue.push(call, call.asked)
        if refusal is None:
            self._pump()
        return refusal

    def _leave(self, call: Call) -> None:
        super()._leave(call)
        for task, (batch, unanswered) in self._tasks.items():
            if batch.started and call in unanswered and all(one.waiter.done() for one in unanswered):
                task.cancel()

    def _pump(self) -> None:
        """Start what can be started, and look again when a batch that gathers is due."""
        now = time.monotonic()
        while len(self._tasks) < self._count and (batch := self._queue.take(now)) is not None:
            unanswered = list(batch.calls)
            task = asyncio.create_task(self._run(batch, unanswered), name=self.name)
            self._tasks[task] = batch, unanswered
            task.add_done_callback(self._ended)
        for call, refusal in self._queue.dropped:
            self._refuse(call, refusal)
        self._queue.dropped.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._tasks) < self._count and (due := self._queue.ready_at(now)) != NEVER:
            self._timer = asyncio.get_running_loop().call_later(due - now, self._pump)

    def _ended(self, task: asyncio.Task[None]) -> None:
        batch, unanswered = self._tasks.pop(task)
        if unanswered:
            self._abandon(unanswered)
            batch.telling = False
        self._queue.done(batch, time.monotonic())
        self._pump()

    async def _run(self, batch: Batch, unanswered: list[Call]) -> None:
        """Run what is left of a batch and hand it back; call by call if it raises."""
        batch.started = True
        for call, refusal in self._leave_out(batch):
            self._refuse(call, refusal)
        unanswered[:] = batch.calls
        if not unanswered:
            return
        if await self._try(batch):
            await self._run_alone(unanswered)
        else:
            unanswered.clear()
            self._settle(batch)

    async def _run_alone(self, calls: list[Call]) -> None:
        """Run calls one by one, and take out of the list those that were answered."""
        while calls:
            call, now = calls[0], time.monotonic()
            refusal = self._queue.late(call, now)
            again = alone(call, now)
            if refusal is None and not call.waiter.done():
                await self._try(again)
            del calls[0]
            if refusal is None:
                self._settle(again)
            else:
                self._refuse(call, refusal)

    def _abandon(self, calls: list[Call]) -> None:
        """Note that calls were cancelled: by us, when their callers had left, or by the model itself."""
        self._open -= len(calls)
        for call in calls:
            if not call.waiter.done():
                call.waiter.set_exception(RuntimeError("the model cancelled its own task"))

    async def _try(self, batch: Batch) -> bool:
        """Run a batch and return whether its calls are to be run again."""
        bind_requests(batch.calls)
        try:
            for call, result in zip(batch.calls, await self._compute(batch.calls), strict=True):
                call.result = result
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the callers'
            again = self._again(batch, error)
        else:
            again = False
        ended = time.monotonic()
        batch.seconds = ended - batch.begun
        for call in batch.calls:
            call.ended = ended
        return again
