"""Ends calls whose caller left or whose deadline passed, for a server that does neither.

A call runs in the server's own task; a watch cancels that task. Most calls are over before anyone could lose
patience, and only the others are worth the price of a timer and of listening to the connection. So calls start out
young: entering and leaving a watch is one entry in a dictionary. A sweep, at most every `_PATIENCE_S`, gives the calls
that are older a listener and a timer of their own::

    young -- sweep --> old: caller leaves -> Cancelled, deadline passes -> DeadlinePassed

A caller that leaves, or a deadline, is thus noticed at most two sweeps late.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from graphmesh.core.errors import Cancelled, DeadlinePassed

if TYPE_CHECKING:
    from types import TracebackType

    from graphmesh.core.clock import Deadline

__all__ = ["Connection", "Watches"]

_PATIENCE_S = 0.005
_NEVER = float("inf")


class Connection(Protocol):
    """The caller's side, as granian offers it."""

    def client_disconnect(self) -> asyncio.Future[Any]:
        """Return a future that is done when the caller is gone, at once if it is gone already."""
        ...


class Watches:
    """All calls of a shell that are being watched; belongs to one event loop."""

    def __init__(self) -> None:
        self._young: dict[_Watch, float] = {}
        self._sweeping = False

    def watch(self, connection: Connection, deadline: Deadline) -> _Watch:
        """Return the watch over a call, to be used as a context manager around its work.

        Raises, on leaving it:
            DeadlinePassed: the deadline passed and the work was cancelled (DEADLINE_EXCEEDED, retry: no).
            Cancelled: the caller left and the work was cancelled (CANCELLED, retry: no).
        """
        return _Watch(self, connection, deadline.at)

    def begin(self, watch: _Watch) -> None:
        """Take a call as young."""
        loop = asyncio.get_running_loop()
        self._young[watch] = loop.time()
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(_PATIENCE_S, self._sweep, loop)

    def end(self, watch: _Watch) -> None:
        """Forget a call, young or not."""
        self._young.pop(watch, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the calls that have been young for long enough grow old; entries are in the order they began."""
        old = loop.time() - _PATIENCE_S
        for watch in [watch for watch, began in self._young.items() if began <= old]:
            del self._young[watch]
            watch.grow_old(loop)
        self._sweeping = bool(self._young)
        if self._sweeping:
            loop.call_later(_PATIENCE_S, self._sweep, loop)


class _Watch:
    __slots__ = ("_connection", "_deadline", "_gone", "_reason", "_task", "_timer", "_watches")

    _task: asyncio.Task[Any]

    def __init__(self, watches: Watches, connection: Connection, deadline: float) -> None:
        self._watches = watches
        self._connection = connection
        self._deadline = deadline
        self._gone: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reason: Cancelled | DeadlinePassed | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a watch must be entered in a task"  # noqa: S101
        self._task = task
        self._watches.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watches.end(self)
        if self._gone is not None:
            self._gone.remove_done_callback(self._left)
            self._gone.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._reason is None:
            return
        if self._task.uncancel() == 0 and isinstance(error, asyncio.CancelledError):
            raise self._reason from error

    def grow_old(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen to the connection, and set a timer if there is a deadline."""
        self._gone = self._connection.client_disconnect()
        self._gone.add_done_callback(self._left)
        if self._deadline != _NEVER:
            self._timer = loop.call_at(self._deadline, self._late)

    def _left(self, _gone: asyncio.Future[Any]) -> None:
        self._end(Cancelled("the caller left"))

    def _late(self) -> None:
        self._end(DeadlinePassed("the deadline passed before the answer was there"))

    def _end(self, reason: Cancelled | DeadlinePassed) -> None:
        if self._reason is None:
            self._reason = reason
            self._task.cancel()
