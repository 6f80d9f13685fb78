"""Tensors in bodies of the Open Inference Protocol's JSON, read and written, whichever side sends them.

A body is JSON, or JSON followed by the raw bytes of the tensors that say ``binary_data_size``, in their order; the
header ``Inference-Header-Content-Length`` then gives the length of the JSON. FP16 and BF16 have no JSON form in the
protocol: binary only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from graphmesh.core.errors import InvalidRequest, InvalidTensor, Unsupported
from graphmesh.core.tensor import BYTES, RAW_ONLY, Tensor, check_shape, datatype_of, decode_raw, encode_raw, itemsize
from graphmesh.worker.forms.natural import array_from_elements, flatten, load_object
from graphmesh.worker.forms.wire import at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.inference import Parameter

__all__ = ["HEADER_LENGTH", "Body", "objects", "parameters_of", "read_body", "string_of", "write_body"]

HEADER_LENGTH = "inference-header-content-length"
"""The header that gives the length of the JSON in front of binary tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """An encoded request or answer."""

    body: bytes
    """JSON, then the raw bytes of binary tensors."""
    header_length: int | None = None
    """Length of the JSON if binary tensors follow."""


def read_body(
    body: bytes, header_length: str | None, key: str, *, null_is_nan: bool = False
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the JSON of a body, and the tensors by name that it has under a key.

    Args:
        body: JSON, perhaps with binary tensors after it.
        header_length: What `HEADER_LENGTH` says; None if it is not there.
        key: `inputs` or `outputs`.
        null_is_nan: Take null as NaN where fractions are taken: JSON has no other way to write it.

    Raises:
        InvalidRequest: malformed; names the field (INVALID_ARGUMENT, retry: no).
        Unsupported: shared memory (UNIMPLEMENTED, retry: no).
    """
    length = _header_length(header_length, len(body))
    head = load_object(memoryview(body)[:length])
    binary = _Binary(memoryview(body)[length:])
    tensors: dict[str, Tensor] = {}
    for index, tensor in enumerate(objects(head, key)):
        path = f"{key}[{index}]"
        name = string_of(tensor, "name", path)
        if name in tensors:
            raise InvalidRequest(f"{path}.name must be unique, got {name[:140]!r} again")
        try:
            tensors[name] = _tensor(path, name, tensor, binary, null_is_nan=null_is_nan)
        except InvalidTensor as error:
            raise at(path, error) from None
    binary.check_end()
    return head, tensors


def _header_length(text: str | None, total: int) -> int:
    if text is None:
        return total
    if not text.isascii() or not text.isdigit() or len(text) > len(str(total)) or int(text) > total:
        raise InvalidRequest(f"Inference-Header-Content-Length must be from 0 to {total}, got {text[:20]!r}")
    return int(text)


class _Binary:
    """The bytes after the JSON, taken from the front."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def take(self, path: str, size: object) -> memoryview:
        left = len(self._data) - self._taken
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= left:
            raise InvalidTensor(f"{path}.parameters.binary_data_size must be from 0 to {left}, got {str(size)[:20]}")
        self._taken += size
        return self._data[self._taken - size : self._taken]

    def check_end(self) -> None:
        if self._taken != len(self._data):
            raise InvalidRequest(f"{len(self._data) - self._taken} bytes are left over after the binary tensors")


def _tensor(path: str, name: str, tensor: dict[str, Any], binary: _Binary, *, null_is_nan: bool) -> Tensor:
    datatype = string_of(tensor, "datatype", path)
    size = itemsize(datatype)
    shape = tensor.get("shape")
    if not isinstance(shape, list) or any(type(dimension) is not int for dimension in shape):
        raise InvalidTensor(f"{path}.shape must be a list of whole numbers")
    parameters = parameters_of(tensor, f"{path}.parameters")
    if "shared_memory_region" in parameters:
        raise Unsupported(f"{path}.parameters: shared memory is not offered")
    if "binary_data_size" in parameters:
        if tensor.get("data"):  # kserve's client sends an empty one beside an empty tensor
            raise InvalidTensor(f"{path} must have either data or binary_data_size, got both")
        return decode_raw(name, datatype, shape, binary.take(path, parameters["binary_data_size"]))
    if "data" not in tensor:
        raise InvalidTensor(f"{path}.data is missing")
    if datatype in RAW_ONLY:
        raise InvalidTensor(f"{path}.datatype {datatype} has no JSON form; send binary_data")
    count = check_shape(name, shape)
    _, elements = flatten(name, tensor["data"])
    if len(elements) != count:
        kind = "" if size is None else f" of {size} bytes"
        raise InvalidTensor(f"{path}.data: shape {shape} takes {count} elements{kind}, got {len(elements)}")
    return array_from_elements(name, datatype, elements, null_is_nan=null_is_nan).reshape(shape)


def objects(head: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty if there is none; raises InvalidRequest for anything else."""
    value = head.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or any(not isinstance(item, dict) for item in value):
        raise InvalidRequest(f"{key} must be a list of objects")
    return value


def string_of(holder: dict[str, Any], key: str, path: str) -> str:
    """Return a string; raises InvalidRequest, naming it by the path of what holds it, for anything else."""
    value = holder.get(key)
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}.{key} must be a string, got {type(value).__name__}")
    return value


def parameters_of(holder: dict[str, Any], path: str) -> dict[str, Parameter]:
    """Return a fresh copy of what holds parameters; raises InvalidRequest, naming them by their path."""
    value = holder.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict) or any(not isinstance(item, bool | int | float | str) for item in value.values()):
        raise InvalidRequest(f"{path} must be an object of booleans, numbers and strings")
    return dict(value)


def write_body(
    fields: Mapping[str, object], key: str, tensors: Mapping[str, Tensor], is_binary: Callable[[str], bool]
) -> Body:
    """Return a body: fields, then tensors under a key.

    Args:
        fields: Values that orjson can write.
        key: `inputs` or `outputs`.
        tensors: By name.
        is_binary: Whether the tensor of a name is to be raw bytes after the JSON.

    Raises:
        InvalidRequest: a tensor has no JSON form and is not to be binary (INVALID_ARGUMENT, retry: no).
    """
    written, raw = [], []
    for name, array in tensors.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if is_binary(name):
            raw.append(encode_raw(array))
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            tensor["data"] = _data(f"{key.removesuffix('s')} {name!r}", array)
        written.append(tensor)
    head = orjson.dumps({**fields, key: written}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Body(body=b"".join([head, *raw]), header_length=len(head)) if raw else Body(body=head)


def _data(what: str, array: Tensor) -> object:
    datatype = datatype_of(array)
    if datatype in RAW_ONLY:
        raise InvalidRequest(f"{what} is {datatype}, which has no JSON form; ask for binary_data")
    if datatype != BYTES:
        return np.ascontiguousarray(array).reshape(-1)
    try:
        return [element.decode() for element in array.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{what} is not UTF-8 text; ask for binary_data") from error
