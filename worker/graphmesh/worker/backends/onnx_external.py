"""The files outside an ONNX file that its tensors refer to: found and contained before the runtime sees the model.

An ONNX file may say that a tensor's bytes are elsewhere, at any path. Only regular files below the model's own folder
are let through: no absolute path, no `..`, no symbolic link at any level, and no hard link, which could be another name
for any file of the disk. What a tensor claims must lie inside its file, and all claims together in memory.

The messages are walked in protobuf's wire form, over views of the bytes: weights are neither parsed nor copied. A walk
covers every place of the format that can hold a tensor: initializers, sparse ones, attributes of nodes and functions,
subgraphs in attributes at any depth, training information. O(fields), no recursion. A file without the text `location`
in it, the key that every reference has, is walked at its top only: most are, and it takes 1 ms instead of 40.

Not done: a guard against someone who changes the folder while the runtime reads it. Who can do that can as well change
the model. Specification: `onnx/onnx.proto3`.
"""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.backends.files import check_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ExternalTensor", "check_external", "external_tensors"]

# The fields that lead to tensors, by message: {field: message}.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_TOP = {"model": {7: "graph"}, "graph": {15: "sparse"}, "sparse": {}}
_KEY_OF_LOCATION = b"location"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DIMS, _DATA_TYPE, _NAME, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 13, 14
_SPARSE_DIMS = 3
_KEY, _VALUE = 1, 2
_LONGEST_VARINT = 10
_MORE = 0x80
_SIGN = 1 << 63
# Bits of an element by TensorProto.DataType; what is newer counts as a byte: the check of lengths is lax then.
_BITS = {
    1: 32,
    4: 16,
    5: 16,
    6: 32,
    7: 64,
    10: 16,
    11: 64,
    12: 32,
    13: 64,
    14: 64,
    15: 128,
    16: 16,
    21: 4,
    22: 4,
    23: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalTensor:
    """A tensor whose bytes are in another file."""

    name: str
    """The tensor's name; may be empty in an attribute."""
    location: str
    """The path as the model says it."""
    offset: int
    """Where its bytes begin."""
    length: int
    """How many there are, at least what its shape takes."""


def check_external(data: bytes, folder: Path) -> bool:
    """Return whether a model has external tensors, all of which are contained below ``folder``.

    Raises:
        LoadFailed: one is not, or lies about its size; names the tensor and the file. Also what is no protobuf.
    """
    claimed, any_external = 0, False
    for tensor in external_tensors(data):
        any_external = True
        try:
            _check_file(tensor, folder)
        except LoadFailed as error:
            raise LoadFailed(f"tensor {tensor.name!r}: external data {tensor.location!r} {error.message}") from None
        claimed += tensor.length
        check_memory(claimed)
    return any_external


def _check_file(tensor: ExternalTensor, folder: Path) -> None:
    location = tensor.location
    parts = location.split("/")
    # A backslash is a part of a name here, and something else to whoever reads paths of Windows.
    if not location or "\\" in location or "\0" in location or not parts[0] or ":" in parts[0] or ".." in parts:
        raise LoadFailed("must be a path below the model's folder, without '..' and backslashes")
    path = folder
    for part in parts:
        path /= part
        try:
            status = os.lstat(path)
        except OSError as error:
            raise LoadFailed(f"cannot be read: {error.strerror}") from None
        if stat.S_ISLNK(status.st_mode):
            raise LoadFailed(f"must not be a symbolic link, {part!r} is one; put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        raise LoadFailed("must be a regular file")
    if status.st_nlink > 1:
        raise LoadFailed(f"must not be a hard link, the file has {status.st_nlink} names; copy it there")
    end = tensor.offset + tensor.length
    if end > status.st_size:
        raise LoadFailed(f"must hold {end} bytes for this tensor, got {status.st_size}")


def external_tensors(data: bytes) -> Iterator[ExternalTensor]:
    """Yield every tensor of a serialised model whose bytes are elsewhere.

    Raises:
        LoadFailed: the bytes are no protobuf message, a name is not UTF-8, or a tensor claims more than this machine's
            memory.
    """
    reached = _CHILDREN if _KEY_OF_LOCATION in data else _TOP
    waiting = [("model", memoryview(data))]
    while waiting:
        kind, message = waiting.pop()
        if kind == "tensor":
            tensor = _external(message)
            if tensor is not None:
                yield tensor
            continue
        children, dims = reached[kind], []
        for field, value in _fields(message):
            if isinstance(value, memoryview) and field in children:
                waiting.append((children[field], value))
            if kind == "sparse" and field == _SPARSE_DIMS:
                dims.extend(_numbers(value))
        check_memory(math.prod(dims) if dims else 0)


def _external(message: memoryview) -> ExternalTensor | None:
    name, dims, bits, external = "", [], 8, False
    entries: dict[str, str] = {}
    for field, value in _fields(message):
        if field == _DIMS:
            dims.extend(_numbers(value))
        elif field == _DATA_TYPE and isinstance(value, int):
            bits = _BITS.get(value, 8)
        elif field == _DATA_LOCATION and isinstance(value, int):
            external = external or value != 0
        elif field == _NAME and isinstance(value, memoryview):
            name = _text(value)
        elif field == _EXTERNAL_DATA and isinstance(value, memoryview):
            external = True
            entry = {key: _text(part) for key, part in _fields(value) if isinstance(part, memoryview)}
            entries[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    if not external:
        return None
    needed = -(-math.prod(dims) * bits // 8)
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or needed)
    except ValueError:
        raise LoadFailed(f"tensor {name!r}: offset and length of external data must be numbers") from None
    if offset < 0 or length < 0 or any(size < 0 for size in dims):
        raise LoadFailed(f"tensor {name!r}: offset, length and dimensions must not be negative")
    return ExternalTensor(name=name, location=entries.get("location", ""), offset=offset, length=max(length, needed))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if wire == _BYTES:
            size, position = _varint(message, position)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise LoadFailed("not an ONNX file: it is no protobuf message")
        if position + size > end:
            raise LoadFailed("not an ONNX file, or only a part of one: it ends too early")
        if wire == _BYTES:
            yield tag >> 3, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        if position + index >= len(message):
            raise LoadFailed("not an ONNX file, or only a part of one: it ends too early")
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < _MORE:
            return value & 0xFFFFFFFFFFFFFFFF, position + index + 1
    raise LoadFailed("not an ONNX file: it is no protobuf message")


def _numbers(value: int | memoryview) -> list[int]:
    """Return the elements of a repeated int64, packed or not."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(_signed(number))
    return numbers


def _signed(value: int) -> int:
    return value - 2 * _SIGN if value >= _SIGN else value


def _text(value: memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:  # the runtime would open the bytes as they are, which no text here stands for
        raise LoadFailed("not an ONNX file: a name in it is not UTF-8") from None
