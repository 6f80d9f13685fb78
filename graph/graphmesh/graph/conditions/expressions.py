"""CEL expressions: compiled, with what they read and the most that they can cost.

Google's C++ implementation parses, checks and evaluates (https://cel.dev). It ends an evaluation after 10,000
iterations of macros and matches regular expressions with RE2, without backtracking. That alone bounds neither memory (a
text that each step doubles) nor time (a long text searched 10,000 times), so `cost` bounds both beforehand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cel.expr.checked_pb2 import CheckedExpr
from cel_expr_python import cel
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pool import DescriptorPool

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.conditions.cost import LIMITS, MAX_COST, Limits, Reading, Study, study
from graphmesh.graph.conditions.problems import one_line, problems, quote, show, show_value
from graphmesh.graph.conditions.undeclared import undeclared
from graphmesh.graph.limits import MAX_CONDITION_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cel.expr.syntax_pb2 import Expr

__all__ = ["ANSWERED", "INPUTS", "Expression", "compile_expression", "variables"]

INPUTS = frozenset({"inputs"})
"""What an expression sees that is evaluated before its step runs anything, beside what all see."""
ANSWERED = frozenset({"inputs", "outputs", "iteration"})
"""What one sees that is evaluated after a turn of a loop."""

_VALUES = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_ALWAYS = {
    "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "params": _VALUES,
    "shapes": cel.Type.Map(cel.Type.STRING, cel.Type.List(cel.Type.INT)),
}
_SOMETIMES = {"inputs": _VALUES, "outputs": _VALUES, "iteration": cel.Type.INT}
_SHARE = 0.6
"""Of `MAX_COST` that an expression may take before it sees less."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression."""

    source: str
    """As it was written."""
    program: cel.Expression
    """Evaluates it."""
    sees: frozenset[str]
    """Which of ``inputs``, ``outputs`` and ``iteration`` there are."""
    returns: frozenset[str]
    """Names of the types that its value may have, ``BOOL``."""
    reading: Mapping[str, Reading]
    """What it reads of each variable that it names."""
    cost: float
    """Steps that it may take at worst."""
    limits: Limits
    """What it sees at most."""

    def __str__(self) -> str:
        """Return it as errors show it."""
        return quote(self.source)


@functools.lru_cache(maxsize=1024)  # the contract gate asks for the same ones again and again
def compile_expression(source: str, *, sees: frozenset[str], returns: frozenset[str]) -> Expression:
    """Return an expression ready to be evaluated.

    Args:
        source: What was written.
        sees: Which of ``inputs``, ``outputs`` and ``iteration`` there are.
        returns: Names of the types that its value may have; one that is only known at run time passes.

    Raises:
        InvalidGraph: too long, does not parse, names what is not there, returns something else, or could cost too much
            (INVALID_ARGUMENT, retry: no).
    """
    _check_text(source)
    environment = _environment(sees)
    try:
        program = environment.compile(source)
        checked = CheckedExpr()
        Any.FromString(program.serialize()).Unpack(checked)
        known, limits = _affordable(checked.expr)
    except InvalidGraph as error:
        raise InvalidGraph(f"expression {quote(source)}: {error.message}") from error
    except RuntimeError as error:
        raise InvalidGraph(_problem(source, str(error), sees)) from error
    given = program.return_type().name()
    if given not in returns | {"DYN"}:
        raise InvalidGraph(f"this expression cannot work, {show_value(source, given.lower(), returns)}")
    if known.cost > MAX_COST:
        raise InvalidGraph(
            f"expression {quote(source)}: it could take {known.cost:.0f} steps on tensors of no more than "
            f"{limits.elements} elements and {limits.text} bytes of text, at most {MAX_COST} are allowed; nest fewer "
            "macros, or search fewer and shorter texts"
        )
    _try_patterns(environment, source, known.patterns)
    program.eval(data={})  # makes its plan now rather than in the first call; the value is of no interest
    return Expression(source, program, sees, returns, known.reading, known.cost, limits)


def _affordable(expression: Expr) -> tuple[Study, Limits]:
    """Return what is known of an expression with the largest limits at which it leaves others some time."""
    for limits in LIMITS:
        known = study(expression, limits)
        if known.cost <= MAX_COST * _SHARE:
            break
    return known, limits


def _check_text(source: str) -> None:
    if not source.strip():
        raise InvalidGraph("an expression must not be empty")
    if len(source) > MAX_CONDITION_CHARACTERS:
        raise InvalidGraph(
            f"expression {quote(source)}: at most {MAX_CONDITION_CHARACTERS} characters, got {len(source)}"
        )
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise InvalidGraph(f"expression {quote(source)}: not Unicode, it holds half of a surrogate pair") from error


@functools.cache
def _environment(sees: frozenset[str]) -> cel.Env:
    return cel.NewEnv(DescriptorPool(), variables=variables(sees))


def variables(sees: frozenset[str]) -> dict[str, cel.Type]:
    """Return the types of what expressions see; ``sees`` as for `compile_expression`."""
    return _ALWAYS | {name: _SOMETIMES[name] for name in sees}


def _try_patterns(environment: cel.Env, source: str, patterns: tuple[str, ...]) -> None:
    """Refuse regular expressions that do not compile; the library itself only looks when it matches."""
    for pattern in patterns:
        problem = environment.compile(f"''.matches({_literal(pattern)})").eval().value()
        if isinstance(problem, str):
            raise InvalidGraph(f"expression {quote(source)}: {one_line(problem)}")


def _literal(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def _problem(source: str, text: str, sees: frozenset[str]) -> str:
    """Return what is wrong with a source, where and what to do, for what the library said."""
    if "recursion" in text:
        return f"expression {quote(source)}: it is nested too deeply, at most 32 levels are allowed"
    found = problems(text)
    if not found:
        return f"expression {quote(source)}: {one_line(text)}"
    unknown = undeclared(source, found[0], variables(sees))
    first = unknown or found[0]
    return f"this expression cannot {'work' if first.overload or unknown else 'be read'}, {show(source, first)}"
