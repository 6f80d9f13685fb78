"""JSON text to tensors and back: a value at a JSON pointer (RFC 6901), and tensors as one object (RFC 8259)."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.signature import show_dimension
from graphmesh.core.tensor import BYTES, DTYPES, is_float
from graphmesh.graph.checks.sizes import Unknown
from graphmesh.graph.spec import parse_type
from graphmesh.graph.transforms.casting import in_range
from graphmesh.graph.transforms.operations import JsonRead, JsonWrite
from graphmesh.graph.transforms.rules import Rule, made, need_text
from graphmesh.graph.transforms.strings import check_bytes, decoded, from_elements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.core.signature import Dimension
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.transforms.operations import What

__all__ = ["RULES"]

_MAX_JSON_BYTES = 16 << 20
"""Of one text that is parsed: its values take up to twenty times as much."""

_JSON_ELEMENT = 64
"""Bytes that a number takes while it is written."""

_ESCAPE = re.compile(r"~(?![01])")
_POSITION = re.compile(r"0|[1-9][0-9]{0,17}")
_MISSING = object()


@functools.lru_cache
def _type(text: str) -> tuple[str, tuple[Dimension, ...], bool]:
    return parse_type(text)


@functools.lru_cache
def _segments(pointer: str) -> tuple[str, ...]:
    """Return the names and positions of a pointer, outermost first."""
    if (pointer and not pointer.startswith("/")) or _ESCAPE.search(pointer):
        raise InvalidGraph(f"pointer must be empty or start with /, with ~0 for ~ and ~1 for /, got {pointer[:140]!r}")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _give_read(what: JsonRead, flows: Sequence[Flow]) -> list[Flow]:
    need_text(flows)
    _segments(what.pointer)
    datatype, shape, _ = _type(what.type)
    if what.default is not None:
        try:
            _default(what)
        except (orjson.JSONDecodeError, InvalidRequest) as error:
            raise InvalidGraph(f"default must be JSON of type {what.type}, got {what.default[:140]!r}") from error
    local: dict[str, Unknown] = {}
    sizes = [
        size if isinstance(size, int) else local.setdefault(size, Unknown(size)) if size else Unknown()
        for size in shape
    ]  # fmt: skip
    return made(datatype, [*flows[0].shape, *sizes], text=datatype == BYTES)


def _run_read(what: JsonRead, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    (array,) = arrays
    elements: list[Tensor] = []
    total = 0
    shape: tuple[int, ...] | None = None
    for position, text in enumerate(array.flat):
        try:
            value = _checked(text, what, shape)
        except InvalidRequest as error:
            raise InvalidRequest(f"element {position}: {error.message}") from error
        shape = value.shape
        total += value.nbytes
        check_bytes(total)
        elements.append(value)
    if shape is None:
        shape = tuple(size if isinstance(size, int) else 0 for size in _type(what.type)[1])
    result = np.empty((array.size, *shape), dtype=DTYPES[_type(what.type)[0]])
    for position, element in enumerate(elements):
        result[position] = element[()]  # of no dimensions: what is in it
    return [result.reshape((*array.shape, *shape))]


def _checked(text: bytes, what: JsonRead, shape: tuple[int, ...] | None) -> Tensor:
    found = _find(text, what)
    value = _default(what) if found is _MISSING else _check(found, what)
    if shape is not None and value.shape != shape:
        raise InvalidRequest(
            f"lists must be equally long for all elements, got {list(value.shape)} after {list(shape)}"
        )
    return value


def _find(text: bytes, what: JsonRead) -> object:
    """Return what the pointer points at; nothing and ``null`` are missing, which takes a default."""
    if len(text) > _MAX_JSON_BYTES:
        raise InvalidRequest(f"JSON of at most {_MAX_JSON_BYTES} bytes is read, got {len(text)}")
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"must be JSON: {error}") from error
    for segment in _segments(what.pointer):
        value = _step(value, segment)
    if value is not _MISSING and value is not None:
        return value
    if what.default is None:
        raise InvalidRequest(f"nothing is at {what.pointer!r}; a `default` would be taken then")
    return _MISSING


@functools.lru_cache
def _default(what: JsonRead) -> Tensor:
    return _check(orjson.loads(what.default or "null"), what)


def _step(value: object, segment: str) -> object:
    if isinstance(value, dict):
        return value.get(segment, _MISSING)
    if isinstance(value, list) and _POSITION.fullmatch(segment) and int(segment) < len(value):
        return value[int(segment)]
    return _MISSING


def _check(value: object, what: JsonRead) -> Tensor:
    """Return a value as a tensor of the type that is wanted."""
    datatype, dimensions, _ = _type(what.type)
    sizes: dict[Dimension, int] = {}
    shape: list[int] = []
    level: list[object] = [value]
    for dimension in dimensions:
        lists = [entry for entry in level if isinstance(entry, list)]
        lengths = {len(entry) for entry in lists}
        size = lengths.pop() if lengths else 0
        wanted = dimension if isinstance(dimension, int) else sizes.setdefault(dimension, size) if dimension else size
        if len(lists) != len(level) or lengths or size != wanted:
            raise InvalidRequest(f"must be {what.type}: lists of {show_dimension(wanted)}, got {_shown(value)}")
        shape.append(size)
        level = [item for entry in lists for item in entry]
    array = np.empty(len(level), dtype=DTYPES[datatype])
    for position, entry in enumerate(level):
        array[position] = _scalar(entry, datatype, what.type)
    return array.reshape(shape)


def _scalar(value: Any, datatype: str, wanted: str) -> Any:  # noqa: ANN401 - JSON in, an element out
    if datatype == BYTES:
        return value.encode() if isinstance(value, str) else orjson.dumps(value)
    dtype = DTYPES[datatype]
    if datatype == "BOOL":
        good = isinstance(value, bool)
    else:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if good and not is_float(dtype):
            good = float(value).is_integer() and in_range(value, dtype)
    if not good:
        raise InvalidRequest(f"must be {wanted}, got {_shown(value)}")
    return value if datatype == "BOOL" or is_float(dtype) else int(value)


def _shown(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - enough to recognise it


def _give_write(what: JsonWrite, flows: Sequence[Flow]) -> list[Flow]:
    if len(what.names) != len(flows) or len(set(what.names)) != len(flows):
        raise InvalidGraph(
            f"names must be one for each of the {len(flows)} inputs, all different, got {list(what.names)}"
        )
    return made(BYTES, [], text=True)


def _run_write(what: JsonWrite, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    check_bytes(sum(_JSON_ELEMENT * array.size + _text_bytes(array) for array in arrays))
    members = {name: _plain(array) for name, array in zip(what.names, arrays, strict=True)}
    return [from_elements([orjson.dumps(members, option=orjson.OPT_SERIALIZE_NUMPY)], ())]


def _text_bytes(array: Tensor) -> int:
    return sum(6 * len(element) for element in array.flat) if array.dtype == DTYPES[BYTES] else 0  # \u0000


def _plain(array: Tensor) -> object:
    if array.dtype == DTYPES[BYTES]:
        texts = np.empty(array.size, dtype=object)
        texts[:] = decoded(array)
        return texts.reshape(array.shape).tolist()
    if is_float(array.dtype) and array.dtype != DTYPES["FP64"]:
        array = array.astype(DTYPES["FP32"])
    # Directly, orjson writes the shortest text that reads back as the same FP32.
    return np.ascontiguousarray(array) if array.ndim else array[()]


RULES: dict[type[What], Rule] = {
    JsonRead: Rule(_give_read, _run_read),
    JsonWrite: Rule(_give_write, _run_write, most=None),
}
