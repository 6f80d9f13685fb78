"""Operations that compute: normalize, softmax, argmax, top_k, compare.

Numbers of 16 bits are computed with in 32. Sources: the ONNX operators Softmax, ArgMax, TopK, Equal, Less, ...;
`numpy.argmax`, `numpy.equal`, ...; torchvision's Normalize.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.tensor import BYTES, DTYPES, is_float
from graphmesh.graph.checks.flows import Flow
from graphmesh.graph.checks.sizes import resolve
from graphmesh.graph.transforms.operations import Argmax, Compare, Normalize, Softmax, TopK
from graphmesh.graph.transforms.rules import (
    Rule,
    axis_of,
    made,
    need_equal_shapes,
    need_numbers,
    need_one_datatype,
    need_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.transforms.operations import What

__all__ = ["RULES"]

_FP32 = DTYPES["FP32"]
_FP64 = DTYPES["FP64"]
_OPERATORS: dict[str, Callable[..., Any]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}
_TEXT_OPERATORS = ("equal", "not_equal")


def _wide(array: Tensor) -> Tensor:
    """Return numbers of 16 bits as 32."""
    return array.astype(_FP32) if is_float(array.dtype) and array.dtype.itemsize < _FP32.itemsize else array


def _float(array: Tensor) -> Tensor:
    """Return a fresh array of fractions."""
    return array.astype(_FP64 if array.dtype == _FP64 else _FP32)


def _give_normalize(what: Normalize, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    need_numbers(flow)
    axis = axis_of(what.axis, len(flow.shape))
    if not all(map(math.isfinite, (what.scale, *what.mean, *what.std))) or 0 in what.std:
        raise InvalidGraph("scale, mean and std must be finite, and no std 0")
    for name, values in (("mean", what.mean), ("std", what.std)):
        if len(values) > 1:
            need_size(flow.shape[axis], len(values), f"axis {axis}, for which {name} has as many numbers,")
    return made("FP32", flow.shape)


def _run_normalize(what: Normalize, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    (array,) = arrays
    result = _float(array)
    with np.errstate(all="ignore"):  # infinities in, infinities out
        if what.scale != 1:
            result *= what.scale
        if what.mean:
            result -= _channels(what.mean, what.axis, result)
        if what.std:
            result /= _channels(what.std, what.axis, result)
        return [result.astype(_FP32, copy=False)]


def _channels(values: Sequence[float], axis: int, like: Tensor) -> Tensor:
    shape = [1] * like.ndim
    shape[axis] = len(values)
    return np.array(values, dtype=like.dtype).reshape(shape)


def _give_softmax(what: Softmax, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    need_numbers(flow)
    axis_of(what.axis, len(flow.shape))
    return made("FP64" if flow.datatype == "FP64" else "FP32", flow.shape)


def _run_softmax(what: Softmax, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    result = _float(arrays[0])
    if result.size:
        with np.errstate(all="ignore"):  # an infinity among the scores gives NaN
            result -= result.max(axis=what.axis, keepdims=True)
            np.exp(result, out=result)
            result /= result.sum(axis=what.axis, keepdims=True)
    return [result]


def _give_argmax(what: Argmax, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    _need_order(flow)
    axis = axis_of(what.axis, len(flow.shape))
    if resolve(flow.shape[axis]) == 0:
        raise InvalidGraph(f"axis {axis} has no elements, so none is the largest")
    return made("INT64", [*flow.shape[:axis], *([1] if what.keepdims else []), *flow.shape[axis + 1 :]])


def _need_order(flow: Flow) -> None:
    if flow.datatype == BYTES:
        raise InvalidGraph(f"it takes numbers or BOOL, got {flow.type}")


def _run_argmax(what: Argmax, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    found = np.argmax(_wide(arrays[0]), axis=what.axis, keepdims=what.keepdims)
    return [np.asarray(found, dtype=np.int64)]


def _give_top_k(what: TopK, flows: Sequence[Flow]) -> list[Flow]:
    (flow,) = flows
    _need_order(flow)
    axis = axis_of(what.axis, len(flow.shape))
    if what.k < 1:
        raise InvalidGraph(f"k must be at least 1, got {what.k}")
    size = resolve(flow.shape[axis])
    if isinstance(size, int) and size < what.k:
        raise InvalidGraph(f"k is {what.k}, but axis {axis} has {size} elements")
    shape = [*flow.shape[:axis], what.k, *flow.shape[axis + 1 :]]
    return [Flow(flow.datatype, shape, text=False), Flow("INT64", list(shape), text=False)]


def _run_top_k(what: TopK, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    (array,) = arrays
    # Sorted upwards and stable, from the last element to the first, then turned round: largest first, NaN before all,
    # equal ones in their order.
    backwards = np.flip(_wide(array), what.axis)
    order = np.flip(np.argsort(backwards, axis=what.axis, kind="stable"), what.axis)
    first = np.take(order, range(what.k), axis=what.axis)
    places = np.subtract(array.shape[what.axis] - 1, first, dtype=np.int64)
    return [np.take_along_axis(array, places, axis=what.axis), places]


def _give_compare(what: Compare, flows: Sequence[Flow]) -> list[Flow]:
    flow = flows[0]
    if what.operator not in _OPERATORS:
        raise InvalidGraph(f"operator must be one of {', '.join(_OPERATORS)}, got {what.operator[:140]!r}")
    if [len(flows) > 1, what.value is not None, what.text is not None].count(True) != 1:
        raise InvalidGraph("it takes exactly one of a second input, `value` and `text`")
    if flow.datatype == BYTES and what.operator not in _TEXT_OPERATORS:
        raise InvalidGraph(f"operator must be one of {', '.join(_TEXT_OPERATORS)} for BYTES, got {what.operator!r}")
    need_one_datatype(flows)
    if (what.value is not None and flow.datatype == BYTES) or (what.text is not None and flow.datatype != BYTES):
        raise InvalidGraph(f"`value` is for numbers and `text` for BYTES, got {flow.type}")
    return made("BOOL", need_equal_shapes(flows))


def _run_compare(what: Compare, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    left = _wide(arrays[0])
    right: Any = _wide(arrays[1]) if len(arrays) > 1 else what.value
    if what.text is not None:
        right = np.empty((), dtype=object)
        right[()] = what.text.encode()
    elif what.value is not None and not is_float(left.dtype):
        left, right = _exact(left, what.value)
    return [np.asarray(_OPERATORS[what.operator](left, right), dtype=np.bool_)]


def _exact(left: Tensor, value: float) -> tuple[Tensor, float]:
    """Return whole numbers and a value so that numpy compares them exactly: whole with whole."""
    if float(value).is_integer():
        return (left.astype(np.uint8) if left.dtype.kind == "b" else left), int(value)
    return left.astype(_FP64), value


RULES: dict[type[What], Rule] = {
    Normalize: Rule(_give_normalize, _run_normalize),
    Softmax: Rule(_give_softmax, _run_softmax),
    Argmax: Rule(_give_argmax, _run_argmax),
    TopK: Rule(_give_top_k, _run_top_k, outputs=2),
    Compare: Rule(_give_compare, _run_compare, most=2),
}
