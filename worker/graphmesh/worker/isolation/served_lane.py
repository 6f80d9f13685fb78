"""A lane inside a model's process: takes a call, runs it, answers.

What the model was given are views of an arena that the worker writes to again. So before the last answer of a call
leaves, nothing here refers to them any more; if they are alive all the same, the model keeps them, and the answer says
so: that arena is then the model's.
"""

from __future__ import annotations

import contextlib
import traceback
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from graphmesh.core.errors import Cancelled, Code, GraphmeshError, Overloaded
from graphmesh.worker.isolation.arena import Arena, attach, create
from graphmesh.worker.isolation.connection import Connection, Lost, Unreadable, Unsendable
from graphmesh.worker.isolation.messages import Answer, Close, Failure, Next, Run, TensorMeta
from graphmesh.worker.isolation.tensors import pack, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.hosting.context import Context

__all__ = ["SLOTS", "FromWorker", "Runs", "ServedLane"]

SLOTS = 3
"""Answer arenas of a lane that are used again: one is written while callers still read the others."""

_LONGEST_TRACE = 1 << 16

FromWorker: TypeAlias = Connection[Run | Next | Close]


class Runs(Protocol):
    """What runs calls."""

    @property
    def streaming(self) -> bool:
        """Whether a call has any number of answers."""
        ...

    def answers(self, inputs: Mapping[str, Tensor], run: Run, contexts: list[Context]) -> Any:  # noqa: ANN401
        """Return an iterator over what the model gives, and fill in the contexts it was given."""
        ...

    def ended(self, run: Run) -> None:
        """Forget a run's calls."""
        ...


@dataclass(slots=True)
class _Prepared:
    """An answer that refers to nothing of the model's."""

    metas: list[TensorMeta]
    inline: bytes | None
    new: Arena | None
    headers: list[dict[str, str]]
    ended: bool = False
    slot: int = -1


class ServedLane:
    """One connection, one call at a time."""

    def __init__(self, connection: FromWorker, runs: Runs) -> None:
        self._connection = connection
        self._runs = runs
        self._inputs: Arena | None = None
        self._slots: list[Arena | None] = [None] * SLOTS

    def serve(self) -> None:
        """Answer calls until the connection ends.

        Raises:
            Lost: it has ended.
        """
        while True:
            try:
                message, fds = self._connection.receive()
            except Unreadable as error:
                self._inputs = None  # an arena may have come with it
                self._connection.send(Failure(int(Code.INTERNAL), f"a call cannot be read: {error}", 0.0, kept=True))
                continue
            if not isinstance(message, Run):
                raise Lost("a call must begin with a run")
            if fds:
                self._inputs = attach(fds[0])
            try:
                last = self._run(message)
            finally:
                self._runs.ended(message)
            self._send_last(last)

    def _run(self, run: Run) -> _Prepared | Failure:
        """Return what is to be sent last; by then the frames that knew the inputs are gone."""
        contexts: list[Context] = []
        slot = run.slot
        try:
            with contextlib.closing(self._runs.answers(self._read(run), run, contexts)) as answers:
                for outputs in answers:
                    prepared = self._prepare(outputs, slot, contexts)
                    if not self._runs.streaming:
                        return prepared
                    self._send(prepared, kept=False)
                    message, _ = self._connection.receive()
                    if not isinstance(message, Next):
                        break
                    slot = message.slot
        except Lost:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a model must not end its lane
            return _failure(error)
        return _Prepared([], b"", None, [], ended=True)

    def _read(self, run: Run) -> dict[str, Tensor]:
        if run.inline is not None:
            return read_tensors(run.tensors, np.frombuffer(run.inline, np.uint8))
        if self._inputs is None:
            raise Lost("there is no arena")
        return read_tensors(run.tensors, self._inputs.root)

    def _prepare(self, outputs: Mapping[str, Tensor], slot: int, contexts: list[Context]) -> _Prepared:
        headers = [dict(context.response_headers) for context in contexts]
        parcel = pack({name: np.asarray(array) for name, array in outputs.items()})
        if parcel.small:
            return _Prepared(parcel.metas, parcel.inline(), None, headers)
        arena, new = self._slots[slot] if slot >= 0 else None, None
        if arena is None or len(arena) < parcel.size:
            arena = new = create(parcel.size)
        try:
            parcel.write(arena.root)
        except BaseException:
            if new is not None:
                new.close()
            raise
        return _Prepared(parcel.metas, None, new, headers, slot=slot)

    def _send(self, prepared: _Prepared, *, kept: bool) -> None:
        fds = () if prepared.new is None else (prepared.new.fd,)
        answer = Answer(prepared.metas, prepared.inline, prepared.headers, prepared.ended, kept)
        try:
            self._connection.send(answer, *fds)
        finally:
            if prepared.new is not None:
                prepared.new.close()
        if prepared.new is not None and prepared.slot >= 0:
            self._slots[prepared.slot] = prepared.new  # only now: the worker has it too

    def _send_last(self, last: _Prepared | Failure) -> None:
        kept = self._inputs is not None and self._inputs.held
        if kept:
            self._inputs = None
        if isinstance(last, Failure):
            self._connection.send(Failure(last.code, last.message, last.retry_after_s, kept))
            return
        try:
            self._send(last, kept=kept)
        except Unsendable as error:
            self._connection.send(Failure(-1, f"an answer cannot be sent: {error}", 0.0, kept))


def _failure(error: BaseException) -> Failure:
    if isinstance(error, CancelledError):
        error = Cancelled("the caller left")
    if isinstance(error, GraphmeshError):
        retry_after_s = error.retry_after_s if isinstance(error, Overloaded) else 0.0
        return Failure(int(error.code), _plain(error.message[:_LONGEST_TRACE]), retry_after_s, kept=False)
    trace = "".join(traceback.format_exception(error))
    return Failure(-1, _plain(trace[-_LONGEST_TRACE:]), 0.0, kept=False)


def _plain(text: str) -> str:
    """Return a text that can be sent: without lone surrogates."""
    return text.encode(errors="replace").decode()
