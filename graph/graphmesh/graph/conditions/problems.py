"""What is wrong with an expression, said for those who write it: the line, a mark under the place, and what to do.

The library's own text is that of a parser ("mismatched input", lists of tokens) and of a checker that knows functions
by their inner names (`_>_`); what is known of it becomes plain words, and what is not stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.conditions.syntax import place, syntax

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Problem", "guarded", "one_line", "problems", "quote", "show", "show_value"]

_WIDTH = 100
_PROBLEM = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_STATUS = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]\s*$")
_OVERLOAD = re.compile(r"found no matching overload for '(.+?)' applied to '(.*)'")
_FIELD = re.compile(r"expression of type '(.*)' cannot be the operand of a select operation")
_RANGE = re.compile(r"expression of type '(.*)' cannot be the range of a comprehension.*")
_HAS = re.compile(r"has\s*\(\s*(?P<variable>\w+)\s*\[\s*(?P<quote>[\"'])(?P<name>[^\"'\\]+)(?P=quote)")
_SIMPLE = re.compile(r"[\w.()\[\]'\"-]{1,60}")
_KINDS = {
    "int": "a whole number",
    "uint": "an unsigned whole number",
    "double": "a number with a fraction",
    "string": "text",
    "bytes": "bytes",
    "bool": "a bool",
    "list": "a list",
    "map": "a map",
    "null": "null",
    "null_type": "null",
    "dyn": "a value that only a request tells",
    "*error*": "a value that only a request tells",
}
_ELEMENTS = {
    "int": "whole numbers",
    "uint": "unsigned whole numbers",
    "double": "numbers with a fraction",
    "string": "texts",
    "bytes": "bytes",
    "bool": "bools",
}
_COMPARISONS = {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"}
_ADVICE = {
    "": "compare what is of one kind: text with 'en', a number with 5; `int(...)` and `string(...)` convert",
    "lists": "one element is `x[0]`; ask of any of them `x.exists(v, v > 0)`, of all `x.all(v, v > 0)`",
    "bool": "a bool is compared with true or false, or stands alone",
    "logic": "it takes true or false; compare, as in `inputs.score > 0.5`",
    "@in": "the list has elements of another kind, or is none; compare with what is of one kind",
    "size": "text, bytes, lists and maps have a size; a tensor of one element is that value, its shape is `shapes.x`",
    "_[_]": "lists are indexed by whole numbers; a tensor of one element is that value, without an index",
}
_TESTS = {
    "int": "{} > 0",
    "uint": "{} > 0u",
    "double": "{} > 0.5",
    "string": "{} == 'en'",
    "bytes": "{} == b'en'",
    "bool": "{}",
}
"""What makes a condition of a value of each type."""
_LOGIC = {"_&&_", "_||_", "!_", "_?_:_"}
_ARITHMETIC = {"_+_", "_-_", "_*_", "_/_", "_%_", "-_"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One place of an expression that is wrong."""

    line: int
    """From 1."""
    column: int
    """In characters, from 1; 0 for the expression as a whole."""
    text: str
    """What the library says of it, on one line."""

    @property
    def overload(self) -> tuple[str, tuple[str, ...]] | None:
        """The function and the types that it cannot be applied to, by the library's names; None if it is not that."""
        found = _OVERLOAD.fullmatch(self.text)
        return (found[1], _split(found[2])) if found else None


def problems(text: str) -> list[Problem]:
    """Return the problems in what the library says, in the order of their places; none if it names no place."""
    found = {
        Problem(int(line), max(int(column), 1), _STATUS.sub("", what).removeprefix("Syntax error: ")[:300])
        for line, column, what in _PROBLEM.findall(text)
        if int(line) > 0  # what follows from all others has no place
    }
    return sorted(found, key=lambda problem: (problem.line, problem.column))


def one_line(text: str) -> str:
    """Return what the library said without its status codes, on one line of bounded length."""
    return " ".join(_STATUS.sub("", text).split())[:300]


def quote(source: str) -> str:
    """Return an expression as errors show it: on one line, its end cut off if it is long."""
    return repr(source if len(source) <= 120 else f"{source[:117]}...")  # noqa: PLR2004 - a line's worth


