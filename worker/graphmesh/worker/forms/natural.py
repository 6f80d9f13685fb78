"""Natural JSON: a model's inputs by name as plain values, turned into tensors by its signature.

A tensor is nested lists, or a bare value for a scalar. A string is UTF-8 text, ``{"b64": "..."}`` is bytes (TensorFlow
Serving's convention). Nothing is coerced except whole numbers where fractions are expected. Answers are
``{"model": ..., "version": ..., "outputs": {...}}``, and ``"degraded": [...]`` with the paths of the steps that
answered with less than they should; NaN and infinities, which JSON lacks, become null. An input that
takes fractions takes null for NaN.
"""

from __future__ import annotations

import base64
import binascii
import functools
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from graphmesh.core.errors import InvalidRequest, InvalidTensor
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.tensor import BYTES, DTYPES, RAW_ONLY, Tensor, datatype_of, is_float

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.core.inference import InferenceResponse
    from graphmesh.core.signature import Signature, TensorSpec

__all__ = [
    "array_from_elements",
    "decode_inputs",
    "decode_request",
    "encode_answer",
    "flatten",
    "load_object",
    "to_json",
]

_MAX_RANK = 32
_MOST_DIGITS = 5
"""As many as tell all numbers of 16 bits apart."""
_ACCEPTED: dict[str, tuple[str, frozenset[type]]] = {
    "b": ("true or false", frozenset({bool})),
    "i": ("whole numbers", frozenset({int})),
    "u": ("whole numbers", frozenset({int})),
    "f": ("numbers", frozenset({int, float})),
    "O": ('strings or {"b64": "..."}', frozenset({str, dict})),
    "V": ("numbers", frozenset({int, float})),  # BF16
}


def load_object(body: bytes | memoryview) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        InvalidRequest: not JSON, nested too deep, or not an object (INVALID_ARGUMENT, retry: no).
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidRequest(f"the body must be a JSON object: {error.msg} at {where}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {type(value).__name__}")
    return value


def decode_inputs(body: bytes, signature: Signature) -> dict[str, Tensor]:
    """Return the tensors of a body; their shapes are not checked against the signature here.

    Raises:
        InvalidRequest: not a JSON object (INVALID_ARGUMENT, retry: no).
        SignatureMismatch: no input has a name that the body uses (INVALID_ARGUMENT, retry: no).
        InvalidTensor: ragged lists, or elements of another type; names the input (INVALID_ARGUMENT, retry: no).
    """
    return {name: _decode(signature.input(name), value) for name, value in load_object(body).items()}


def decode_request(body: bytes, signature: Signature) -> InferenceRequest:
    """Return the request of a body, to be addressed; raises as `decode_inputs`."""
    return InferenceRequest(model="", inputs=decode_inputs(body, signature))


def _decode(spec: TensorSpec, value: object) -> Tensor:
    shape, elements = flatten(spec.name, value)
    return array_from_elements(spec.name, spec.datatype, elements, null_is_nan=True).reshape(shape)


def flatten(name: str, value: object) -> tuple[tuple[int, ...], Sequence[Any]]:
    """Return the shape and the elements, row-major, of nested lists.

    Raises:
        InvalidTensor: lists of different lengths side by side, or more than 32 levels (INVALID_ARGUMENT, retry: no).
    """
    if not isinstance(value, list):
        return (), [value]
    shape, level = [len(value)], value
    while level and isinstance(level[0], list):
        lengths = {len(item) if isinstance(item, list) else -1 for item in level}
        if len(lengths) != 1:
            raise InvalidTensor(f"input {name!r}: lists at level {len(shape)} must have equal lengths")
        shape.append(lengths.pop())
        if len(shape) > _MAX_RANK:
            raise InvalidTensor(f"input {name!r}: at most {_MAX_RANK} dimensions")
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def array_from_elements(name: str, datatype: str, elements: Sequence[Any], *, null_is_nan: bool = False) -> Tensor:
    """Return the flat array of JSON values, each of a type that the datatype takes and within its range.

    It is read-only, as tensors that come as raw bytes are: a model that writes into its inputs fails in whatever form
    it is called. ``null_is_nan`` takes null as NaN where fractions are taken.

    Raises:
        InvalidTensor: another type, out of range, not base64 (INVALID_ARGUMENT, retry: no).
    """
    dtype = DTYPES[datatype]
    expected, accepted = _ACCEPTED[dtype.kind]
    wrong = set(map(type, elements)) - accepted
    if null_is_nan and is_float(dtype):
        wrong.discard(type(None))
    if wrong:
        raise InvalidTensor(f"input {name!r}: {datatype} elements must be {expected}, got {_json_name(wrong.pop())}")
    array = _bytes_array(name, elements) if datatype == BYTES else _numbers(name, datatype, elements)
    array.flags.writeable = False
    return array


