"""Operations run on tensors, with numpy.

Types are checked again for each new combination of datatypes and shapes, by the rules that typed the graph: what comes
out is of the type that was promised, and the sizes of results are known, and bounded, before anything is allocated.
What an operation costs is estimated before it runs, so that whoever runs it can do so where it holds up nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.tensor import BYTES, DTYPES, check_shape, datatype_of
from graphmesh.graph.checks.flows import Flow
from graphmesh.graph.checks.sizes import resolve
from graphmesh.graph.limits import MAX_BYTES_IN_FLIGHT
from graphmesh.graph.running.budget import size_of
from graphmesh.graph.transforms.operations import JsonRead, TopK
from graphmesh.graph.transforms.strings import check_bytes
from graphmesh.graph.transforms.typing import RULES, bound, label

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.transforms.operations import Operation

__all__ = ["Changes", "Work", "compile_operations"]

_Key: TypeAlias = "tuple[tuple[np.dtype[np.generic], tuple[int, ...]], ...]"
_Shapes: TypeAlias = "list[tuple[int, ...] | None]"

_KNOWN = 64  # combinations of shapes remembered for each operation

# Work in units of a nanosecond, which numpy takes at most for a byte of numbers unless it sorts them. Measured.
_SORTED_BYTE = 20
_ELEMENT = 500
_BYTE = 16
_JSON_BYTE = 350


class _Expected(NamedTuple):
    """What is known of an operation on tensors of some datatypes and shapes before it runs."""

    shapes: _Shapes
    """The results' shapes, None where only the values tell."""
    size: int
    """Bytes of the results whose shapes are known; of text those of the references."""
    cost: float
    """Units of work, but for what the lengths of texts add."""
    text: bool
    """Whether an input is text."""


class _Step:
    """One operation, ready to run."""

    def __init__(self, operation: Operation) -> None:
        self.inputs = operation.inputs
        self.outputs = operation.outputs
        self.label = label(operation)
        self._what = bound(operation)
        self._rule = RULES[type(operation.what)]
        self._expected: dict[_Key, _Expected] = {}
        own = len(repr(self._what))  # its own texts come into each result at most once for each byte of an input
        self._byte = own + (_JSON_BYTE if isinstance(self._what, JsonRead) else _BYTE)
        self._element = own + _ELEMENT
        self._number = _SORTED_BYTE if isinstance(self._what, TopK) else 1

    def run(self, arrays: Sequence[Tensor], expected: _Expected) -> list[Tensor]:
        """Return what the operation gives."""
        return self._rule.run(self._what, arrays, expected.shapes)

    def expect(self, arrays: Sequence[Tensor]) -> _Expected:
        """Return what is known before it runs; raises InvalidRequest for types that do not fit."""
        key = tuple((array.dtype, array.shape) for array in arrays)
        expected = self._expected.get(key)
        if expected is None:
            expected = self._type(arrays)
            if len(self._expected) >= _KNOWN:
                self._expected.clear()
            self._expected[key] = expected
        return expected

    def cost(self, arrays: Sequence[Tensor], expected: _Expected, *, most: float) -> float:
        """Return units of work, not added up further than ``most``."""
        if not expected.text or expected.cost > most:
            return expected.cost
        return expected.cost + size_of(arrays) * self._byte

    def _type(self, arrays: Sequence[Tensor]) -> _Expected:
        flows = [Flow(datatype_of(array), list(array.shape), text=False) for array in arrays]
        try:
            given = self._rule.give(self._what, flows)
        except InvalidGraph as error:
            raise InvalidRequest(error.message) from error
        shapes = [self._bounded(flow) for flow in given]
        sizes = [
            0 if shape is None else math.prod(shape) * _item(flow) for shape, flow in zip(shapes, given, strict=True)
        ]
        cost = float((sum(array.nbytes for array in arrays) + sum(sizes)) * self._number)
        if any(flow.datatype == BYTES for flow in (*flows, *given)):
            elements = [array.size for array in arrays] + [math.prod(shape) for shape in shapes if shape is not None]
            cost += sum(elements) * self._element
        return _Expected(shapes, sum(sizes), cost, any(flow.datatype == BYTES for flow in flows))

    def _bounded(self, flow: Flow) -> tuple[int, ...] | None:
        """Return a result's shape if that is known, having checked that it may be allocated."""
        shape = tuple(size for size in map(resolve, flow.shape) if isinstance(size, int))
        if len(shape) != len(flow.shape):
            return None
        check_shape(self.outputs[0], shape)
        check_bytes(math.prod(shape) * _item(flow))
        return shape


