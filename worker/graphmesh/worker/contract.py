"""The contract of a Python model, read from the annotations of its `predict`.

A parameter is an input, the return annotation gives the outputs: a `TypedDict` or dataclass names them, any other type
is one output called ``output``. Types:

- ``Annotated[np.ndarray, "FP32 (N, 4)"]``: datatype in the protocol's or numpy's spelling, then dimensions: numbers,
  names (equal names have equal sizes) or ``?``. ``TEXT`` is BYTES that holds UTF-8; `predict` sees arrays of `str`.
- ``str``, ``bytes``, ``int``, ``float``, ``bool``: scalars of TEXT, BYTES, INT64, FP64, BOOL.
- ``list`` of one of those: one dimension of any size.

Arrays are handed over as they are: inputs may be read-only views of the request. An output array must have the declared
dtype; lists and Python numbers are converted.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np

from graphmesh.core.errors import InvalidRequest, InvalidTensor, ModelFailed
from graphmesh.core.signature import Dimension, Signature, TensorSpec, parse_type
from graphmesh.core.tensor import BYTES, DTYPES, Tensor

__all__ = ["Contract", "decode_text", "encode_text", "read_contract"]

_Take: TypeAlias = Callable[[str, Tensor], object]
_Give: TypeAlias = Callable[[str, object], Tensor]

_SCALARS: dict[object, str] = {str: "TEXT", bytes: BYTES, int: "INT64", float: "FP64", bool: "BOOL"}
_EXPECTED = 'Annotated[np.ndarray, "FP32 (N, 3)"], str, bytes, int, float, bool or a list of one of them'


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A model's signature, and how tensors become the arguments of `predict` and its result tensors."""

    signature: Signature
    """What the annotations say."""
    takes: Mapping[str, _Take]
    """For each input that is not handed over as it is: what turns the tensor into the argument."""
    gives: Mapping[str, _Give]
    """For each output: what turns the value into a tensor."""
    named: bool
    """Whether `predict` returns its outputs by name, rather than the only one."""

    def arguments(self, inputs: Mapping[str, Tensor]) -> Mapping[str, object]:
        """Return the keyword arguments of `predict`; ``inputs`` itself when nothing needs converting.

        Raises:
            InvalidTensor: text that is not UTF-8 (INVALID_ARGUMENT, retry: no).
        """
        if not self.takes:
            return inputs
        return {name: self.takes[name](name, array) if name in self.takes else array for name, array in inputs.items()}

    def outputs(self, result: object) -> dict[str, Tensor]:
        """Return the tensors of what `predict` returned, in the signature's order.

        Raises:
            ModelFailed: an output is missing or cannot be converted (INTERNAL, retry: no).
        """
        if not self.named:
            return {name: give(name, result) for name, give in self.gives.items()}
        values = result if isinstance(result, dict) else _fields(result)
        for name in self.gives:
            if name not in values:
                raise ModelFailed(f"output {name!r} is missing from what predict returned")
        return {name: give(name, values[name]) for name, give in self.gives.items()}


def _fields(result: object) -> dict[str, object]:
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    raise ModelFailed(f"predict must return the outputs by name, got {type(result).__name__}")


def read_contract(predict: Callable[..., object]) -> Contract:
    """Return the contract of a bound `predict` method.

    Raises:
        InvalidRequest: an annotation is missing or means nothing here; names the parameter and what is understood.
    """
    try:
        hints = typing.get_type_hints(predict, include_extras=True)
    except Exception as error:
        raise InvalidRequest(f"the annotations of predict cannot be read: {error}") from error
    inputs = [_read(name, hints) for name in _parameters(predict)]
    if "return" not in hints:
        raise InvalidRequest(f"predict must annotate what it returns: a TypedDict, a dataclass, {_EXPECTED}")
    named = _named_outputs(hints["return"])
    outputs = [_read(name, named) for name in named] if named else [_read("output", {"output": hints["return"]})]
    return Contract(
        signature=Signature(tuple(one.spec for one in inputs), tuple(one.spec for one in outputs)),
        takes={one.spec.name: one.take for one in inputs if one.take is not None},
        gives={one.spec.name: one.give for one in outputs},
        named=bool(named),
    )


