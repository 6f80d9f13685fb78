"""Conditions and keys over what a step sees: CEL expressions over tensors, parameters and headers.

Compiled once for a revision, evaluated in a few microseconds. `inputs` and `outputs` are tensors by name, of which only
those are converted that the expression selects: one element is a bool, number, string, or bytes if it is no UTF-8 or
has a NUL, and more are lists of lists. A tensor with more than `MAX_CONDITION_ELEMENTS` elements or 64 KiB of text is
left out, but its shape is in `shapes` (that of the output, where an input has its name too). `params` and `headers` are
those of the request, up to 8 KiB each; `iteration` counts a loop's. What an expression can cost is bounded when it is
compiled: see `expressions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.errors import FailedPrecondition
from graphmesh.core.tensor import BYTES, DTYPES, is_float
from graphmesh.graph.conditions.cost import MAX_PARAMETER_BYTES, MAX_TEXT_BYTES
from graphmesh.graph.conditions.expressions import compile_expression, one_line
from graphmesh.graph.limits import MAX_CONDITION_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.core.inference import Parameter
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.conditions.cost import Reading
    from graphmesh.graph.conditions.expressions import Expression

__all__ = ["Condition", "Key", "Scope"]

_MISSING = re.compile(r'Key not found in map : "(.*)"')


@dataclass(slots=True, kw_only=True)
class Scope:
    """What expressions see of one call; conversions are kept, so that several share them."""

    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """The step's inputs."""
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    """A branch's answer."""
    iteration: int = 0
    """How many times a loop's body has run."""
    params: Mapping[str, Parameter] = field(default_factory=dict)
    """The request's parameters."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The request's headers, lower-case names."""
    _values: dict[tuple[str, str], object] = field(default_factory=dict, init=False, repr=False)

    def values(self, reading: Mapping[str, Reading]) -> dict[str, object]:
        """Return the variables that an expression reads, each with the members that it may read."""
        return {
            variable: self.iteration if variable == "iteration" else self._members(variable, asked)
            for variable, asked in reading.items()
        }

    def _members(self, variable: str, asked: Reading) -> dict[str, object]:
        there: Iterable[str] = self.inputs.keys() | self.outputs if variable == "shapes" else getattr(self, variable)
        names = filter(_whole, there) if asked.whole else asked.members.intersection(there)
        found = {name: self._value(variable, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def _value(self, variable: str, name: str) -> object:
        """Return a member's value; None if it is too large."""
        if (variable, name) not in self._values:
            self._values[variable, name] = self._convert(variable, name)
        return self._values[variable, name]

    def _convert(self, variable: str, name: str) -> object:
        if variable == "shapes":
            return list((self.outputs[name] if name in self.outputs else self.inputs[name]).shape)
        value = getattr(self, variable)[name]
        if isinstance(value, np.ndarray):
            return _plain(value)
        if not isinstance(value, str):
            return value
        element = value.encode(errors="surrogatepass")
        return None if len(element) > MAX_PARAMETER_BYTES else _text(element)

    def too_large(self, variable: str, name: str) -> bool:
        """Return whether there is such a member, but too large to be seen."""
        return (variable, name) in self._values and self._values[variable, name] is None


def _plain(tensor: Tensor) -> object:
    """Return a tensor as CEL sees it; None if it is too large."""
    if tensor.size > MAX_CONDITION_ELEMENTS:
        return None
    if tensor.dtype == DTYPES[BYTES]:
        if sum(map(len, tensor.flat)) > MAX_TEXT_BYTES:
            return None
        texts = np.empty(tensor.size, dtype=object)
        texts[:] = [_text(element) for element in tensor.flat]
        tensor = texts.reshape(tensor.shape)
    elif is_float(tensor.dtype):
        tensor = tensor.astype(np.float64)
    return tensor.item() if tensor.size == 1 else tensor.tolist()


def _text(element: bytes) -> str | bytearray:
    """Return UTF-8 as text and all else as bytes; so is text with a NUL, as the library would end it there."""
    try:
        text = element.decode()
    except UnicodeDecodeError:
        return bytearray(element)  # which the library takes whole, other than `bytes`
    return bytearray(element) if "\0" in text else text


def _whole(name: str) -> bool:
    """Return whether the library takes a name as it is."""
    return name.isprintable()


@dataclass(frozen=True, slots=True)
class _Parsed:
    """An expression and what it is for."""

    expression: Expression
    """Compiled."""

    def __str__(self) -> str:
        """Return the expression as it was written."""
        return self.expression.source

    def reads(self, variable: str) -> frozenset[str]:
        """Return the names that it is known to select from ``inputs``, ``outputs`` or ``shapes``."""
        asked = self.expression.reading.get(variable)
        return frozenset(asked.members) if asked else frozenset()

    def _evaluate(self, scope: Scope) -> Any:  # noqa: ANN401 - whatever CEL has
        """Return the value, or raise FailedPrecondition if there is none."""
        try:
            value = self.expression.program.eval(data=scope.values(self.expression.reading))
        except RuntimeError as error:
            raise self._failed(one_line(str(error))) from error
        plain = value.value()
        if isinstance(plain, str) and value.type().name() == "ERROR":
            raise self._failed(self._cause(scope, one_line(plain)))
        return plain

    def _cause(self, scope: Scope, text: str) -> str:
        missing = _MISSING.fullmatch(text)
        if missing is None:
            return text
        for variable in self.expression.reading:
            if scope.too_large(variable, missing[1]):
                return f"{variable}.{missing[1]} is too large to be seen: {_limit(variable)}"
        return f"there is no {missing[1][:140]!r}; where it may be missing, ask has(...) first"

    def _failed(self, cause: str) -> FailedPrecondition:
        return FailedPrecondition(f"expression {self.expression}: {cause[:300]}")


class Condition(_Parsed):
    """An expression that holds or does not."""

    __slots__ = ()

    @classmethod
    def parse(cls, source: str, *, sees: frozenset[str]) -> Condition:
        """Return a condition ready to be evaluated.

        Args:
            source: What was written.
            sees: Which of ``inputs``, ``outputs`` and ``iteration`` there are; the others always are.

        Raises:
            InvalidGraph: too long, does not parse, names what is not there, is no bool, or could cost too much; a value
                whose type only a request tells passes (INVALID_ARGUMENT, retry: no).
        """
        return cls(compile_expression(source, sees=sees, returns=frozenset({"BOOL"})))

    def holds(self, scope: Scope) -> bool:
        """Return whether it holds.

        Raises:
            FailedPrecondition: it has no value: something is missing, too large, or of a type that does not fit; or its
                value is no bool (FAILED_PRECONDITION, retry: no).
        """
        value = self._evaluate(scope)
        if value is True or value is False:
            return bool(value)
        raise self._failed(f"it must be true or false, got {_kind(value)}")


class Key(_Parsed):
    """An expression whose value tells requests apart."""

    __slots__ = ()

    @classmethod
    def parse(cls, source: str) -> Key:
        """Return a key ready to be evaluated; it sees a step's inputs. Raises as `Condition.parse`."""
        returns = frozenset({"STRING", "INT", "UINT", "BOOL"})
        return cls(compile_expression(source, sees=frozenset({"inputs"}), returns=returns))

    def value(self, scope: Scope) -> str:
        """Return the value as text.

        Raises:
            FailedPrecondition: as `Condition.holds`, or the value is neither string nor whole number nor bool
                (FAILED_PRECONDITION, retry: no).
        """
        value = self._evaluate(scope)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int):
            return str(value)
        raise self._failed(f"a key must be a string, whole number or bool, got {_kind(value)}")


def _limit(variable: str) -> str:
    if variable in {"params", "headers"}:
        return f"at most {MAX_PARAMETER_BYTES} bytes"
    return f"at most {MAX_CONDITION_ELEMENTS} elements and {MAX_TEXT_BYTES} bytes of text; its shape is in `shapes`"


def _kind(value: object) -> str:
    return {bytearray: "bytes", type(None): "null", dict: "a map", list: "a list"}.get(
        type(value), type(value).__name__
    )
