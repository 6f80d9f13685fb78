"""A map node at run time: items become calls, and their answers one tensor per output again.

Order is kept whatever order answers come in. Items are views, never copies; answers are copied once, into the tensor
that joins them. What is not done: items of a tensor that does not exist yet are not awaited one by one (streaming).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import InvalidRequest, ModelFailed, ModelNotReady, Overloaded
from graphmesh.core.tensor import DTYPES
from graphmesh.graph.call import Call
from graphmesh.graph.limits import MAX_CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.plan import MapStep, Step

__all__ = ["Expansion"]


class Expansion:
    """The calls of one map node of one run.

    Args:
        step: The node.
        settings: Its map settings.
        inputs: The node's inputs.
        budget: How many calls it may make.

    Raises:
        InvalidRequest: inputs to divide that are scalars or of different lengths (INVALID_ARGUMENT, retry: no).
        Overloaded: more calls than one run may make (RESOURCE_EXHAUSTED, retry: no).
    """

    __slots__ = ("_answered", "_answers", "_inputs", "_next", "_settings", "_step")

    def __init__(self, step: Step, settings: MapStep, inputs: Mapping[str, Tensor], *, budget: int) -> None:
        self._step = step
        self._settings = settings
        self._inputs = inputs
        calls = -(-_length(settings, inputs) // (settings.batch_size or 1))
        if calls > budget:
            raise Overloaded(
                f"one run makes at most {MAX_CALLS} calls for items, {budget} are left and {calls} are needed; "
                "send fewer items, or raise the map's batch_size"
            )
        self._answers: list[Mapping[str, Tensor] | None] = [None] * calls
        self._answered = 0
        self._next = 0

    @property
    def total(self) -> int:
        """How many calls there are."""
        return len(self._answers)

    @property
    def done(self) -> bool:
        """Whether every call has been answered; at once for zero items."""
        return self._answered == len(self._answers)

    def calls(self) -> Iterator[Call]:
        """Return the calls that may start now: each once, in order, never more than allowed in flight."""
        limit = min(self._answered + self._settings.max_concurrency, len(self._answers))
        while self._next < limit:
            yield Call(self._step, self._next, self._chunk(self._next))
            self._next += 1

    def _chunk(self, index: int) -> dict[str, Tensor]:
        size = self._settings.batch_size
        # With an ellipsis an item of a vector stays an array (of rank 0) instead of becoming a numpy scalar.
        key = slice(index * size, (index + 1) * size) if size else (index, ...)
        over = self._settings.over
        return {name: array[key] if name in over else array for name, array in self._inputs.items()}

    def complete(self, index: int, outputs: Mapping[str, Tensor]) -> None:
        """Take the answer to one call."""
        self._answers[index] = outputs
        self._answered += 1

    def outputs(self) -> dict[str, Tensor]:
        """Return the joined answers, once all are there.

        Raises:
            InvalidRequest: answers whose shapes cannot be joined (INVALID_ARGUMENT, retry: no).
            ModelFailed: an answer that lacks an output (INTERNAL, retry: no).
            ModelNotReady: zero items, and the target's signature is not known (UNAVAILABLE, retry: other endpoint).
        """
        if not self._answers:
            return {name: self._empty(name) for name in self._step.outputs}
        return {name: self._joined(name) for name in self._step.outputs}

    def _empty(self, name: str) -> Tensor:
        target = self._step.target
        signature = self._settings.signatures(target)
        if signature is None:
            raise ModelNotReady(
                f"there are no items, and without the signature of {target} no answer for none; try again"
            )
        spec = signature.output(name)
        inner = spec.shape[1:] if self._settings.batch_size else spec.shape
        sizes = [dimension if isinstance(dimension, int) else 0 for dimension in inner]
        return np.empty((0, *sizes), dtype=DTYPES[spec.datatype])

    def _joined(self, name: str) -> Tensor:
        parts = [_output(answer, name, index) for index, answer in enumerate(self._answers)]
        head = parts[0]
        skip = 1 if self._settings.batch_size else 0
        for index, part in enumerate(parts):
            if part.ndim < skip:
                raise InvalidRequest(f"output {name!r} of call {index} is a scalar, which cannot be concatenated")
            if part.ndim != head.ndim or part.shape[skip:] != head.shape[skip:] or part.dtype != head.dtype:
                raise InvalidRequest(
                    f"output {name!r} must have one shape{' after axis 0' if skip else ''} in all calls to be joined, "
                    f"got {_show(head)} from call 0 and {_show(part)} from call {index}"
                )
        return np.concatenate(parts) if skip else np.stack(parts)


def _length(settings: MapStep, inputs: Mapping[str, Tensor]) -> int:
    first = settings.over[0]
    for name in settings.over:
        if inputs[name].ndim == 0:
            raise InvalidRequest(f"input {name!r} is divided along axis 0, but is a scalar")
        if len(inputs[name]) != len(inputs[first]):
            raise InvalidRequest(
                f"inputs that are divided must have equal lengths, "
                f"got {len(inputs[first])} for {first!r} and {len(inputs[name])} for {name!r}"
            )
    return len(inputs[first])


def _output(answer: Mapping[str, Tensor] | None, name: str, index: int) -> Tensor:
    if answer is None or name not in answer:
        raise ModelFailed(f"the answer to call {index} has no output {name!r}")
    return answer[name]


def _show(array: Tensor) -> str:
    return f"{array.dtype} {array.shape}"
