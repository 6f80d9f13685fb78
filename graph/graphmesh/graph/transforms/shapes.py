"""Operations that move elements without looking at them: mostly views, which copy nothing.

Sources: numpy's functions of the same names, and the ONNX operators Reshape, Squeeze, Unsqueeze and Transpose.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.sizes import Unknown, resolve, unify
from graphmesh.graph.transforms.operations import Copy, Reshape, Slice, Squeeze, Transpose, Unsqueeze
from graphmesh.graph.transforms.rules import Rule, axis_of, made, need_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import EllipsisType

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.transforms.operations import What

__all__ = ["RULES"]

_MAX_RANK = 32
_SLICE_PARTS = 3


def _give_copy(_: Copy, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    return made(flow.datatype, flow.shape, text=flow.text)


def _run_same(_: Copy, arrays: Sequence[Tensor], __: object) -> list[Tensor]:
    return [arrays[0]]


def _run_reshape(_: What, arrays: Sequence[Tensor], shapes: Sequence[tuple[int, ...] | None]) -> list[Tensor]:
    (shape,) = shapes
    return [arrays[0].reshape(shape or ())]


def _give_reshape(what: Reshape, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    if len(what.shape) > _MAX_RANK or min(what.shape, default=0) < -1 or what.shape.count(-1) > 1:
        raise InvalidGraph(
            f"shape must be sizes, 0 to keep one, and at most one -1 for what is left, got {list(what.shape)}"
        )
    sizes: list[Size] = []
    for axis, size in enumerate(what.shape):
        if size == 0 and axis >= len(flow.shape):
            raise InvalidGraph(f"shape has 0 at axis {axis}, which keeps a size that {flow.type} does not have")
        sizes.append(resolve(flow.shape[axis]) if size == 0 else size)
    _fill(what, flow, sizes)
    return made(flow.datatype, sizes, text=flow.text)


def _fill(what: Reshape, flow: Flow, sizes: list[Size]) -> None:
    """Put what is left in the place of -1, or check that nothing is."""
    have = [resolve(size) for size in flow.shape]
    want = [size for size in sizes if size != -1]
    for size in list(want):  # sizes that stay as they are need not be known
        if isinstance(size, Unknown) and size in have:
            have.remove(size)
            want.remove(size)
    left = [size for size in have if isinstance(size, Unknown)]
    open_sizes = any(isinstance(size, Unknown) for size in want)
    there = math.prod(size for size in have if isinstance(size, int))
    wanted = math.prod(size for size in want if isinstance(size, int))
    place = what.shape.index(-1) if -1 in what.shape else None
    rest: Size = Unknown()
    if place is not None and wanted == 0:
        raise InvalidGraph("-1 cannot stand for what is left beside a size of 0; write the size")
    if not left and not open_sizes:
        if there % max(wanted, 1) or (place is None and there != wanted):
            raise _does_not_fit(what, flow)
        rest = there // max(wanted, 1)
    elif place is not None and len(left) == 1 and not open_sizes and there == wanted:
        rest = left[0]
    elif place is None and len(left) == 1 and not open_sizes and there and not _divides(there, wanted, left[0]):
        raise _does_not_fit(what, flow)
    if place is not None:
        sizes[place] = rest


def _divides(there: int, wanted: int, left: Unknown) -> bool:
    """Make the only unknown size what the other sizes leave for it; return False if they cannot."""
    return wanted % there == 0 and unify(left, wanted // there, edge="an operation")


def _does_not_fit(what: Reshape, flow: Flow) -> InvalidGraph:
    return InvalidGraph(f"the elements of {flow.type} do not fill shape {list(what.shape)}; -1 stands for what is left")


def _give_squeeze(what: Squeeze, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    axes = _distinct(what.axes, len(flow.shape))
    for axis in axes:
        need_size(flow.shape[axis], 1, f"axis {axis}, which is taken away,")
    return made(
        flow.datatype, [size for axis, size in enumerate(flow.shape) if axis not in axes], text=flow.text
    )  # fmt: skip


def _give_unsqueeze(what: Unsqueeze, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    rank = len(flow.shape) + len(what.axes)
    axes = _distinct(what.axes, rank)
    rest = iter(flow.shape)
    return made(flow.datatype, [1 if axis in axes else next(rest) for axis in range(rank)], text=flow.text)


def _distinct(axes: Sequence[int], rank: int) -> list[int]:
    found = [axis_of(axis, rank) for axis in axes]
    if not found or len(set(found)) != len(found) or rank > _MAX_RANK:
        raise InvalidGraph(f"axes must name at least one axis, each once, got {list(axes)}")
    return found


def _order(what: Transpose, rank: int) -> list[int]:
    axes = [axis_of(axis, rank) for axis in what.axes] or list(reversed(range(rank)))
    if sorted(axes) != list(range(rank)):
        raise InvalidGraph(f"axes must name each of the {rank} axes once, got {list(what.axes)}")
    return axes


def _give_transpose(what: Transpose, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    return made(flow.datatype, [flow.shape[axis] for axis in _order(what, len(flow.shape))], text=flow.text)


def _run_transpose(what: Transpose, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    return [np.transpose(arrays[0], _order(what, arrays[0].ndim))]


@functools.lru_cache
def _index(text: str) -> tuple[int | slice | EllipsisType, ...]:
    """Return what numpy's brackets mean, with exactly one ellipsis, so that a tensor and no element comes out."""
    parts: list[int | slice | EllipsisType] = []
    for part in text.split(","):
        try:
            numbers = [int(number) if number.strip() else None for number in part.split(":")]
        except ValueError:
            numbers = []
        if part.strip() == "...":
            parts.append(...)
        elif len(numbers) == 1 and numbers[0] is not None:
            parts.append(numbers[0])
        elif 1 < len(numbers) <= _SLICE_PARTS and (len(numbers) < _SLICE_PARTS or numbers[2] != 0):
            parts.append(slice(*numbers))
        else:
            raise InvalidGraph(f"index must be numbers, start:stop:step and at most one ..., as `:, 0:3`, got {text!r}")
    if parts.count(...) > 1:
        raise InvalidGraph(f"index must have at most one ..., got {text!r}")
    return tuple(parts) if ... in parts else (*parts, ...)


