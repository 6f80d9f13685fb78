"""What a checked CEL expression reads, and a bound of what evaluating it can cost.

A walk over the syntax tree that bounds, for every part, how large its value can be and how often it is evaluated, given
that a tensor's value is never larger than `Scope` lets through. Sizes count a list's elements, those of all levels, and
16 bytes of text as one; a step is comparing two elements, 7 ns mostly and 26 at worst. What a macro's variable is adds
up to the list that it walks over, so that searching every element of a list costs what searching the whole does.
Steps of matching and of building lists were measured, at their worst: RE2 falls back on its slow automaton, and `map`
copies its list for each element.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_CONDITION_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cel.expr.syntax_pb2 import Expr

__all__ = ["LIMITS", "MAX_COST", "VARIABLES", "Limits", "Reading", "Study", "study"]

MAX_COST = 375_000
"""Steps that all expressions which a step evaluates at once may take at worst: 9.9 ms at 26.4 ns for each, the worst
that a search for such expressions found. The library holds on to the interpreter meanwhile: nothing else goes on in the
process, on no thread."""

MAX_TEXT_BYTES = 64 * 1024
"""Bytes of text in a tensor whose value an expression sees."""

MAX_PARAMETER_BYTES = 8 * 1024
"""Bytes of a parameter or header whose value an expression sees."""


class Limits(NamedTuple):
    """How large what expressions see is at most."""

    elements: int
    """Of a tensor."""
    text: int
    """Bytes of text in a tensor."""
    parameter: int
    """Bytes of a parameter or header."""


LIMITS = tuple(
    Limits(MAX_CONDITION_ELEMENTS >> halved, MAX_TEXT_BYTES >> halved, MAX_PARAMETER_BYTES >> min(halved, 3))
    for halved in range(6)
)
"""What expressions see at most, the largest first; those that go through lists over and over see less."""

VARIABLES = frozenset({"headers", "inputs", "iteration", "outputs", "params", "shapes"})
"""All that expressions may see."""

_ITERATIONS = 10_000  # the library's own limit for all macros of one evaluation
_CHARACTERS = 16  # in a unit of size
_MEMBERS = 64  # of `inputs`, `headers`, ... when the whole map is asked
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)
_UNICODE_CLASS = re.compile(r"\\[pP]")
_SCALARS = frozenset(
    {"_&&_", "_||_", "!_", "@not_strictly_false", "_-_", "_*_", "_/_", "_%_", "-_"}
    | {"int", "uint", "double", "bool", "type", "timestamp", "duration"}
)
_COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "startsWith", "endsWith"})


@dataclass(slots=True)
class Reading:
    """What an expression reads of one variable."""

    members: set[str] = field(default_factory=set)
    """Names that it selects, ``inputs.NAME``."""
    whole: bool = False
    """Whether it asks in a way that only shows while it runs, ``inputs[params.name]``."""


@dataclass(frozen=True, slots=True)
class Study:
    """What is known of an expression before it runs."""

    reading: Mapping[str, Reading]
    """By variable."""
    cost: float
    """Steps at worst."""
    patterns: tuple[str, ...]
    """Its regular expressions."""


class _Size(NamedTuple):
    """How large a value can be: on average over all times that it is made, and at most."""

    units: float
    """Elements and text, all levels together."""
    length: float
    """Elements of the outermost level."""
    items: float
    """Elements of all levels."""
    most_units: float
    """Most units of one value."""
    most_items: float
    """Most items of one value."""


def _fixed(units: float, length: float, items: float) -> _Size:
    """Return the size of a value that is as large each time."""
    return _Size(units, length, items, units, items)


_ONE = _fixed(1, 1, 1)


def _together(sizes: Sequence[_Size], more: float = 0) -> _Size:
    """Return the size of all of these, and ``more`` elements that hold them."""
    return _Size(*(more + sum(parts) for parts in zip(*sizes, strict=True)))


class _Loop(NamedTuple):
    """A macro's variable."""

    size: _Size
    """Of the list that it walks over."""
    level: int
    """Which of the enclosing macros it belongs to."""


