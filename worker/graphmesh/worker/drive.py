"""Time and tasks for runs of graphs, by asyncio: the half of a graph's host that knows nothing of models.

Cancellation reaches everything that was started, before anything else has a turn: no step goes on to its next call, no
queue takes a call, once the request is cancelled. All of it is awaited, whatever else happens meanwhile, so that
nothing of a request outlives it. Each cancellation says why (`graphmesh.graph.running.ending`). What makes another one
of it on its way, as gRPC does, loses that: it is kept beside the task, too.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from graphmesh.core.errors import Cancelled, DeadlinePassed, GraphmeshError
from graphmesh.core.status import as_graphmesh_error
from graphmesh.graph.running.ending import why
from graphmesh.graph.running.host import CUT, Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from contextvars import Context
    from types import TracebackType

__all__ = ["AsyncSignal", "AsyncTasks", "Drive", "Limit", "told"]

_T = TypeVar("_T")
_NEVER = float("inf")
_FIRST = Cancelled("another answer came first")
_REASONS: WeakKeyDictionary[asyncio.Task[Any], GraphmeshError] = WeakKeyDictionary()
_FAILED = Cancelled("another step or branch failed")


class Drive:
    """The clock, tasks and limits of one request."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def tasks(self) -> AsyncTasks[Any]:
        """Return a new block of tasks."""
        return AsyncTasks(self._loop)

    def limit(self, at: float, late: str, *, cut: str = CUT) -> Limit:
        """Return a block that is cancelled at the instant ``at``; see `graphmesh.graph.running.host.Host`."""
        return Limit(self._loop, at, late, cut, now=self.now())

    def signal(self) -> AsyncSignal:
        """Return a new signal, not set."""
        return AsyncSignal()

    async def turn(self) -> None:
        """Let whatever else is due go on first."""
        await asyncio.sleep(0)

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` on a thread."""
        return await self._loop.run_in_executor(None, work)


class AsyncSignal:
    """Something that happens once; see `graphmesh.graph.running.host.Signal`."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Let it happen."""
        self._event.set()

    async def wait(self, timeout_s: float = _NEVER) -> bool:
        """Return True once it has happened, False if it does not within ``timeout_s`` seconds."""
        if timeout_s == _NEVER or self._event.is_set():
            return await self._event.wait()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._event.wait()
        except TimeoutError:
            return False


class Limit:
    """A block that is cancelled at an instant and then raises DeadlinePassed: `asyncio.timeout_at` at half the cost.

    Args:
        loop: The event loop.
        at: Monotonic seconds; infinity for no limit.
        late: What DeadlinePassed says.
        cut: What whatever runs in it is told when it is cancelled.
        now: Monotonic seconds.
    """

    __slots__ = ("_at", "_cancelling", "_cut", "_expired", "_late", "_loop", "_now", "_task", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, at: float, late: str, cut: str, *, now: float) -> None:
        self._loop = loop
        self._at = at
        self._late = late
        self._cut = cut
        self._now = now
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        """Begin the block, unless the instant has passed."""
        if self._at <= self._now:
            raise DeadlinePassed(self._late)
        if self._at < _NEVER:
            task = asyncio.current_task()
            assert task is not None, "a limit must be set in a task"  # noqa: S101
            self._task = task
            self._cancelling = task.cancelling()
            self._timer = self._loop.call_at(self._loop.time() + self._at - self._now, self._expire)

    def _expire(self) -> None:
        self._expired = True
        _cancel(self._task, DeadlinePassed(self._cut))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the block."""
        if self._timer is None:
            return
        self._timer.cancel()
        if self._expired:
            _REASONS.pop(self._task, None)
        if self._expired and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise DeadlinePassed(self._late) from error


class AsyncTasks(Generic[_T]):
    """Coroutines side by side; see `graphmesh.graph.running.host.Tasks`."""

    __slots__ = ("_cancelled", "_ended", "_loop", "_order", "_running", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._order = 0
        self._running: dict[asyncio.Task[_T], tuple[int, int]] = {}  # the order of its start, and its key
        self._ended: list[tuple[float, int, int, asyncio.Task[_T]]] = []
        self._waiter: _Waiter | None = None
        self._cancelled: set[asyncio.Task[_T]] = set()  # each once: a second time would cut off how they end

    async def __aenter__(self) -> Self:
        """Return the tasks, none started."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel and await what still runs."""
        if self._running:
            await self._end(list(self._running), _FIRST if error is None else _reason(error))
        self._ended.clear()

    def start(self, key: int, work: Coroutine[Any, Any, _T]) -> None:
        """Start a coroutine."""
        task = self._loop.create_task(work)
        self._running[task] = (self._order, key)
        self._order += 1
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[_T]) -> None:
        if not task.cancelled():
            task.exception()  # seen, whether anybody asks for it or not
        started = self._running.pop(task, None)
        if started is None:
            return
        self._ended.append((self._loop.time(), *started, task))
        if self._waiter is not None:  # after others that ended at the same time
            self._loop.call_soon(self._waiter.go_on)

    async def next(self, timeout_s: float = _NEVER) -> Ended[_T] | None:
        """Return one that has ended, each once; None if none does within ``timeout_s`` seconds, or none runs."""
        if not self._ended and self._running and timeout_s > 0:
            await self._wait(timeout_s)
        if not self._ended:
            return None
        first = min(self._ended, key=lambda entry: entry[:2])
        self._ended.remove(first)
        return _ended(first[2], first[3])

    async def _wait(self, timeout_s: float) -> None:
        self._waiter = waiter = _Waiter(self._cancel_all, loop=self._loop)
        timer = self._loop.call_later(timeout_s, waiter.go_on) if timeout_s < _NEVER else None
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    async def stop(self, keys: Iterable[int]) -> None:
        """Cancel and await these, if they run; `next` does not return them any more."""
        wanted = set(keys)
        self._ended = [entry for entry in self._ended if entry[2] not in wanted]
        tasks = [task for task, (_, key) in self._running.items() if key in wanted]
        if tasks:
            await self._end(tasks, _FIRST)

    def _cancel_all(self, reason: object) -> None:
        self._cancel(list(self._running), reason)

    def _cancel(self, tasks: Iterable[asyncio.Task[_T]], reason: object) -> None:
        for task in tasks:
            if task not in self._cancelled:
                self._cancelled.add(task)
                _cancel(task, reason)

    async def _end(self, tasks: list[asyncio.Task[_T]], reason: GraphmeshError) -> None:
        """Cancel and await tasks, also if we ourselves are cancelled on the way."""
        self._cancel(tasks, reason)
        for task in tasks:
            self._running.pop(task, None)
        cancelled: asyncio.CancelledError | None = None
        while left := [task for task in tasks if not task.done()]:
            try:
                await self._all_done(left)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _all_done(self, tasks: list[asyncio.Task[_T]]) -> None:
        waiter, left = _Waiter(self._cancel_all, loop=self._loop), len(tasks)

        def one_done(_: asyncio.Task[_T]) -> None:
            nonlocal left
            left -= 1
            if not left:
                waiter.go_on()

        for task in tasks:
            task.add_done_callback(one_done)
        await waiter


class _Waiter(asyncio.Future[None]):
    """What whoever runs tasks waits for, so that a cancellation reaches the tasks at once and not some turns later.

    Cancelled, it has the tasks cancelled before anything else runs. A common future would not even hear of a
    cancellation between its result and the turn in which its waiter goes on: this one lets the waiter go on at once.
    """

    def __init__(self, cancel_all: Callable[[object], None], *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._cancel_all = cancel_all
        self._wake: Callable[[Any], object] | None = None
        self._context: Context | None = None

    def add_done_callback(self, fn: Callable[[Self], object], /, *, context: Context | None = None) -> None:
        """Keep what lets the only waiter go on."""
        self._wake, self._context = fn, context

    def go_on(self) -> None:
        """Let the waiter go on; to be called from a callback, outside of any task."""
        if not self.done():
            self.set_result(None)
            if self._wake is not None:
                (self._context or copy_context()).run(self._wake, self)

    def cancel(self, msg: object = None) -> bool:
        """Cancel the tasks, and let the waiter hear of it in the next turn."""
        if self.done():
            return False
        self._cancel_all(msg)
        super().cancel(msg)
        if self._wake is not None:
            self.get_loop().call_soon(self._wake, self, context=self._context)
        return True


def told(error: BaseException) -> BaseException:
    """Return a cancellation of the running task with the reason that it was given, any other error as it is."""
    if not isinstance(error, asyncio.CancelledError) or error.args:
        return error
    task = asyncio.current_task()
    reason = None if task is None else _REASONS.get(task)
    return error if reason is None else asyncio.CancelledError(reason)


def _cancel(task: asyncio.Task[Any], reason: object) -> None:
    if isinstance(reason, GraphmeshError):
        _REASONS[task] = reason
    task.cancel(reason)


def _reason(error: BaseException) -> GraphmeshError:
    """Return what tasks are told that are cancelled because of an error."""
    return _FAILED if isinstance(error, Exception) else why(error)


def _ended(key: int, task: asyncio.Task[_T]) -> Ended[_T]:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        return Ended(key, None, as_graphmesh_error(error))
    return Ended(key, task.result(), None)