def _parameters(predict: Callable[..., object]) -> list[str]:
    parameters = inspect.signature(predict).parameters.values()
    for parameter in parameters:
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise InvalidRequest(f"predict must name every input, got {parameter}")
    return [parameter.name for parameter in parameters]


def _named_outputs(hint: Any) -> dict[str, Any]:  # noqa: ANN401 - a type hint can be anything
    if typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return typing.get_type_hints(hint, include_extras=True)
    return {}


@dataclass(frozen=True, slots=True)
class _Tensor:
    spec: TensorSpec
    take: _Take | None
    give: _Give


def _read(name: str, hints: Mapping[str, Any]) -> _Tensor:
    hint = hints.get(name)
    if isinstance(hint, type) and hint in _SCALARS:
        return _tensor(name, _SCALARS[hint], (), take=_take_scalar)
    if typing.get_origin(hint) is list and typing.get_args(hint)[0] in _SCALARS:
        return _tensor(name, _SCALARS[typing.get_args(hint)[0]], (None,), take=_take_list)
    if typing.get_origin(hint) is Annotated:
        for note in typing.get_args(hint)[1:]:
            if isinstance(note, str):
                return _tensor(name, *_parse(name, note), take=None)
    raise InvalidRequest(f"{name!r} of predict must be annotated as {_EXPECTED}, got {hint}")


def _parse(name: str, note: str) -> tuple[str, tuple[Dimension, ...]]:
    try:
        datatype, shape, text = parse_type(note)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name!r} of predict: {error.message}") from error
    return ("TEXT" if text else datatype), shape


def _tensor(name: str, datatype: str, shape: tuple[Dimension, ...], *, take: _Take | None) -> _Tensor:
    text = datatype == "TEXT"
    spec = TensorSpec(name=name, datatype=BYTES if text else datatype, shape=shape, text=text)
    if text:
        inner = take or _take_array
        return _Tensor(spec, lambda name, array: inner(name, decode_text(name, array)), _give_text)
    return _Tensor(spec, take, _give_bytes if datatype == BYTES else _give_numbers(DTYPES[datatype]))


def _take_array(_name: str, array: Tensor) -> object:
    return array


def _take_scalar(_name: str, array: Tensor) -> object:
    return array.item()


def _take_list(_name: str, array: Tensor) -> object:
    return array.tolist()


def decode_text(name: str, array: Tensor) -> Tensor:
    """Return an object array of `str` for one of UTF-8 `bytes`.

    Raises:
        InvalidTensor: an element is not UTF-8 (INVALID_ARGUMENT, retry: no).
    """
    text = np.empty(array.shape, dtype=object)
    flat = text.reshape(-1)
    for index, element in enumerate(array.reshape(-1)):
        try:
            flat[index] = element.decode()
        except UnicodeDecodeError as error:
            raise InvalidTensor(f"tensor {name!r}: element {index} must be UTF-8 text, {error.reason}") from error
    return text


def encode_text(array: Tensor) -> Tensor:
    """Return an object array of UTF-8 `bytes` for an array of `str` or `bytes` (object or numpy's own dtypes)."""
    encoded = np.empty(array.shape, dtype=object)
    flat = encoded.reshape(-1)
    for index, element in enumerate(array.reshape(-1).tolist()):
        flat[index] = element.encode() if isinstance(element, str) else element
    return encoded


def _give_numbers(dtype: np.dtype[Any]) -> _Give:
    def give(name: str, value: object) -> Tensor:
        if isinstance(value, np.ndarray | np.generic):
            return np.asarray(value)
        try:
            return np.asarray(value, dtype=dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelFailed(f"output {name!r} cannot be an array of {dtype}: {error}") from error

    return give


def _give_text(name: str, value: object) -> Tensor:
    return _give_elements(name, value, str)


def _give_bytes(name: str, value: object) -> Tensor:
    return _give_elements(name, value, bytes)


def _give_elements(name: str, value: object, kind: type) -> Tensor:
    array = value if isinstance(value, np.ndarray) else _objects(value)
    for element in array.reshape(-1).tolist():
        if not isinstance(element, kind):
            raise ModelFailed(f"output {name!r} must hold {kind.__name__}, got {type(element).__name__}")
    return encode_text(array)


def _objects(value: object) -> Tensor:
    """Return an object array of a scalar or of nested lists; strings are elements, never sequences."""
    return np.array(value, dtype=object)