class _Walk:
    """One walk; `levels` are the lengths of the lists that the enclosing macros walk over.

    Args:
        limits: Of what the expression sees.
    """

    def __init__(self, limits: Limits) -> None:
        elements = limits.elements
        self._parameter = _fixed(1 + limits.parameter / _CHARACTERS, 1, 1)
        self._tensor = _fixed(elements + limits.text / _CHARACTERS, elements, elements)
        self._variable = _fixed(self._tensor.units * _MEMBERS, max(elements, _MEMBERS), elements * _MEMBERS)
        self.reading: dict[str, Reading] = {}
        self.patterns: list[str] = []
        self.cost = 0.0
        self._levels: list[float] = []
        self._names: dict[str, _Loop | _Size] = {}

    def visit(self, node: Expr) -> _Size:
        """Return the size of a part's value, having added what it costs."""
        self._spend(10)
        match node.WhichOneof("expr_kind"):
            case "ident_expr":
                size = self._name(node.ident_expr.name)
            case "select_expr":
                size = self._select(node.select_expr)
            case "call_expr":
                size = self._call(node.call_expr)
            case "list_expr":
                size = self._gather([self.visit(element) for element in node.list_expr.elements])
            case "struct_expr":
                size = self._struct(node.struct_expr)
            case "comprehension_expr":
                size = self._macro(node.comprehension_expr)
            case _:
                constant = node.const_expr
                size = _fixed(1 + len(constant.string_value or constant.bytes_value) / _CHARACTERS, 1, 1)
        return size

    def _times(self, *, without: int = -1) -> float:
        count = math.prod(length for level, length in enumerate(self._levels) if level != without)
        return min(_ITERATIONS, max(count, 1))

    def _spend(self, steps: float) -> None:
        self.cost += self._times() * steps

    def _name(self, name: str) -> _Size:
        known = self._names.get(name)
        if isinstance(known, _Loop):
            # Over all iterations of its own macro its values add up to the list.
            share = self._times(without=known.level) / self._times()
            walked, items = known.size, 1 + known.size.items * share
            return _Size(1 + walked.units * share, items, items, walked.most_units, walked.most_items)
        if known is not None:
            return known
        if name not in VARIABLES:  # a type, as `int`
            return _ONE
        self.reading.setdefault(name, Reading()).whole = True
        return _ONE if name == "iteration" else self._variable

    def _select(self, select: Expr.Select) -> _Size:
        size = self._member(select.operand, select.field)
        if size is None:
            size = self.visit(select.operand)
            size = size._replace(length=size.items)
        return _ONE if select.test_only else size

    def _member(self, operand: Expr, name: str) -> _Size | None:
        """Note that a name is selected from a variable, and return its size; None if it is selected from a value."""
        variable = operand.ident_expr.name
        if variable not in VARIABLES or variable in self._names:
            return None
        self.reading.setdefault(variable, Reading()).members.add(name)
        return self._parameter if variable in {"params", "headers"} else self._tensor

    def _call(self, call: Expr.Call) -> _Size:
        operands: list[Expr] = [call.target] if call.HasField("target") else []
        operands.extend(call.args)
        if call.function == "_[_]" and operands[1].const_expr.WhichOneof("constant_kind") == "string_value":
            member = self._member(operands[0], operands[1].const_expr.string_value)
            if member is not None:
                return member
        elif call.function == "@in" and operands[0].const_expr.WhichOneof("constant_kind") == "string_value":
            if self._member(operands[1], operands[0].const_expr.string_value) is not None:
                return _ONE  # `'x-tier' in headers` is a look into a map, as `has(headers.tier)` is
        elif call.function == "matches":
            return self._matches(*operands)
        return self._apply(call.function, [self.visit(operand) for operand in operands])

    def _apply(self, function: str, sizes: Sequence[_Size]) -> _Size:
        units = [size.units for size in sizes]
        if function in _SCALARS:
            return _ONE
        if function in _COMPARISONS:
            self._spend(min(units))
        elif function == "contains":
            self._spend(units[0] * (12 + sizes[1].most_units / 4))
        elif function in {"@in", "size"}:
            self._spend(units[-1])
        elif function == "_?_:_":
            return _Size(*map(max, *sizes[1:]))
        elif function == "_[_]":
            return sizes[0]._replace(length=sizes[0].items)
        elif function == "dyn":
            return sizes[0]
        else:  # a sum, `string`, `bytes`, and whatever else makes something of all that it is given
            self._spend(sum(units))
            return _together(sizes)
        return _ONE

    def _matches(self, text: Expr, pattern: Expr) -> _Size:
        size = self.visit(text)
        if pattern.const_expr.WhichOneof("constant_kind") != "string_value":
            raise InvalidGraph("the regular expression of `matches` must be written out, so that its cost is known")
        written = pattern.const_expr.string_value
        self.patterns.append(written)
        # The library compiles it again for each match.
        self._spend(500 + 6 * _states(written, unicode_class=20_000))
        self._spend(size.units * _CHARACTERS * (0.25 + _states(written, unicode_class=30) / 8))
        return _ONE

    def _struct(self, struct: Expr.CreateStruct) -> _Size:
        if struct.message_name:
            raise InvalidGraph(f"conditions cannot make messages, got {struct.message_name[:140]!r}")
        return self._gather([
            self.visit(part) for entry in struct.entries for part in (entry.map_key, entry.value)
        ])  # fmt: skip

    def _gather(self, sizes: Sequence[_Size]) -> _Size:
        self._spend(len(sizes))
        count = max(len(sizes), 1)
        return _together(sizes or [_ONE], count)._replace(length=count)

    def _macro(self, macro: Expr.Comprehension) -> _Size:
        walked = self.visit(macro.iter_range)
        result = self.visit(macro.accu_init)
        outer = dict(self._names)
        self._levels.append(walked.length)
        loop = _Loop(walked, len(self._levels) - 1)
        self._names |= {name: loop for name in (macro.iter_var, macro.iter_var2) if name}
        self._names[macro.accu_var] = _ONE
        self.visit(macro.loop_condition)
        step = self.visit(macro.loop_step)
        if macro.accu_init.HasField("list_expr"):  # `map` and `filter` make a longer list of the one before
            result = _Size(
                1 + walked.length * step.units,
                1 + walked.length,
                1 + walked.length * step.items,
                1 + walked.most_items * step.most_units,
                1 + walked.most_items * step.most_items,
            )
            self._spend(2 * walked.most_items)
        self._levels.pop()
        self._names = outer | {macro.accu_var: result}
        size = self.visit(macro.result)
        self._names = outer
        return size


