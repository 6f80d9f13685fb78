"""Runs the calls of an isolated model, inside its process: one thread a lane, one event loop for an async `predict`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import Cancelled
from graphmesh.core.logs import bind_request_id
from graphmesh.worker.hosting.context import Context
from graphmesh.worker.isolation.connection import Lost
from graphmesh.worker.isolation.served_lane import ServedLane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends import LoadedModel
    from graphmesh.worker.isolation.messages import Call, Run
    from graphmesh.worker.isolation.served_lane import FromWorker

__all__ = ["Host"]

logger = logging.getLogger(__name__)

_END = object()
_MOST_LEFT = 4096


class _Calls:
    """The calls of one run, and what it does on the event loop: cancelled once all the callers have left."""

    __slots__ = ("_step", "contexts")

    def __init__(self, contexts: list[Context]) -> None:
        self.contexts = contexts
        self._step: asyncio.Task[Any] | None = None

    @property
    def left(self) -> bool:
        """Whether nobody wants the answer."""
        return bool(self.contexts) and all(context.cancelled for context in self.contexts)

    def take(self, step: asyncio.Task[Any] | None) -> None:
        """Note what runs on the loop now."""
        self._step = step
        self.look()

    def look(self) -> None:
        """Cancel what runs if nobody wants it."""
        step = self._step
        if step is not None and self.left:
            step.get_loop().call_soon_threadsafe(step.cancel)


class Host:
    """A loaded model and its calls."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._lock = threading.Lock()  # of the two below
        self._running: dict[int, tuple[Context, _Calls]] = {}
        self._left: OrderedDict[int, None] = OrderedDict()
        self._loop = asyncio.new_event_loop()
        if loaded.is_async:
            threading.Thread(target=self._loop.run_forever, name="event loop", daemon=True).start()

    def cancel(self, number: int) -> None:
        """Tell a call that its caller has left, also one that has yet to come; no effect if it has ended."""
        with self._lock:
            found = self._running.get(number)
            if found is None:
                self._left[number] = None
                if len(self._left) > _MOST_LEFT:
                    self._left.popitem(last=False)
                return
        context, calls = found
        try:
            context.cancel()
            calls.look()
        except Exception:
            logger.exception("a call could not be cancelled")

    def unload(self) -> None:
        """Give back what the model holds."""
        try:
            self._loaded.unload()
        except Exception:
            logger.exception("model failed to unload")

    def serve(self, connection: FromWorker) -> None:
        """Run the calls of one lane until it ends."""
        try:
            with contextlib.suppress(Lost):
                ServedLane(connection, self).serve()
        finally:
            connection.close()

    @property
    def streaming(self) -> bool:
        """Whether a call has any number of answers."""
        return self._loaded.signature.streaming

    def answers(self, inputs: Mapping[str, Tensor], run: Run, contexts: list[Context]) -> Any:  # noqa: ANN401 - any iterator that can be closed
        """Return an iterator over what the model gives: one mapping, or each of a stream.

        Raises:
            Cancelled: nobody wants it any more (CANCELLED, retry: no).
        """
        calls = self._begin(run, contexts)
        if calls.left:
            raise Cancelled("the caller left")
        bind_request_id(run.calls[0].request_id if len(run.calls) == 1 else "")
        arguments = (inputs, contexts) if self._loaded.wants_context else (inputs,)
        if self._loaded.is_async:
            return self._async_answers(self._loaded.run(*arguments), calls)
        return self._loaded.run(*arguments) if self.streaming else self._once(arguments)

    def _begin(self, run: Run, contexts: list[Context]) -> _Calls:
        contexts.extend(map(_context, run.calls))
        calls = _Calls(contexts)
        with self._lock:
            for call, context in zip(run.calls, contexts, strict=True):
                if call.cancelled or call.number in self._left:
                    context.cancel()
                self._running[call.number] = context, calls
        return calls

    def _once(self, arguments: Sequence[Any]) -> Generator[Any, None, None]:
        yield self._loaded.run(*arguments)

    def _async_answers(self, running: Any, calls: _Calls) -> Generator[Any, None, None]:  # noqa: ANN401
        if not self.streaming:
            yield self._on_loop(running, calls)
            return
        try:
            while (answer := self._on_loop(anext(running, _END), calls)) is not _END:
                yield answer
        finally:
            self._on_loop(running.aclose(), None)

    def _on_loop(self, work: Awaitable[Any], calls: _Calls | None) -> Any:  # noqa: ANN401
        """Wait for work on the event loop, until it has ended also if it is cancelled."""

        async def awaited() -> Any:  # noqa: ANN401
            if calls is None:
                return await work
            calls.take(asyncio.current_task())
            try:
                return await work
            finally:
                calls.take(None)

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    def ended(self, run: Run) -> None:
        """Forget a run's calls."""
        with self._lock:
            for call in run.calls:
                self._running.pop(call.number, None)
                self._left.pop(call.number, None)


def _context(call: Call) -> Context:
    return Context(
        model=call.model,
        version=call.version,
        request_id=call.request_id,
        deadline=Deadline.after(call.remaining_s),
        headers=call.headers,
        parameters=call.parameters,
        rows=call.rows,
    )
