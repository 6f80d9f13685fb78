"""Casts: each element in another datatype, or an error that says which does not fit.

As the ONNX operator Cast, where that defines a result. What it leaves open (a number outside an integer datatype's
range, NaN or infinity as an integer) is refused: a wrong number that looks right is worth less than an error.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.tensor import BYTES, DTYPES, datatype_of, is_float
from graphmesh.graph.spec import parse_type
from graphmesh.graph.transforms.operations import Cast
from graphmesh.graph.transforms.rules import Rule, made
from graphmesh.graph.transforms.strings import decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.transforms.operations import What

__all__ = ["RULES", "fits", "in_range"]

_WORDS = {"true": 1, "false": 0}
_SHOWN = 40


@functools.lru_cache
def _target(text: str) -> tuple[str, bool]:
    """Return the datatype and whether it is text."""
    datatype, shape, is_text = parse_type(text)
    if shape:
        raise InvalidGraph(f"datatype must be a datatype's name, as FP32, got {text[:140]!r}; `reshape` changes shapes")
    return datatype, is_text


def _give_cast(what: Cast, flows: Sequence[Flow]) -> list[Flow]:
    datatype, is_text = _target(what.datatype)
    (flow,) = flows
    return made(datatype, flow.shape, text=is_text or (datatype == BYTES and (flow.text or flow.datatype != BYTES)))


def _run_cast(what: Cast, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    (array,) = arrays
    datatype, is_text = _target(what.datatype)
    if datatype_of(array) == BYTES:
        if is_text:
            decoded(array)  # only looks
        return [array if datatype == BYTES else _parsed(array, datatype)]
    return [_written(array) if datatype == BYTES else _converted(array, datatype)]


def _converted(array: Tensor, datatype: str) -> Tensor:
    dtype = DTYPES[datatype]
    if dtype.kind in "iu" and not fits(array, dtype):
        raise InvalidRequest(
            f"an element does not fit {datatype}, which holds {np.iinfo(dtype).min} to {np.iinfo(dtype).max}; "
            f"got {_extremes(array)}"
        )
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a narrower float becomes an infinity, as numpy and ONNX have it
        return array.astype(dtype, copy=False)


def fits(array: Tensor, dtype: np.dtype[np.generic]) -> bool:
    """Return whether every element, its fraction cut off, is within an integer dtype's range."""
    if not array.size or np.can_cast(array.dtype, dtype, "safe"):
        return True
    values = array.astype(np.float32) if is_float(array.dtype) and array.dtype.itemsize == 2 else array  # noqa: PLR2004
    return in_range(values.min().item(), dtype) and in_range(values.max().item(), dtype)


def in_range(number: float, dtype: np.dtype[np.generic]) -> bool:
    """Return whether a number, its fraction cut off, is within an integer dtype's range; Python compares exactly."""
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    return math.isfinite(number) and limits.min <= math.trunc(number) <= limits.max


def _extremes(array: Tensor) -> str:
    values = array.astype(np.float64) if is_float(array.dtype) else array
    return f"{values.min()} to {values.max()}"


def _parsed(array: Tensor, datatype: str) -> Tensor:
    dtype = DTYPES[datatype]
    result = np.empty(array.size, dtype=dtype)
    for position, text in enumerate(decoded(array)):
        try:
            number: float = _WORDS[text] if text in _WORDS else _number(text, dtype)
        except ValueError as error:
            raise InvalidRequest(
                f"element {position} must be a number for {datatype}, got {text[:_SHOWN]!r}"
            ) from error
        if dtype.kind in "iu" and not in_range(number, dtype):
            raise InvalidRequest(f"element {position} does not fit {datatype}, got {text[:_SHOWN]!r}")
        with np.errstate(over="ignore"):
            result[position] = number
    return result.reshape(array.shape)


def _number(text: str, dtype: np.dtype[np.generic]) -> float:
    """Return what a text says; whole numbers exactly."""
    if dtype.kind not in "iu":
        return float(text)
    try:
        return int(text[:_SHOWN])  # 64 bits have 20 digits
    except ValueError:
        number = float(text)
        return math.trunc(number) if math.isfinite(number) else number


def _written(array: Tensor) -> Tensor:
    if array.dtype.kind == "b":
        return encoded(["true" if element else "false" for element in array.flat], array.shape)
    return encoded([str(element) for element in array.flat], array.shape)


RULES: dict[type[What], Rule] = {Cast: Rule(_give_cast, _run_cast)}
