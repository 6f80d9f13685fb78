"""CEL expressions: compiled, with what they read and the most that they can cost.

Google's C++ implementation parses, checks and evaluates (https://cel.dev). It ends an evaluation after 10,000
iterations of macros and matches regular expressions with RE2, without backtracking. That alone bounds neither memory (a
text that each step doubles) nor time (a long text searched 10,000 times), so `expression_cost` bounds both beforehand.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cel.expr.checked_pb2 import CheckedExpr
from cel_expr_python import cel
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pool import DescriptorPool

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.conditions.cost import MAX_COST, Reading, study
from graphmesh.graph.limits import MAX_CONDITION_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Expression", "compile_expression", "one_line", "quote"]

_VALUES = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_ALWAYS = {
    "headers": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "params": _VALUES,
    "shapes": cel.Type.Map(cel.Type.STRING, cel.Type.List(cel.Type.INT)),
}
_SOMETIMES = {"inputs": _VALUES, "outputs": _VALUES, "iteration": cel.Type.INT}
_PROBLEM = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_STATUS = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]\s*$")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'.*")


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression."""

    source: str
    """As it was written."""
    program: cel.Expression
    """Evaluates it."""
    returns: str
    """The type of its value, ``BOOL``; ``DYN`` if only the values tell."""
    reading: Mapping[str, Reading]
    """What it reads of each variable that it names."""
    cost: float
    """Steps that it may take at worst."""

    def __str__(self) -> str:
        """Return it as errors show it."""
        return quote(self.source)


def quote(source: str) -> str:
    """Return an expression as errors show it: on one line, its end cut off if it is long."""
    return repr(source if len(source) <= 120 else f"{source[:117]}...")  # noqa: PLR2004 - a line's worth


def one_line(text: str) -> str:
    """Return what the library said without its status codes, on one line of bounded length."""
    return " ".join(_STATUS.sub("", text).split())[:300]


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
        known = study(checked.expr)
    except InvalidGraph as error:
        raise InvalidGraph(f"expression {quote(source)}: {error.message}") from error
    except RuntimeError as error:
        raise InvalidGraph(f"expression {quote(source)}: {_problem(source, str(error), sees)}") from error
    given = program.return_type().name()
    if given not in returns | {"DYN"}:
        wanted = " or ".join(sorted(name.lower() for name in returns))
        raise InvalidGraph(f"expression {quote(source)}: its value must be {wanted}, got {given.lower()}")
    if known.cost > MAX_COST:
        raise InvalidGraph(
            f"expression {quote(source)}: it could take {known.cost:.0f} steps on the largest tensors that expressions "
            f"see, at most {MAX_COST} are allowed; nest fewer macros, or search fewer and shorter texts"
        )
    _try_patterns(environment, source, known.patterns)
    program.eval(data={})  # makes its plan now rather than in the first call; the value is of no interest
    return Expression(source, program, given, known.reading, known.cost)


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
    variables = _ALWAYS | {name: _SOMETIMES[name] for name in sees}
    return cel.NewEnv(DescriptorPool(), variables=variables)


def _try_patterns(environment: cel.Env, source: str, patterns: tuple[str, ...]) -> None:
    """Refuse regular expressions that do not compile; the library itself only looks when it matches."""
    for pattern in patterns:
        problem = environment.compile(f"''.matches({_literal(pattern)})").eval().value()
        if isinstance(problem, str):
            raise InvalidGraph(f"expression {quote(source)}: {one_line(problem)}")


def _literal(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def _problem(source: str, text: str, sees: frozenset[str]) -> str:
    """Return one line for what the library said in many."""
    if "recursion" in text:
        return "it is nested too deeply, at most 32 levels are allowed"
    found = _PROBLEM.search(text)
    if found is None:
        return one_line(text)
    line, column, problem = int(found[1]), int(found[2]), found[3].removeprefix("Syntax error: ")[:200]
    undeclared = _UNDECLARED.fullmatch(problem)
    if undeclared:
        problem = f"there is no {undeclared[1]!r} here, only {', '.join(sorted(_ALWAYS.keys() | sees))}"
    where = f"line {line}, " if "\n" in source else ""
    return f"{where}character {max(column, 1)}: {problem}"
