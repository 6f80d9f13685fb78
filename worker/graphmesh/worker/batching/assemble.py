"""Calls to batches and back: what a call brings, inputs one below the other, outputs taken apart. Pure.

Axis 0 of every tensor is the batch. Dimensions that are to be padded are grown to the smallest allowed size, with zeros
or empty bytes, and cut back in the outputs that have a dimension of the same name; calls that are equal after that can
share a batch. A call that is alone and needs no padding is handed over as it is: nothing is copied. What a call gets
back are views of the batch's outputs. Tensors need not be arrays: what joins them is given, rows are a slice of one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graphmesh.core.errors import InvalidRequest, LoadFailed, ModelFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from graphmesh.core.signature import Signature, TensorSpec
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.batching.settings import Batching

    _Tensors: TypeAlias = Mapping[str, Tensor]

__all__ = ["Assembler", "check_batchable"]

_SMALLEST_COST = 1e-9
_LARGEST_COST = 1e18


def check_batchable(signature: Signature, batching: Batching) -> None:
    """Check that a model's calls can be gathered as it or its operator says.

    Raises:
        LoadFailed: they cannot; names the tensor or setting and says what to do (FAILED_PRECONDITION).
    """
    if signature.streaming:
        raise LoadFailed("a model cannot both be batched and stream; leave batching out")
    if not signature.inputs:
        raise LoadFailed("a batched model must have an input, whose axis 0 is the batch; leave batching out")
    batch = {spec.shape[0] for spec in signature.inputs if spec.shape and isinstance(spec.shape[0], str)}
    for spec in (*signature.inputs, *signature.outputs):
        if not spec.shape or isinstance(spec.shape[0], int):
            raise LoadFailed(
                f"{spec.name!r} is {spec.type}, but axis 0 of every tensor of a batched model is the batch: give it a "
                "dimension there that is a name or ?, or leave batching out"
            )
        if batch & set(spec.shape[1:]):
            raise LoadFailed(
                f"{spec.name!r} is {spec.type}; only its axis 0 may be the batch: name the others otherwise"
            )
    inner = {size for spec in signature.inputs for size in spec.shape[1:] if isinstance(size, str)}
    for name in batching.pad:
        if name not in inner:
            raise LoadFailed(
                f"pad[{name!r}] must be a dimension that an input names beyond axis 0, which are {sorted(inner)}"
            )
    names = [spec.name for spec in signature.inputs]
    if isinstance(batching.cost, str) and batching.cost and batching.cost not in names:
        raise LoadFailed(f"cost must be a function or one of the inputs {names}, got {batching.cost!r}")


class Assembler:
    """Puts the calls of one batched model together.

    Args:
        signature: Of the model.
        batching: How its calls are gathered.
        concatenate: Joins tensors that need no padding, one below the other.
    """

    def __init__(
        self,
        signature: Signature,
        batching: Batching,
        concatenate: Callable[[Sequence[Any]], Tensor] = np.concatenate,
    ) -> None:
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._batching = batching
        self._concatenate = concatenate
        self._cut = [
            (spec.name, [(axis, name) for axis, name in enumerate(spec.shape) if name in batching.pad])
            for spec in signature.outputs
        ]
        self._pads = bool(batching.pad)

    def measure(self, inputs: _Tensors) -> tuple[int, float, Hashable]:
        """Return a call's rows, its cost, and the key that calls of one batch share.

        Raises:
            InvalidRequest: the inputs' rows differ or are none, or a dimension is beyond the allowed sizes
                (INVALID_ARGUMENT, retry: no).
        """
        names = [spec.name for spec in self._inputs]
        rows = inputs[names[0]].shape[0]
        for name in names[1:]:
            if inputs[name].shape[0] != rows:
                raise InvalidRequest(
                    f"inputs must have equal sizes at axis 0, the batch: {names[0]!r} has {rows}, "
                    f"{name!r} has {inputs[name].shape[0]}"
                )
        if not rows:
            raise InvalidRequest(f"inputs must have at least 1 row at axis 0, the batch: {names[0]!r} has 0")
        shapes = tuple([self._padded(spec, inputs[spec.name])[1:] for spec in self._inputs])
        return rows, self._cost(inputs, rows, shapes), shapes

    def _cost(self, inputs: _Tensors, rows: int, shapes: tuple[tuple[int, ...], ...]) -> float:
        cost = self._batching.cost
        if not cost:
            return float(rows)
        if callable(cost):
            return _sane(float(cost(inputs)))
        index = next(i for i, spec in enumerate(self._inputs) if spec.name == cost)
        return _sane(float(rows * math.prod(shapes[index])))

    def _padded(self, spec: TensorSpec, array: Tensor) -> tuple[int, ...]:
        """Return the shape that an input is padded to."""
        if not self._pads:
            return tuple(array.shape)
        pad = self._batching.pad
        return tuple(
            _allowed(spec, name, size, pad[name]) if isinstance(name, str) and name in pad else size
            for name, size in zip(spec.shape, array.shape, strict=True)
        )

    def join(self, calls: Sequence[_Tensors]) -> _Tensors:
        """Return the inputs of a batch; of the calls themselves if there is one and it needs no padding."""
        if len(calls) == 1 and not self._pads:
            return calls[0]
        return {spec.name: self._join(spec, [inputs[spec.name] for inputs in calls]) for spec in self._inputs}

    def _join(self, spec: TensorSpec, arrays: list[Tensor]) -> Tensor:
        shapes = [self._padded(spec, array) for array in arrays]
        if all(array.shape == shape for array, shape in zip(arrays, shapes, strict=True)):
            return arrays[0] if len(arrays) == 1 else self._concatenate(arrays)
        rows = sum(shape[0] for shape in shapes)
        dtype = arrays[0].dtype
        joined = np.full((rows, *shapes[0][1:]), b"" if dtype.hasobject else 0, dtype=dtype)
        begin = 0
        for array in arrays:
            inner = tuple(slice(size) for size in array.shape[1:])
            joined[(slice(begin, begin + len(array)), *inner)] = array
            begin += len(array)
        return joined

    def split(self, outputs: _Tensors, calls: Sequence[_Tensors]) -> list[_Tensors]:
        """Return each call's own outputs, views of the batch's.

        Raises:
            ModelFailed: an output has not the batch's rows (INTERNAL, retry: no).
        """
        first = self._inputs[0].name
        sizes = [inputs[first].shape[0] for inputs in calls]
        rows = sum(sizes)
        for name, array in outputs.items():
            if not array.ndim or array.shape[0] != rows:
                raise ModelFailed(
                    f"output {name!r} must have one row for each of the batch's {rows} at axis 0, "
                    f"got shape {list(array.shape)}"
                )
        if len(calls) == 1 and not self._pads:
            return [outputs]
        answers: list[_Tensors] = []
        begin = 0
        for inputs, size in zip(calls, sizes, strict=True):
            answers.append(self._own(outputs, slice(begin, begin + size), inputs))
            begin += size
        return answers

    def _own(self, outputs: _Tensors, rows: slice, inputs: _Tensors) -> _Tensors:
        if not self._pads:
            return {name: array[rows] for name, array in outputs.items()}
        real = self._real(inputs)
        return {name: _cut(outputs[name][rows], axes, real) for name, axes in self._cut}

    def _real(self, inputs: _Tensors) -> dict[str, int]:
        """Return the sizes that a call's padded dimensions had."""
        return {
            name: size
            for spec in self._inputs
            for name, size in zip(spec.shape, inputs[spec.name].shape, strict=True)
            if isinstance(name, str) and name in self._batching.pad
        }


def _sane(cost: float) -> float:
    """Return a cost that can be added up; what is not a number costs nothing."""
    return min(cost, _LARGEST_COST) if cost > _SMALLEST_COST else _SMALLEST_COST


def _allowed(spec: TensorSpec, name: str, size: int, sizes: Sequence[int]) -> int:
    index = bisect_left(sizes, size)
    if index == len(sizes):
        raise InvalidRequest(f"input {spec.name!r}: {name} must be at most {sizes[-1]}, got {size}")
    return sizes[index]


def _cut(array: Tensor, axes: Sequence[tuple[int, object]], real: Mapping[str, int]) -> Tensor:
    """Return an output without the padding of its named axes."""
    if not axes:
        return array
    kept = [slice(None)] * array.ndim
    for axis, name in axes:
        kept[axis] = slice(real[str(name)])
    return array[tuple(kept)]
