"""Conditions and keys: CEL expressions over what a step sees.

Compiled once for a revision, evaluated in a few microseconds. What an expression can cost is bounded when it is
compiled, and one that costs much for each element sees less: see `cost.LIMITS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import FailedPrecondition
from graphmesh.graph.conditions.expressions import INPUTS, compile_expression
from graphmesh.graph.conditions.problems import guarded, one_line
from graphmesh.graph.conditions.typed import check_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.conditions.cost import Limits
    from graphmesh.graph.conditions.expressions import Expression
    from graphmesh.graph.conditions.scope import Scope

__all__ = ["Condition", "Key"]

_MISSING = re.compile(r'Key not found in map : "(.*)"')
_LOOSE = re.compile(r"\|\||\?")
"""Operators that bind less tightly than `&&`."""
_SHORT = 100
"""Characters of an expression that is repeated whole in what an error tells to write."""
_NO = {
    "headers": "the request has no header",
    "inputs": "the step has no input",
    "outputs": "the body gives no output",
    "params": "the request has no parameter",
    "shapes": "there is no tensor",
}
"""What each variable lacks."""


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

    def check_types(self, tensors: Mapping[str, Mapping[str, TensorSpec]]) -> None:
        """Check it against the types of what it will see, by name for ``inputs`` and ``outputs``.

        Raises:
            InvalidGraph: it can never have a value, or not one that it must; names the place, the types and the fix
                (INVALID_ARGUMENT, retry: no).
        """
        check_types(self.expression, tensors)

    def _evaluate(self, scope: Scope) -> Any:  # noqa: ANN401 - whatever CEL has
        """Return the value, or raise FailedPrecondition if there is none."""
        try:
            value = self.expression.program.eval(data=scope.values(self.expression))
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
        name = missing[1]
        for variable in self.expression.reading:
            if scope.too_large(variable, name, self.expression.limits):
                limit = _limit(variable, self.expression.limits)
                return f"{variable}.{name} is too large to be seen: {limit}"
        for variable, asked in self.expression.reading.items():
            if name in asked.members and name not in getattr(scope, variable, ()):
                return f"{_NO[variable]} {name[:140]!r}; where it may be missing, write {self._guarded(variable, name)}"
        return f"there is no {name[:140]!r}; where it may be missing, ask first, as `'a' in params`"

    def _guarded(self, variable: str, name: str) -> str:
        """Return how the expression is written so that it has a value without a member, as errors show it."""
        written = self._written()
        return guarded(variable, name, f"({written})" if _LOOSE.search(written) else written)

    def _written(self) -> str:
        source = self.expression.source.strip()
        return source if len(source) <= _SHORT and source.isprintable() else "..."

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
        return cls(compile_expression(source, sees=INPUTS, returns=returns))

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
        raise self._failed(f"a key must be text, a whole number, or true or false, got {_kind(value)}")

    def _guarded(self, variable: str, name: str) -> str:
        """Return as for all expressions; a key without its member is an empty text."""
        return f"`{name!r} in {variable} ? {self._written()} : ''`"


def _limit(variable: str, limits: Limits) -> str:
    if variable in {"params", "headers"}:
        return f"at most {limits.parameter} bytes"
    return f"at most {limits.elements} elements and {limits.text} bytes of text here; its shape is in `shapes`"


def _kind(value: object) -> str:
    kinds = {
        bool: "true or false",
        bytearray: "bytes",
        dict: "a map",
        float: "a number with a fraction",
        int: "a whole number",
        list: "a list",
        str: "text",
        type(None): "null",
    }
    return kinds.get(type(value), "a value of another kind")
