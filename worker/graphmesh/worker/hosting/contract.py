"""The contract of a Python model, read from the annotations of its `predict`.

A parameter is an input, or the only one is a `TypedDict` or dataclass whose fields are the inputs. The return
annotation gives the outputs: a `TypedDict` or dataclass names them, any other type is one output called ``output``.
Types:

- ``Annotated[np.ndarray, "FP32 (N, 4)"]``: datatype in the protocol's or numpy's spelling, then dimensions: numbers,
  names (equal names have equal sizes) or ``?``. ``TEXT`` is BYTES that holds UTF-8; `predict` sees arrays of `str`.
- ``str``, ``bytes``, ``int``, ``float``, ``bool``: scalars of TEXT, BYTES, INT64, FP64, BOOL.
- ``list`` of one of those: one dimension of any size.
- ``Context`` (``list[Context]`` for a batched `predict`): no input, but what is known of the call.

A `predict` that streams is a generator, plain or async, and annotates what it yields: ``Iterator[...]``,
``AsyncIterator[...]`` or ``Generator[...]``.

Arrays are handed over as they are: inputs may be read-only views of the request. An output array must have the declared
dtype; lists and Python numbers are converted.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np

from graphmesh.core.errors import InvalidRequest, InvalidTensor, ModelFailed
from graphmesh.core.signature import Dimension, Signature, TensorSpec, parse_type
from graphmesh.core.tensor import BYTES, DTYPES, Tensor
from graphmesh.worker.hosting.context import Context

__all__ = ["Contract", "decode_text", "encode_text", "read_contract"]

_Take: TypeAlias = Callable[[str, Tensor], object]
_Give: TypeAlias = Callable[[str, object], Tensor]

_SCALARS: dict[object, str] = {str: "TEXT", bytes: BYTES, int: "INT64", float: "FP64", bool: "BOOL"}
_CONTEXTS = (Context, list[Context], Sequence[Context])
_ITERATORS = (Iterator, Iterable, Generator, AsyncIterator, AsyncIterable, AsyncGenerator)
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
    record: tuple[str, Callable[..., object]] | None = None
    """The only parameter, and what makes it of all inputs, if these are its fields."""
    context: str = ""
    """The parameter that takes the call's `Context`; empty if there is none."""
    contexts: bool = False
    """Whether that parameter takes a list, of a batch's contexts."""

    def arguments(self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()) -> Mapping[str, object]:
        """Return the keyword arguments of `predict`; ``inputs`` itself when nothing needs converting.

        Args:
            inputs: Tensors by name.
            contexts: What is known of the calls in them, in the order of their rows; used if `predict` asks for it.

        Raises:
            InvalidTensor: text that is not UTF-8 (INVALID_ARGUMENT, retry: no).
        """
        if not self.takes and not self.context and not self.record:
            return inputs
        arguments: dict[str, object] = {
            name: self.takes[name](name, array) if name in self.takes else array for name, array in inputs.items()
        }
        if self.record:
            parameter, make = self.record
            arguments = {parameter: make(**arguments)}
        if self.context:
            arguments[self.context] = list(contexts) if self.contexts else contexts[0]
        return arguments

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
    parameters = _parameters(predict)
    context = [name for name in parameters if hints.get(name) in _CONTEXTS]
    names = [name for name in parameters if name not in context]
    _check_required(parameters[name] for name in names)
    fields = _named_fields(hints.get(names[0])) if len(names) == 1 else {}
    inputs = [_read(name, fields or hints) for name in fields or names]
    if "return" not in hints:
        raise InvalidRequest(f"predict must annotate what it returns: a TypedDict, a dataclass, {_EXPECTED}")
    streaming, given = _yielded(predict, hints["return"])
    named = _named_fields(given)
    outputs = [_read(name, named) for name in named] if named else [_only_output(given)]
    return Contract(
        signature=Signature(tuple(one.spec for one in inputs), tuple(one.spec for one in outputs), streaming),
        takes={one.spec.name: one.take for one in inputs if one.take is not None},
        gives={one.spec.name: one.give for one in outputs},
        named=bool(named),
        record=(names[0], hints[names[0]]) if fields else None,
        context=context[0] if context else "",
        contexts=bool(context) and hints[context[0]] is not Context,
    )


def _yielded(predict: Callable[..., object], hint: Any) -> tuple[bool, Any]:  # noqa: ANN401 - a type hint can be anything
    """Return whether `predict` streams, and the annotation of one answer."""
    streams = inspect.isgeneratorfunction(predict) or inspect.isasyncgenfunction(predict)
    if typing.get_origin(hint) in _ITERATORS:
        if not streams:
            raise InvalidRequest("predict is annotated as an iterator, so it must be a generator: it must yield")
        return True, typing.get_args(hint)[0]
    if streams:
        raise InvalidRequest(f"predict is a generator, so it must be annotated as Iterator[...] of {_EXPECTED}")
    return False, hint


def _parameters(predict: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(predict).parameters
    for parameter in parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise InvalidRequest(f"predict must name every input, got {parameter}")
    return parameters


def _check_required(inputs: Iterable[inspect.Parameter]) -> None:
    """Refuse a default, which would say that the input may be left out."""
    for parameter in inputs:
        if parameter.default is not parameter.empty:
            raise InvalidRequest(
                f"{parameter.name!r} of predict must have no default, for every input is required; what callers may "
                "leave out is a request parameter: Context.parameters"
            )


def _named_fields(hint: Any) -> dict[str, Any]:  # noqa: ANN401 - a type hint can be anything
    if typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return typing.get_type_hints(hint, include_extras=True)
    return {}


def _only_output(hint: Any) -> _Tensor:  # noqa: ANN401 - a type hint can be anything
    plain = typing.get_origin(hint) or hint
    if isinstance(plain, type) and issubclass(plain, dict | tuple):
        raise InvalidRequest(
            f"predict returns {plain.__name__}, which does not name the outputs and their types; return a TypedDict or "
            "a dataclass, whose fields are the outputs"
        )
    return _read("output", {"output": hint})


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
    if name not in hints:
        raise InvalidRequest(f"{name!r} of predict has no annotation; it must be {_EXPECTED}")
    raise InvalidRequest(f"{name!r} of predict must be annotated as {_EXPECTED}, got {_called(hint)}")


def _called(hint: Any) -> str:  # noqa: ANN401 - a type hint can be anything
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


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
