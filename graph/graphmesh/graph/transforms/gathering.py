"""Operations that make a tensor of parts of others: gather, concat, stack, pad.

Sources: `numpy.take`, `numpy.concatenate`, `numpy.stack`, and the ONNX operators Gather, Concat and Pad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.tensor import BYTES, DTYPES, is_float
from graphmesh.graph.checks.sizes import Unknown, resolve
from graphmesh.graph.transforms.operations import Concat, Gather, Pad, Stack
from graphmesh.graph.transforms.rules import Rule, axis_of, made, need_equal_shapes, need_one_datatype
from graphmesh.graph.transforms.strings import check_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.transforms.operations import What

__all__ = ["RULES"]


def _give_gather(what: Gather, flows: Sequence[Flow]) -> list[Flow]:
    flow, *others = flows
    axis = axis_of(what.axis, len(flow.shape))
    if bool(what.indices) == bool(others):
        raise InvalidGraph("it takes either `indices` or a second input that holds them")
    places: list[Size] = [len(what.indices)]
    if others:
        if DTYPES[others[0].datatype].kind not in "iu":
            raise InvalidGraph(f"its second input must hold whole numbers, got {others[0].type}")
        places = others[0].shape
    size = resolve(flow.shape[axis])
    for place in what.indices:
        if isinstance(size, int) and not -size <= place < size:
            raise InvalidGraph(f"index {place} is out of range: axis {axis} has size {size}")
    return made(flow.datatype, [*flow.shape[:axis], *places, *flow.shape[axis + 1 :]], text=flow.text)


def _run_gather(what: Gather, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    array = arrays[0]
    places = arrays[1] if len(arrays) > 1 else np.array(what.indices, dtype=np.int64)
    size = array.shape[axis_of(what.axis, array.ndim)]
    if places.size and not (-size <= int(places.min()) and int(places.max()) < size):
        raise InvalidRequest(f"indices must be {-size} to {size - 1}, got {places.min()} to {places.max()}")
    taken = np.take(array, places.astype(np.int64, copy=False), axis=what.axis)
    return [_held(taken if isinstance(taken, np.ndarray) else _scalar(taken, array.dtype))]


def _scalar(element: object, dtype: np.dtype[np.generic]) -> Tensor:
    array = np.empty((), dtype=dtype)
    array[()] = element
    return array


def _held(array: Tensor) -> Tensor:
    """Return a tensor, having checked its texts: one many times over costs nothing here, but does when it is sent."""
    if array.dtype == DTYPES[BYTES]:
        check_bytes(sum(map(len, array.flat)))
    return array


def _give_concat(what: Concat, flows: Sequence[Flow]) -> list[Flow]:
    need_one_datatype(flows)
    axis = axis_of(what.axis, len(flows[0].shape))
    shape = need_equal_shapes(flows, but=axis)
    sizes = [resolve(flow.shape[axis]) for flow in flows]
    known = [size for size in sizes if isinstance(size, int)]
    if len(sizes) > 1:
        shape[axis] = sum(known) if len(known) == len(sizes) else Unknown()
    return made(flows[0].datatype, shape, text=all(flow.text for flow in flows))


def _run_concat(what: Concat, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    return [_held(np.concatenate(arrays, axis=what.axis))]


def _give_stack(what: Stack, flows: Sequence[Flow]) -> list[Flow]:
    need_one_datatype(flows)
    shape = need_equal_shapes(flows)
    shape.insert(axis_of(what.axis, len(shape) + 1), len(flows))
    return made(flows[0].datatype, shape, text=all(flow.text for flow in flows))


def _run_stack(what: Stack, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    return [_held(np.stack(arrays, axis=what.axis))]


def _give_pad(what: Pad, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    rank = len(flow.shape)
    before, after = what.before or (0,) * rank, what.after or (0,) * rank
    if len(before) != rank or len(after) != rank or min((*before, *after), default=0) < 0:
        raise InvalidGraph(
            f"before and after must have a number, 0 or more, for each of the {rank} axes, "
            f"got {list(what.before)} and {list(what.after)}"
        )
    _fill(what, flow.datatype)
    shape: list[Size] = []
    for size, ahead, behind in zip(map(resolve, flow.shape), before, after, strict=True):
        more = ahead + behind
        shape.append(size + more if isinstance(size, int) else Unknown() if more else size)
    return made(flow.datatype, shape, text=flow.text)


def _fill(what: Pad, datatype: str) -> Tensor:
    """Return the value as an element of a datatype; raise InvalidGraph if it is none."""
    dtype = DTYPES[datatype]
    if datatype == BYTES:
        if what.value:
            raise InvalidGraph(f"BYTES tensors get empty elements, so value must not be set, got {what.value}")
        return _scalar(b"", dtype)
    if is_float(dtype):
        return np.array(what.value).astype(dtype)
    low, high = (0, 1) if datatype == "BOOL" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if not (float(what.value).is_integer() and low <= what.value <= high):
        raise InvalidGraph(f"value must be a whole number that {datatype} holds, got {what.value}")
    return np.array(int(what.value), dtype=dtype)


def _run_pad(what: Pad, arrays: Sequence[Tensor], shapes: Sequence[tuple[int, ...] | None]) -> list[Tensor]:
    (array,), (shape,) = arrays, shapes
    names = {dtype: name for name, dtype in DTYPES.items()}
    result = np.empty(shape or (), dtype=array.dtype)
    result[...] = _fill(what, names[array.dtype])
    before = what.before or (0,) * array.ndim
    result[tuple(slice(ahead, ahead + size) for ahead, size in zip(before, array.shape, strict=True))] = array
    return [result]


RULES: dict[type[What], Rule] = {
    Gather: Rule(_give_gather, _run_gather, most=2),
    Concat: Rule(_give_concat, _run_concat, most=None),
    Stack: Rule(_give_stack, _run_stack, most=None),
    Pad: Rule(_give_pad, _run_pad),
}