def _item(flow: Flow) -> int:
    return 8 if flow.datatype == BYTES else DTYPES[flow.datatype].itemsize


def _seen(arrays: Sequence[Tensor]) -> str:
    return f" ({'; '.join(f'{datatype_of(array)} {list(array.shape)}' for array in arrays)})"


class Work:
    """One run of operations, some at a time. A result is let go with the last operation that reads it.

    Args:
        changes: What is done.
        inputs: The step's inputs.
    """

    __slots__ = ("_changes", "_cost", "_held", "_next", "_sizes", "_values")

    def __init__(self, changes: Changes, inputs: Mapping[str, Tensor]) -> None:
        self._changes = changes
        self._values = dict(inputs)
        self._sizes: dict[str, int] = {}
        self._held = 0
        self._cost = 0.0
        self._next = 0

    def go(self, most: float = math.inf) -> bool:
        """Run operations, and return whether all have run.

        Args:
            most: Begin none with which the work would be more than this; a unit is about a nanosecond.

        Raises:
            InvalidRequest: values do not fit, or results take too many bytes together (INVALID_ARGUMENT, retry: no).
        """
        steps = self._changes.steps
        while self._next < len(steps):
            step = steps[self._next]
            arrays = [self._values[name] for name in step.inputs]
            try:
                expected = step.expect(arrays)
                if most < math.inf:
                    self._cost += step.cost(arrays, expected, most=most)
                    if self._cost > most:
                        return False
                self._check(expected.size)
                self._keep(step, step.run(arrays, expected))
            except InvalidRequest as error:
                raise InvalidRequest(f"{step.label}{_seen(arrays)}: {error.message}") from error
            for name in self._changes.last[self._next]:
                del self._values[name]
                self._held -= self._sizes.pop(name, 0)
            self._next += 1
        return True

    def _keep(self, step: _Step, results: Sequence[Tensor]) -> None:
        for name, result in zip(step.outputs, results, strict=True):
            self._sizes[name] = size = size_of((result,))
            self._held += size
            self._values[name] = result
        self._check(0)

    def _check(self, more: int) -> None:
        if self._held + more > MAX_BYTES_IN_FLIGHT:
            raise InvalidRequest(
                f"results that are still needed would take {self._held + more} bytes together, a request holds at most "
                f"{MAX_BYTES_IN_FLIGHT}; split the step in several, or send less"
            )

    def outputs(self) -> dict[str, Tensor]:
        """Return the step's outputs; all operations have run."""
        return {name: self._values[name] for name in self._changes.wanted}


class Changes:
    """What a transform step does.

    Args:
        operations: In the order they run.
        keep: Results that are returned although an operation reads them.
    """

    def __init__(self, operations: Sequence[Operation], keep: Collection[str]) -> None:
        self.steps = [_Step(operation) for operation in operations]
        readers = {name: index for index, operation in enumerate(operations) for name in operation.inputs}
        made = [name for operation in operations for name in operation.outputs]
        self.wanted = [name for name in made if name not in readers or name in keep]
        """The step's outputs."""
        self.last: list[list[str]] = [[] for _ in operations]
        """For each operation what is needed no more after it."""
        for name in readers.keys() - set(self.wanted):
            self.last[readers[name]].append(name)

    def begin(self, inputs: Mapping[str, Tensor]) -> Work:
        """Return a run of it, nothing done."""
        return Work(self, inputs)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Do all of it; raises as `Work.go`."""
        work = self.begin(inputs)
        work.go()
        return work.outputs()


def compile_operations(operations: Sequence[Operation], keep: Collection[str]) -> Changes:
    """Return what a transform step does, for a graph that was found to be valid.

    Args:
        operations: In the order they run.
        keep: Results that are returned although an operation reads them.

    Returns:
        A function of the step's inputs, which it does not write to and of which results may be views. It raises
        InvalidRequest when values do not fit or results would be too large; it names the operation, its inputs,
        their datatypes and shapes (INVALID_ARGUMENT, retry: no).

    Raises:
        InvalidGraph: a template that names no input (INVALID_ARGUMENT, retry: no).
    """
    return Changes(operations, keep)
