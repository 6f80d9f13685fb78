"""Names in an expression that stand for nothing: what they were meant to be, and what there is instead."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from graphmesh.core.names import close_names
from graphmesh.graph.conditions.cost import VARIABLES
from graphmesh.graph.conditions.problems import Problem
from graphmesh.graph.conditions.syntax import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FUNCTIONS", "undeclared"]

FUNCTIONS = {
    "all": "x.all(v, v > 0)",
    "bool": "bool(x)",
    "bytes": "bytes(x)",
    "contains": "x.contains('a')",
    "double": "double(x)",
    "duration": "duration('10s')",
    "dyn": "dyn(x)",
    "endsWith": "x.endsWith('a')",
    "exists": "x.exists(v, v > 0)",
    "exists_one": "x.exists_one(v, v > 0)",
    "filter": "x.filter(v, v > 0)",
    "has": "has(inputs.x)",
    "int": "int(x)",
    "map": "x.map(v, v + 1)",
    "matches": "x.matches('a+')",
    "size": "size(x)",
    "startsWith": "x.startsWith('a')",
    "string": "string(x)",
    "timestamp": "timestamp('2030-01-01T00:00:00Z')",
    "type": "type(x)",
    "uint": "uint(x)",
}
"""The functions that expressions have, and how each is written; timestamps and durations have more of their own."""

_ELSEWHERE = {
    "any": "exists",
    "count": "size",
    "float": "double",
    "includes": "contains",
    "len": "size",
    "length": "size",
    "search": "matches",
    "str": "string",
}
"""What other languages call some of them."""

_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'.*")


def undeclared(source: str, problem: Problem, variables: Iterable[str]) -> Problem | None:
    """Return what is wrong with a name that stands for nothing, at the name's place; None for any other problem.

    Args:
        source: The expression.
        problem: As the library told it.
        variables: Those that the expression may see.
    """
    found = _UNDECLARED.fullmatch(problem.text)
    if found is None:
        return None
    name, line = found[1], source.split("\n")[problem.line - 1]
    before, after = line[: problem.column - 1].rstrip(), line[problem.column - 1 : problem.column]
    # The library points at what follows the name, and of `header.tier` at the last dot.
    told = name.rpartition(".")[0] if after == "." else name
    column = len(before) - len(told) + 1 if after in {"(", "."} and before.endswith(told) else problem.column
    what = _function(name) if after == "(" else _variable(name.partition(".")[0], sorted(variables))
    return Problem(problem.line, column, what)


def _function(name: str) -> str:
    if name in WORDS:
        return f"`{name}` is no operator: {WORDS[name]}"
    if name in FUNCTIONS:
        return f"`{name}` is not written like this, but as `{FUNCTIONS[name]}`"
    near = difflib.get_close_matches(name, [*FUNCTIONS, *_ELSEWHERE], n=2, cutoff=0.65)
    meant = dict.fromkeys(FUNCTIONS[_ELSEWHERE.get(each, each)] for each in near)
    hint = f"; did you mean {' or '.join(f'`{each}`' for each in meant)}?" if meant else ""
    return (
        f"there is no function `{name}`{hint}\nThe functions are {', '.join(FUNCTIONS)}; for all else put a "
        "transform or a model before the step"
    )


def _variable(name: str, known: list[str]) -> str:
    near = close_names(name, [*known, "true", "false", "null"])
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    tensor = name.isidentifier() and name not in VARIABLES
    lead = " A" if meant else "; a"
    how = f"{lead} tensor is `inputs.{name}`, and text is in quotes, '{name}'" if tensor else ""
    return f"there is no {name!r} here, only {', '.join(known)}{meant}{how}"
