"""A map: a tensor's items become calls, and their answers one tensor per output again.

Order is kept whatever order answers come in, and never more calls are in flight than the map allows. Items are views,
never copies; answers are copied once, into the tensor that joins them. What is not done: items of a tensor that does
not exist yet are not awaited one by one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import GraphmeshError, InvalidRequest, ModelFailed, ModelNotReady
from graphmesh.core.tensor import DTYPES
from graphmesh.graph.limits import DEFAULT_CONCURRENCY
from graphmesh.graph.running.actions.offload import worked
from graphmesh.graph.running.budget import size_of
from graphmesh.graph.running.call import locate
from graphmesh.graph.running.calls import CallAction
from graphmesh.graph.running.frame import Frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.budget import Budget
    from graphmesh.graph.spec import Map

__all__ = ["MapAction"]


class MapAction:
    """Calls a model or graph for the items along axis 0 of some inputs.

    Args:
        kind: What the author wrote.
        signature: The target's, None if it is not known: says what the answer over zero items looks like.
    """

    __slots__ = ("_batch_size", "_call", "_concurrency", "_over", "_signature", "_target")

    streams = False

    def __init__(self, kind: Map, signature: Signature | None) -> None:
        self._target = kind.target
        self._call = CallAction(kind.target)
        self._over = frozenset(kind.over)
        self._batch_size = kind.batch_size
        self._concurrency = kind.max_concurrency or DEFAULT_CONCURRENCY
        self._signature = signature

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Make the calls.

        Raises:
            InvalidRequest: inputs to divide that are scalars or of different lengths, or answers whose shapes cannot be
                joined (INVALID_ARGUMENT, retry: no).
            Overloaded: more calls, or more bytes of answers, than the request may have (RESOURCE_EXHAUSTED, retry: no).
            ModelFailed: an answer that lacks an output (INTERNAL, retry: no).
            ModelNotReady: zero items, and the target's signature is not known (UNAVAILABLE, retry: other endpoint).
            GraphmeshError: of the first call that failed, led by its place, as ``read[3]``.
        """
        count = -(-self._length(inputs) // (self._batch_size or 1))
        if not count:
            return {spec: self._empty(spec) for spec in self._names(frame)}
        budget = frame.run.budget
        budget.require(count)
        held = 0
        answers: list[Mapping[str, Tensor] | None] = [None] * count
        try:
            async with contextlib.aclosing(self._answers(count, inputs, frame)) as arriving:
                async for index, answer in arriving:
                    answers[index] = answer
                    held += _hold(budget, size_of(answer.values()))
            given = [answer for answer in answers if answer is not None]
            parts = {
                name: [_output(answer, name, index) for index, answer in enumerate(given)]
                for name in frame.outputs or given[0]
            }
            every = [part for column in parts.values() for part in column]
            held += _hold(budget, sum(part.nbytes for part in every))  # both are there while they are joined
            return await worked(
                frame.run.host, every, lambda: {name: self._joined(name, column) for name, column in parts.items()}
            )
        finally:
            budget.release(held)

    def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Never called: a map does not stream."""
        raise NotImplementedError

    async def _answers(
        self, count: int, inputs: Mapping[str, Tensor], frame: Frame
    ) -> AsyncGenerator[tuple[int, Mapping[str, Tensor]], None]:
        """Yield each answer with its place, in the order they come."""
        if count == 1 or self._concurrency == 1:
            for index in range(count):
                yield index, await self._one(index, inputs, frame)
            return
        async with frame.run.host.tasks() as tasks:
            started = min(count, self._concurrency)
            for index in range(started):
                tasks.start(index, self._one(index, inputs, frame))
            while (ended := await tasks.next()) is not None:
                if ended.error is not None:
                    raise self._located(ended.error, frame, ended.key)
                if started < count:
                    tasks.start(started, self._one(started, inputs, frame))
                    started += 1
                assert ended.result is not None, "a call without an error must have an answer"  # noqa: S101
                yield ended.key, ended.result

    async def _one(self, index: int, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        inner = Frame(frame.run, f"{frame.path}[{index}]", frame.deadline, frame.outputs, frame.limit)
        try:
            return await self._call.run(self._chunk(index, inputs), inner)
        except GraphmeshError as error:
            raise self._located(error, frame, index) from error

    def _located(self, error: GraphmeshError, frame: Frame, index: int) -> GraphmeshError:
        return locate(error, graph=frame.run.graph, path=f"{frame.path}[{index}]")

    def _length(self, inputs: Mapping[str, Tensor]) -> int:
        lengths = {name: _length(name, array) for name, array in inputs.items() if name in self._over}
        first = next(iter(lengths))
        for name, length in lengths.items():
            if length != lengths[first]:
                raise InvalidRequest(
                    f"inputs that are divided must have equal lengths, "
                    f"got {lengths[first]} for {first!r} and {length} for {name!r}"
                )
        return lengths[first]

    def _chunk(self, index: int, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        size = self._batch_size
        # With an ellipsis an item of a vector stays an array (of rank 0) instead of becoming a numpy scalar.
        key = slice(index * size, (index + 1) * size) if size else (index, ...)
        return {name: array[key] if name in self._over else array for name, array in inputs.items()}

    def _names(self, frame: Frame) -> Sequence[str]:
        if frame.outputs or self._signature is None:
            return frame.outputs
        return [spec.name for spec in self._signature.outputs]

    def _empty(self, name: str) -> Tensor:
        if self._signature is None:
            raise ModelNotReady(
                f"there are no items, and without the signature of {self._target} no answer for none; try again"
            )
        spec = self._signature.output(name)
        inner = spec.shape[1:] if self._batch_size else spec.shape
        sizes = [dimension if isinstance(dimension, int) else 0 for dimension in inner]
        return np.empty((0, *sizes), dtype=DTYPES[spec.datatype])

    def _joined(self, name: str, parts: Sequence[Tensor]) -> Tensor:
        head = parts[0]
        skip = 1 if self._batch_size else 0
        for index, part in enumerate(parts):
            if part.ndim < skip:
                raise InvalidRequest(f"output {name!r} of call {index} is a scalar, which cannot be concatenated")
            if part.ndim != head.ndim or part.shape[skip:] != head.shape[skip:] or part.dtype != head.dtype:
                raise InvalidRequest(
                    f"output {name!r} must have one shape{' after axis 0' if skip else ''} in all calls to be joined, "
                    f"got {_show(head)} from call 0 and {_show(part)} from call {index}"
                )
        return np.concatenate(parts) if skip else np.stack(parts)


def _hold(budget: Budget, size: int) -> int:
    """Count bytes that are kept, and return how many; raises as `Budget.hold`."""
    budget.hold(size)
    return size


def _length(name: str, array: Tensor) -> int:
    if array.ndim == 0:
        raise InvalidRequest(f"input {name!r} is divided along axis 0, but is a scalar")
    return len(array)


def _output(answer: Mapping[str, Tensor], name: str, index: int) -> Tensor:
    if name not in answer:
        raise ModelFailed(f"the answer to call {index} has no output {name!r}")
    return answer[name]


def _show(array: Tensor) -> str:
    return f"{array.dtype} {array.shape}"