def _states(pattern: str, *, unicode_class: int) -> float:
    """Return about how many states a regular expression's automaton has, given what a class of Unicode counts for."""
    if "\\Q" in pattern:
        raise InvalidGraph("`matches` takes no \\Q...\\E here; put a backslash before each special character")
    groups, atom = [0.0], 0.0
    for token in _TOKEN.finditer(pattern):
        if token[0] == "(":
            groups.append(0.0)
            continue
        if token[1]:  # {least,most} repeats what is before it
            groups[-1] -= atom
            atom *= max(int(token[1]), int(token[2] or 1), 1)
        elif token[0] == ")" and len(groups) > 1:
            atom = groups.pop()
        else:
            classes = len(_UNICODE_CLASS.findall(token[0]))
            atom = 4 * len(token[0]) + 10 * (token[0][0] in "[.\\") + unicode_class * classes
        groups[-1] += atom
    return sum(groups)


def study(expression: Expr, limits: Limits) -> Study:
    """Return what a checked expression reads and what it can cost on what is not larger than ``limits``.

    Raises:
        InvalidGraph: it makes messages, or matches a regular expression that is not written out (INVALID_ARGUMENT,
            retry: no).
    """
    walk = _Walk(limits)
    size = walk.visit(expression)
    return Study(walk.reading, walk.cost + size.units, tuple(walk.patterns))
