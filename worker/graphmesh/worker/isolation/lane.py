"""A lane in the worker: hands a call to a model's process and waits for its answers, on the thread that calls it.

A thread that waits by itself costs one switch of process each way and none of threads. The lane owns an arena for
inputs, and knows which answer arenas its callers have let go of; see `arena`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from graphmesh.core.errors import InvalidRequest, InvalidTensor, Overloaded, from_code
from graphmesh.worker.isolation.arena import Arena, attach, create
from graphmesh.worker.isolation.connection import Connection, Lost, Unsendable
from graphmesh.worker.isolation.messages import Answer, Close, Failure, Next, Run
from graphmesh.worker.isolation.served_lane import SLOTS
from graphmesh.worker.isolation.tensors import pack, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.hosting.context import Context
    from graphmesh.worker.isolation.messages import Call
    from graphmesh.worker.isolation.tensors import Parcel

__all__ = ["FromProcess", "Lane", "RaisedApart"]

logger = logging.getLogger(__name__)

FromProcess: TypeAlias = Connection[Answer | Failure]


class RaisedApart(Exception):
    """What a model raised in its process; the text is its traceback."""


class Lane:
    """One connection, one call at a time."""

    def __init__(self, connection: FromProcess) -> None:
        self._connection = connection
        self._inputs: Arena | None = None
        self._slots: list[Arena | None] = [None] * SLOTS
        self._slot = -1
        self.contexts: Sequence[Context] = ()
        """Of the call that runs."""

    def begin(self, inputs: Mapping[str, Tensor], calls: list[Call]) -> None:
        """Send a call.

        Raises:
            Lost: the process is gone.
            InvalidTensor: a dtype that no datatype stands for (INVALID_ARGUMENT, retry: no).
            InvalidRequest: the call's headers or parameters cannot be sent (INVALID_ARGUMENT, retry: no).
        """
        parcel = pack(inputs)
        self._slot = self._free_slot()
        try:
            if parcel.small:
                self._connection.send(Run(parcel.metas, parcel.inline(), calls, self._slot))
            else:
                self._share(parcel, calls)
        except Unsendable as error:
            raise InvalidRequest(f"headers and parameters of a call must be plain and short: {error}") from error

    def _share(self, parcel: Parcel, calls: list[Call]) -> None:
        """Send a call whose inputs are in the arena; another arena is the lane's once it was sent whole."""
        arena = self._inputs
        fds: tuple[int, ...] = ()
        if arena is None or len(arena) < parcel.size:
            arena = create(parcel.size)
            fds = (arena.fd,)
        try:
            parcel.write(arena.root)
            self._connection.send(Run(parcel.metas, None, calls, self._slot), *fds)
        finally:
            if fds:
                arena.close()
        self._inputs = arena

    def answer(self) -> Mapping[str, Tensor] | None:
        """Wait for an answer; None at the end of a stream.

        Raises:
            Lost: the process is gone, or does not keep to the protocol.
            RaisedApart: the model raised.
            GraphmeshError: the model raised one.
        """
        message, fds = self._connection.receive()
        try:
            arenas = [attach(fd) for fd in fds]
        except (OSError, ValueError) as error:
            raise Lost(str(error)) from error
        if message.kept:
            self._inputs = None
        if isinstance(message, Failure):
            raise _error(message)
        for context, headers in zip(self.contexts, message.headers, strict=False):
            _take_headers(headers, context)
        if message.ended:
            return None
        try:
            return self._read(message, arenas)
        except InvalidTensor as error:
            raise Lost(error.message) from error

    def _read(self, message: Answer, arenas: list[Arena]) -> Mapping[str, Tensor]:
        if message.inline is not None:
            return read_tensors(message.tensors, np.frombuffer(message.inline, np.uint8))
        arena = arenas[0] if arenas else self._slots[self._slot] if self._slot >= 0 else None
        if arena is None:
            raise Lost("there is no arena")
        if self._slot >= 0:
            self._slots[self._slot] = arena
        return read_tensors(message.tensors, arena.root)

    def proceed(self) -> None:
        """Ask for the next answer of a stream; raises Lost."""
        self._slot = self._free_slot()
        self._connection.send(Next(self._slot))

    def abandon(self) -> None:
        """Close a stream that waits to be asked, and wait until it is; raises as `answer`."""
        self._connection.send(Close())
        self.answer()

    def close(self) -> None:
        """End the lane."""
        self._connection.close()

    def _free_slot(self) -> int:
        slots = enumerate(self._slots)
        return next((index for index, arena in slots if arena is None or not arena.held), -1)


def _take_headers(headers: Mapping[str, str], context: Context) -> None:
    """Set the response headers that a process says its model set; it may say anything."""
    for name, value in headers.items():
        try:
            context.set_header(name, value)
        except ValueError as error:
            logger.warning("response header dropped model=%s reason=%s", context.model, error)


def _error(failure: Failure) -> Exception:
    if failure.code < 0:
        return RaisedApart(failure.message)
    error = from_code(failure.code, failure.message)
    if isinstance(error, Overloaded):
        error.retry_after_s = failure.retry_after_s
    return error
