"""Whether an expression can work with the tensors that it will see, whose types are known when a graph is applied.

While it runs an expression sees every tensor as a value whose type only shows then, and this is what it is compiled
for. Here the library's checker is asked again, with each tensor declared as what its values will be: bool, int, double,
string, or lists of lists of them. Where a type leaves several (one element is a value and more are a list; BYTES are
text or bytes; large numbers of UINT64 are uint), each combination is asked, and refused is only a place that is wrong
in all of them. So what is refused has a part that can never be evaluated, or that compares what can never be equal.

The checker knows less than what evaluates does of numbers: `1 == 1.0` and `1 < 1.5` are fine there. What it says of
these is passed over, and so is what is made of such a value. Nothing is said of `dyn(...)`, parameters, headers, and
elements of `inputs[...]` with a name that only the request tells.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from typing import TYPE_CHECKING

from cel_expr_python import cel
from google.protobuf.descriptor_pool import DescriptorPool

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.tensor import BYTES, DTYPES, is_float
from graphmesh.graph.conditions.expressions import variables
from graphmesh.graph.conditions.problems import Problem, problems, show, show_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.conditions.expressions import Expression

__all__ = ["check_types"]

_MOST = 16
"""Combinations that are asked; tensors beyond that count as unknown."""

_SCALARS = {
    "BOOL": ("BOOL",),
    "UINT64": ("INT", "UINT"),  # the upper half of its values are no int
    BYTES: ("STRING", "BYTES"),
    "TEXT": ("STRING",),
}
_ORDERED = {"_<_", "_<=_", "_>_", "_>=_"}
_NUMBERS = re.compile(r"\b(?:int|uint|double)\b")
_TEXTS = re.compile(r"\b(?:string|bytes)\b")
_DYNAMIC = re.compile(r"\bdyn\b|\*error\*")
_QUOTED = r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
_TOKEN = re.compile(
    r"//[^\n]*"
    r"|(?P<has>(?<![\w.])has\s*\(\s*)(?P<asked>inputs|outputs)\b"
    r"|(?<![\w.])(?P<variable>inputs|outputs)\s*\[\s*(?P<quote>[\"'])(?P<name>[^\"'\\\n]+)(?P=quote)\s*\]"
    rf"|[rR]?\"\"\".*?\"\"\"|[rR]?'''.*?'''|[rR](?:\"[^\"\n]*\"|'[^'\n]*')|{_QUOTED}",
    re.DOTALL,
)
_SHADOWED = re.compile(r"\(\s*(?:\w+\s*,\s*)?(?:inputs|outputs)\s*,")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset({
    *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"),
    *("namespace", "null", "package", "return", "true", "var", "void", "while"),
})  # fmt: skip
"""Words of the language, which are names of tensors in ``inputs['in']`` only."""
_NEVER_THERE = {"inputs": "params", "outputs": "headers"}
"""Variables of the same length whose members the checker knows nothing of."""


def check_types(expression: Expression, tensors: Mapping[str, Mapping[str, TensorSpec]]) -> None:
    """Check an expression against the tensors that it will see.

    Args:
        expression: Compiled.
        tensors: Their types by name, for ``inputs`` and ``outputs``; one that is missing is unknown.

    Raises:
        InvalidGraph: it can never be evaluated, or reads a tensor that is always larger than it sees; names the place,
            the types and the fix (INVALID_ARGUMENT, retry: no).
    """
    read = [
        (variable, name, spec)
        for variable, specs in sorted(tensors.items())
        for name, spec in sorted(specs.items())
        if variable in expression.reading and name in expression.reading[variable].members
    ]
    if not read or _SHADOWED.search(expression.source):
        return
    for variable, name, spec in read:
        _check_size(expression, variable, name, spec)
    declared = tuple((variable, name, _choices(spec)) for variable, name, spec in read)
    problem = _always_wrong(expression.source, expression.sees, expression.returns, declared)
    if problem is not None:
        types = ", ".join(f"{variable}.{name} is {spec.type}" for variable, name, spec in read[:4])
        raise InvalidGraph(_message(expression, problem, types))


def _check_size(expression: Expression, variable: str, name: str, spec: TensorSpec) -> None:
    """Refuse a tensor that always has more elements than an expression sees."""
    count = math.prod(size if isinstance(size, int) else 0 for size in spec.shape)
    if count > expression.limits.elements:
        raise InvalidGraph(
            f"expression {expression}: {variable}.{name} is {spec.type}, {count} elements, but it sees tensors of at "
            f"most {expression.limits.elements}; reduce {name} before, as `{{top_k: {{k: 1}}, inputs: {name}, outputs: "
            "[best, place]}` in a transform does, or ask a model"
        )


def _message(expression: Expression, problem: Problem, types: str) -> str:
    if problem.column:
        return f"this expression does not fit the tensors that it reads, {show(expression.source, problem, types)}"
    shown = show_value(expression.source, problem.text, expression.returns, types)
    return f"this expression does not fit the tensors that it reads, {shown}"


def _choices(spec: TensorSpec) -> tuple[tuple[str, int], ...]:
    """Return what a tensor can be to an expression: elements of a type, so many lists deep."""
    kind = "TEXT" if spec.text else spec.datatype
    elements = _SCALARS.get(kind) or (("DOUBLE",) if is_float(DTYPES[kind]) else ("INT",))
    single = all(size == 1 or not isinstance(size, int) for size in spec.shape)
    several = any(size != 1 for size in spec.shape)
    depths = [0] * single + [len(spec.shape)] * several
    return tuple((element, depth) for depth in depths for element in elements)


@functools.lru_cache(maxsize=4096)
def _always_wrong(
    source: str,
    sees: frozenset[str],
    returns: frozenset[str],
    declared: tuple[tuple[str, str, tuple[tuple[str, int], ...]], ...],
) -> Problem | None:
    """Return the first place that is wrong whatever the tensors turn out to be; None if there is none."""
    written, names = _rewritten(source, [(variable, name) for variable, name, _ in declared])
    common: dict[tuple[int, int], Problem] | None = None
    for types in _combinations([choices for _, _, choices in declared]):
        known = tuple(zip(names, types, strict=True))
        found = {(each.line, each.column): each for each in _wrong(_environment(sees, known), written, returns)}
        common = found if common is None else {place: each for place, each in common.items() if place in found}
        if not common:
            return None
    return min(common.values(), key=lambda each: (each.line, each.column)) if common else None


def _combinations(choices: Sequence[tuple[tuple[str, int], ...]]) -> list[tuple[tuple[str, int], ...]]:
    count, bounded = 1, []
    for each in choices:
        allowed = count * len(each) <= _MOST
        count *= len(each) if allowed else 1
        bounded.append(each if allowed else (("DYN", 0),))
    return list(itertools.product(*bounded))


def _rewritten(source: str, members: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """Return a source in which each tensor is one name, as long as before, and these names.

    The checker takes ``inputs.lang`` for the variable of that name. It does not ``inputs['lang']``, and in
    ``has(inputs.lang)`` it should not.
    """
    taken = {name for _, name in members}
    free = (name for name in map("_{}".format, itertools.count()) if name not in taken)
    plain = {
        (variable, name): name if _IDENTIFIER.fullmatch(name) and name not in _RESERVED else next(free)
        for variable, name in members
    }

    def replace(match: re.Match[str]) -> str:
        if match["has"]:
            return match["has"] + _NEVER_THERE[match["asked"]]
        name = plain.get((match["variable"], match["name"])) if match["variable"] else None
        return match[0] if name is None else f"{match['variable']}.{name}".ljust(len(match[0]))

    names = [f"{variable}.{plain[variable, name]}" for variable, name in members]
    return _TOKEN.sub(replace, source), names


@functools.lru_cache(maxsize=64)
def _environment(sees: frozenset[str], known: tuple[tuple[str, tuple[str, int]], ...]) -> cel.Env:
    types = variables(sees)
    for name, (element, depth) in known:
        kind = getattr(cel.Type, element)
        for _ in range(depth):
            kind = cel.Type.List(kind)
        types[name] = kind
    return cel.NewEnv(DescriptorPool(), variables=types)


def _wrong(environment: cel.Env, source: str, returns: frozenset[str]) -> list[Problem]:
    """Return what the checker has against a source, but for what evaluating it has nothing against."""
    try:
        given = environment.compile(source).return_type().name()
    except RuntimeError as error:
        return [problem for problem in problems(str(error)) if not _works(problem)]
    return [] if given in returns | {"DYN"} else [Problem(1, 0, given.lower())]


def _works(problem: Problem) -> bool:
    """Return whether the library evaluates what its checker has something against."""
    if problem.overload is None:
        return "'*error*'" in problem.text  # made of what was passed over
    function, types = problem.overload
    if function in _ORDERED:
        return all(each in {"int", "uint", "double"} for each in types)
    if function in {"_==_", "_!=_", "@in"}:
        left, right = (_NUMBERS.sub("number", _TEXTS.sub("text", each)) for each in types)
        return _holds(left, right) if function == "@in" else _same(left, right)
    match function:
        case "_?_:_":
            works = types[0] in {"bool", "dyn", "*error*"}
        case "_+_":
            works = all(each.startswith("list(") for each in types)
        case "_[_]":
            works = types[0].startswith(("list(", "map(")) and types[1] in {"int", "uint", "double"}
        case _:
            works = (function, types) == ("int", ("bool",))
    return works


def _same(left: str, right: str) -> bool:
    """Return whether values of these types can be equal; lists may be empty, and then of any type."""
    both_lists = left.startswith("list(") and right.startswith("list(")
    both_types = left.startswith("type") and right.startswith("type")
    return left == right or both_types or both_lists or bool(_DYNAMIC.search(left + right))


def _holds(element: str, container: str) -> bool:
    """Return whether a list can have such an element, or a map such a key."""
    key = container.removeprefix("map(").partition(",")[0]
    inside = key if container.startswith("map(") else container.removeprefix("list(").removesuffix(")")
    return container.startswith(("list(", "map(")) and _same(element, inside)
