"""What a run needs of the process that runs it: calls, tasks side by side, a clock, and what is known of the mesh.

The worker's is in `graphmesh.worker`; tests have one of their own. Nothing in this package awaits anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.call import Call
    from graphmesh.graph.spec import Target

__all__ = ["CUT", "Answer", "Ended", "Host", "Signal", "Tasks"]

_T = TypeVar("_T")

CUT = "cut off by the call's deadline"
"""Why whatever is still running then is cancelled."""


@dataclass(slots=True)
class Answer:
    """The answer to one call; never changed once made."""

    outputs: Mapping[str, Tensor]
    """At least those that the call asked for."""
    degraded: tuple[str, ...] = ()
    """Steps of the called graph that answered with less than they should, as paths."""


@dataclass(frozen=True, slots=True)
class Ended(Generic[_T]):
    """One task that ended: `error` is None, or `result` is."""

    key: int
    """What it was started as."""
    result: _T | None
    """What it returned."""
    error: GraphmeshError | None
    """Why it failed; any exception is made one of ours."""


class Tasks(Protocol[_T]):
    """Coroutines that run side by side. Leaving the block cancels those that still run, and awaits them.

    They are told why, see `ending`: another answer came first, another failed, or the reason why all is cancelled.
    """

    async def __aenter__(self) -> Self:
        """Return the tasks, none started."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel and await what still runs."""
        ...

    def start(self, key: int, work: Coroutine[Any, Any, _T]) -> None:
        """Start a coroutine."""
        ...

    async def next(self, timeout_s: float = float("inf")) -> Ended[_T] | None:
        """Return one that has ended, each once; None if none does within ``timeout_s`` seconds, or none runs.

        Of several that have ended the one that did first; of several that ended at once, the one started first.
        """
        ...

    async def stop(self, keys: Iterable[int]) -> None:
        """Cancel and await these, if they run; `next` does not return them any more."""
        ...


class Signal(Protocol):
    """Something that happens once, and that calls which share no block of tasks wait for."""

    def set(self) -> None:
        """Let it happen: everyone who waits, now or later, goes on. Setting it again does nothing."""
        ...

    async def wait(self, timeout_s: float = float("inf")) -> bool:
        """Return True once it has happened, False if it does not within ``timeout_s`` seconds.

        Cancellation: only this one stops waiting.
        """
        ...


class Host(Protocol):
    """The process in which a graph runs."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def limit(self, at: float, late: str, *, cut: str = CUT) -> AbstractAsyncContextManager[object]:
        """Return a block that is cancelled at the instant ``at`` and then raises DeadlinePassed with the text ``late``.

        Must not be held over a `yield`. Whatever runs in it then is cancelled with a reason, see `ending`: a
        DeadlinePassed with the text ``cut``.
        """
        ...

    def tasks(self) -> Tasks[Any]:
        """Return a new block of tasks."""
        ...

    def signal(self) -> Signal:
        """Return a new signal, not set."""
        ...

    async def turn(self) -> None:
        """Let whatever else is due go on first: other calls, limits, a cancellation."""
        ...

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` where it does not hold up other calls, and return what it returns or raise what it raises.

        For work of more than about a millisecond; it may be on any thread, and reads no state that calls change.

        Cancellation: work that has not begun never does; work that has begins nothing further, and what it gives is
        dropped.
        """
        ...

    async def call(self, call: Call) -> Answer:
        """Make one call of a model or graph, in this process or through the mesh, until `Call.deadline`.

        Of the request whatever is called sees nothing but the parameters and headers of `Call.run`, which a cache
        narrows to what is in its key; the request's id and its trace go with every call.

        Raises:
            GraphmeshError: of whatever was called, unchanged.

        Cancellation: the call is cancelled, wherever it is.
        """
        ...

    def stream(self, call: Call) -> AsyncGenerator[Answer, None]:
        """Make one call and yield each of its answers as it is wanted; close what this returns. Raises as `call`."""
        ...

    def expected_s(self, target: Target) -> float:
        """Return the seconds that a call of this target takes at least half of the time; 0 while that is not known."""
        ...

    def versions(self, targets: Iterable[Target]) -> Hashable:
        """Return what would answer calls of these targets now.

        Equal values promise equal models: one that is loaded again under the same version, anywhere, is another.
        """
        ...