def _numbers(name: str, datatype: str, elements: Sequence[Any]) -> Tensor:
    dtype = DTYPES[datatype]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if elements and (min(elements) < limits.min or max(elements) > limits.max):
            raise InvalidTensor(f"input {name!r}: {datatype} elements must be from {limits.min} to {limits.max}")
    if not is_float(dtype):
        return np.array(elements, dtype=dtype)
    with np.errstate(over="ignore"):
        array = np.array(elements, dtype=np.float64).astype(dtype, copy=False)
    if np.isinf(array).any():  # not NaN: JSON has none, it was null
        raise InvalidTensor(f"input {name!r}: {datatype} elements must be within its range")
    return array


def _json_name(kind: type) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(kind, "a fraction" if kind is float else "a number")


def _bytes_array(name: str, elements: Sequence[Any]) -> Tensor:
    array = np.empty(len(elements), dtype=object)
    for index, element in enumerate(elements):
        array[index] = element.encode() if isinstance(element, str) else _from_b64(name, element)
    return array


def _from_b64(name: str, element: dict[str, Any]) -> bytes:
    text = element.get("b64")
    if len(element) != 1 or not isinstance(text, str):
        raise InvalidTensor(f'input {name!r}: an object must be {{"b64": "..."}}, got the keys {list(element)[:5]}')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidTensor(f"input {name!r}: b64 must be base64: {error}") from error


def encode_answer(response: InferenceResponse, signature: Signature) -> bytes:
    """Return the JSON of an answer."""
    text = {spec.name for spec in signature.outputs if spec.text}
    outputs = {name: to_json(array, text=name in text) for name, array in response.outputs.items()}
    body: dict[str, Any] = {"model": response.model, "version": response.version}
    if response.id:
        body["id"] = response.id
    body["outputs"] = outputs
    if degraded := response.parameters.get("degraded"):
        body["degraded"] = str(degraded).split(",")
    if "explain" in response.parameters:
        body["explain"] = orjson.Fragment(str(response.parameters["explain"]))
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def to_json(array: Tensor, *, text: bool) -> object:
    """Return what orjson writes as nested lists, or as one value: numpy's own for numbers, lists for BYTES.

    Fractions come out as the shortest decimals that stand for the same bits when they are read as the tensor's
    datatype: 0.1 of FP32 is ``0.1``, not ``0.10000000149011612``, which is its value as FP64.
    """
    datatype = datatype_of(array)
    if datatype == BYTES:
        return _elements(array.tolist(), text=text)
    if datatype in RAW_ONLY:
        array = _decimals(datatype).take(array.view(np.uint16))
    return array[()] if array.ndim == 0 else np.ascontiguousarray(array)


@functools.cache
def _decimals(datatype: str) -> Tensor:
    """Return by its 16 bits the shortest decimal of each number, in the single precision that orjson can write."""
    numbers = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[datatype])
    with np.errstate(all="ignore"):  # NaN and infinities are among them, and what is rounded up beyond the largest
        found, values = numbers.astype(np.float32), numbers.astype(np.float64)
        first_digit = np.floor(np.log10(np.abs(values)))
        for digits in range(_MOST_DIGITS, 0, -1):
            scale = 10.0 ** (digits - 1 - first_digit)
            rounded = np.trunc(values * scale + np.copysign(0.5, values)) / scale
            found = np.where(rounded.astype(numbers.dtype) == numbers, rounded, found).astype(np.float32)
    return found


def _elements(value: Any, *, text: bool) -> object:  # noqa: ANN401 - bytes or nested lists of them
    if isinstance(value, list):
        return [_elements(item, text=text) for item in value]
    return value.decode(errors="replace") if text else {"b64": base64.b64encode(value).decode()}