def show(source: str, problem: Problem, types: str = "") -> str:
    """Return where and what a problem is: the place in words, the line with a mark under it, what to do.

    Args:
        source: The expression.
        problem: Its column is not 0.
        types: Those of the tensors that it reads, if that is of interest.
    """
    lines = source.split("\n")
    where = f"line {problem.line}, " if len(lines) > 1 else ""
    line = lines[min(problem.line, len(lines)) - 1]
    column = place(problem.text, line, problem.column)
    start = max(0, min(column - 1 - _WIDTH // 2, len(line) - _WIDTH))
    part = "".join(character if character.isprintable() else " " for character in line[start : start + _WIDTH])
    mark = " " * (column - 1 - start) + "^"
    return (
        f"{where}character {column}:\n    {part}\n    {mark}\n{_plain(problem, column, line, types and f' ({types})')}"
    )


def show_value(source: str, given: str, returns: Collection[str], types: str = "") -> str:
    """Return, as `show` does, that an expression's value is of no use as what it is.

    Args:
        source: The expression.
        given: The type of its value, as the library names it.
        returns: Names of the types that it may have, ``BOOL``.
        types: As for `show`.
    """
    kind = given.partition("<")[0]  # of `list<int>`
    lines = source[: len(source) - len(source.lstrip())].split("\n")
    part = source.strip() if _SIMPLE.fullmatch(source.strip()) else "(...)"
    if "STRING" in returns:
        how = f"take one element of it, as `{part}[0]`" if kind == "list" else f"convert it, as `string({part})`"
        fix = f"a key must be text, a whole number, or true or false; {how}"
    else:
        test = _test(part, given)
        fix = f"a condition must be true or false; compare it with something, as `{test}`"
    what = f"its value is {_kind(kind)}{types and f' ({types})'}, but {fix}"
    return show(source, Problem(len(lines), len(lines[-1]) + 1, what))


def _test(part: str, given: str) -> str:
    """Return a condition made of a value of some type."""
    if given.startswith("list<"):
        return f"{part}.exists(v, {_test('v', given[5:-1])})"
    return _TESTS.get(given, "{} == ...").format(part)


def guarded(variable: str, name: str, wanted: str) -> str:
    """Return the condition that asks for a member of ``variable`` only if it is there, as errors show it."""
    return f"`{name!r} in {variable} && {wanted}`"


def _plain(problem: Problem, column: int, line: str, types: str) -> str:
    """Return what is wrong and what to do."""
    overload = problem.overload
    if overload:
        return _misapplied(*overload, types)
    field, walked = _FIELD.fullmatch(problem.text), _RANGE.fullmatch(problem.text)
    if field:
        return f"{_kind(field[1])} has no fields{types}; only variables, as `inputs`, and maps have"
    if walked:
        return (
            f"{_kind(walked[1])} has no elements to go through{types}: `all`, `exists`, `filter` and `map` are of "
            "lists and maps, and a tensor of one element is that value itself"
        )
    return _has(line, problem) if problem.text.startswith("has() argument") else syntax(problem.text, line, column)


def _has(line: str, problem: Problem) -> str:
    """Return what to write where `has` is asked for something else than a name after a dot."""
    asked = next((found for found in _HAS.finditer(line) if found.start() < problem.column <= found.end()), None)
    takes = "`has(...)` takes a name after a dot, as `has(headers.tier)`"
    if asked is None:
        return takes
    variable, name = asked["variable"], asked["name"]
    whole = guarded(variable, name, f"{variable}[{name!r}] == 'gold'")
    return f"{takes}; ask `{name!r} in {variable}`, and before its value is used, {whole}"


def _misapplied(function: str, types: tuple[str, ...], known: str) -> str:
    name = f"`{function.strip('_@').replace('_', ' ')}`" if function != "_[_]" else "`[...]`"
    name = "`? :`" if function == "_?_:_" else name
    return f"{name} cannot be applied to {_and([_kind(each) for each in types])}{known}: {_advice(function, types)}"


def _advice(function: str, types: tuple[str, ...]) -> str:
    if function in _COMPARISONS | _ARITHMETIC and {*types} <= {"int", "uint", "double"}:
        return "the kinds of numbers do not mix; write 1.0 for 1, or convert with `double(...)` or `int(...)`"
    if function in _COMPARISONS:
        return _ADVICE["lists" if any(each.startswith("list(") for each in types) else "bool" * ("bool" in types)]
    if function == "_?_:_" and types[0] in {"bool", "dyn"}:
        return "what it gives must be of one kind either way; convert with `double(...)`, `int(...)` or `string(...)`"
    convert = "convert what it is given, as with `string(...)`, `int(...)` or `double(...)`"
    return _ADVICE.get("logic" if function in _LOGIC else function, convert)


def _kind(name: str) -> str:
    if name.startswith("list("):
        return f"a list of {_many(name[5:-1])}"
    if name.startswith("map("):
        return "a map"
    return "a type" if name.startswith("type") else _KINDS.get(name, name)


def _many(name: str) -> str:
    if name.startswith("list("):
        return f"lists of {_many(name[5:-1])}"
    return _ELEMENTS.get(name, "values")


def _and(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words) or "nothing"


def _split(types: str) -> tuple[str, ...]:
    """Return the types of ``(int, list(double))`` one by one."""
    parts, depth = [""], 0
    for character in types.removeprefix("(").removesuffix(")"):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return tuple(part.strip() for part in parts if part.strip())