def _give_slice(what: Slice, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    index = _index(what.index)
    spare = len(flow.shape) - (len(index) - 1)
    if spare < 0:
        raise InvalidGraph(f"index {what.index!r} is for more axes than {flow.type} has")
    place = index.index(...)
    parts = (*index[:place], *[slice(None)] * spare, *index[place + 1 :])
    cut = [_cut(resolve(size), part, axis) for axis, (size, part) in enumerate(zip(flow.shape, parts, strict=True))]
    return made(flow.datatype, [size for size in cut if size is not None], text=flow.text)


def _cut(size: Size, part: int | slice | EllipsisType, axis: int) -> Size | None:
    """Return what is left of an axis; None if it goes."""
    if isinstance(part, int):
        if isinstance(size, int) and not -size <= part < size:
            raise InvalidGraph(f"index {part} is out of range: axis {axis} has size {size}")
        return None
    if not isinstance(part, slice) or ((part.start, part.stop) == (None, None) and part.step in {None, 1, -1}):
        return size
    return len(range(*part.indices(size))) if isinstance(size, int) else Unknown()


def _run_slice(what: Slice, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    return [arrays[0][_index(what.index)]]


RULES: dict[type[What], Rule] = {
    Copy: Rule(_give_copy, _run_same),
    Reshape: Rule(_give_reshape, _run_reshape),
    Squeeze: Rule(_give_squeeze, _run_reshape),
    Unsqueeze: Rule(_give_unsqueeze, _run_reshape),
    Transpose: Rule(_give_transpose, _run_transpose),
    Slice: Rule(_give_slice, _run_slice),
}
