"""YAML as a tree of nodes that know their lines, and the readers of its leaves.

Nothing is constructed: `no` is a name where a name is meant, and every error has a line. Refused, because nobody needs
them in a graph and each is a way to attack or to err: repeated keys, aliases, tags, several documents, deep nesting,
very many entries.
"""

from __future__ import annotations

import contextlib
import math
import re
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import yaml

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.findings import Findings, told
from graphmesh.graph.checks.hints import did_you_mean
from graphmesh.graph.forms.amounts import parse_duration, parse_size
from graphmesh.graph.limits import MAX_YAML_DEPTH, MAX_YAML_ENTRIES

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable, Iterator

__all__ = [
    "Tree",
    "choice",
    "compose",
    "duration",
    "fields",
    "flag",
    "inside",
    "is_null",
    "items",
    "named",
    "number",
    "real",
    "size",
    "text",
    "wrong",
]

Tree: TypeAlias = yaml.Node
"""A node of the document."""

_T = TypeVar("_T")
_CORE = "tag:yaml.org,2002:"
_TAGS = {_CORE + name for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")}
_E = TypeVar("_E", bound="enum.Enum")
_REAL = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
_LINE = re.compile(r"^line [0-9]+: (?!node )")
_WHOLE = re.compile(r"[0-9]{1,10}")


class _Loader(yaml.SafeLoader):
    """Composes a tree, refusing depth, length, aliases and tags before they cost anything."""

    def __init__(self, document: str) -> None:
        super().__init__(document)
        self._depth = self._count = 0

    def compose_node(self, parent: Tree | None, index: int) -> Tree | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="aliases are not allowed in a graph", problem_mark=event.start_mark)
        self._depth += 1
        if self._depth > MAX_YAML_DEPTH:
            problem = f"at most {MAX_YAML_DEPTH} levels of nesting are allowed"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._count += 1
        if self._count > MAX_YAML_ENTRIES:
            problem = f"at most {MAX_YAML_ENTRIES} keys, values and items are allowed; nest graphs instead"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag not in _TAGS:
            raise yaml.MarkedYAMLError(problem=f"tags are not allowed, got {node.tag}", problem_mark=node.start_mark)
        return node


def compose(document: str) -> Tree:
    """Return the root of a document.

    Raises:
        InvalidGraph: not YAML, empty, or something that is refused; names the line (INVALID_ARGUMENT, retry: no).
    """
    try:
        root = _Loader(document).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidGraph(f"line {line}: {error.problem}") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise InvalidGraph(f"not YAML: {str(error)[:400]}") from error
    if root is None:
        raise InvalidGraph("line 1: the document must not be empty")
    return root


def wrong(node: Tree, message: str) -> InvalidGraph:
    """Return the error that something about a node is wrong."""
    return InvalidGraph(f"line {node.start_mark.line + 1}: {message}")


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Say in errors, after their line, in which step they are, if it has a name and they do not say so already."""
    where = f"node {name[:140]}: " if name else ""
    try:
        yield
    except InvalidGraph as error:
        findings = Findings()
        findings.add(_LINE.sub(lambda line: f"{line[0]}{where}", message, count=1) for message in told(error))
        findings.settle()


def is_null(node: Tree) -> bool:
    """Return whether nothing (or `null`) is written there."""
    return bool(node.tag == f"{_CORE}null")


def _entries(node: Tree, what: str) -> dict[str, Tree]:
    if not isinstance(node, yaml.MappingNode):
        raise wrong(node, f"{what} must be a mapping, got {_show(node)}")
    entries: dict[str, Tree] = {}
    for key, value in node.value:
        name = text(key, f"a key of {what}")
        if name in entries:
            raise wrong(key, f"{what} has {name[:140]!r} twice")
        entries[name] = value
    return entries


def fields(node: Tree, what: str, allowed: tuple[str, ...]) -> dict[str, Tree]:
    """Return a message's fields by their names in the .proto file; those that are `null` are left out.

    Names are accepted in the JSON spelling (``batchSize``) too.
    """
    found: dict[str, Tree] = {}
    for key, value in _entries(node, what).items():
        name = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key)
        if name not in allowed:
            hint = did_you_mean(name, allowed) or f"; there are {', '.join(allowed)}"
            raise wrong(value, f"{what} has no field {key[:140]!r}{hint}")
        if name in found:
            raise wrong(value, f"{what} has {name!r} twice")
        found[name] = value
    return {name: value for name, value in found.items() if not is_null(value)}


def items(node: Tree | None, what: str, *, single: bool = False) -> list[Tree]:
    """Return a list's items; nothing is an empty list. ``single`` takes one item without the list around it."""
    if node is None:
        return []
    if single and isinstance(node, yaml.ScalarNode):
        return [node]
    if not isinstance(node, yaml.SequenceNode):
        raise wrong(node, f"{what} must be a list, got {_show(node)}")
    return list(node.value)


def named(node: Tree | None, what: str, read: Callable[[Tree, str | None], _T]) -> tuple[_T, ...]:
    """Return what ``read`` makes of each item of a list (name None) or of each entry of a mapping by name.

    Raises:
        InvalidGraph: neither, or with all that is wrong with its entries (INVALID_ARGUMENT, retry: no).
    """
    if isinstance(node, yaml.ScalarNode):
        raise wrong(node, f"{what} must be a mapping by name or a list, got {_show(node)}")
    entries: list[tuple[Tree, str | None]]
    if isinstance(node, yaml.MappingNode):
        entries = [(value, name) for name, value in _entries(node, what).items()]
    else:
        entries = [(item, None) for item in items(node, what)]
    findings, made = Findings(), []
    for entry, name in entries:
        with findings.note():
            made.append(read(entry, name))
    findings.settle()
    return tuple(made)


def text(node: Tree | None, what: str) -> str:
    """Return a text as it is written, whatever YAML would make of it; empty if it is missing."""
    if node is None:
        return ""
    if not isinstance(node, yaml.ScalarNode) or is_null(node):
        raise wrong(node, f"{what} must be text, got {_show(node)}")
    return str(node.value)


def number(node: Tree | None, what: str) -> int:
    """Return a whole number; 0 if it is missing."""
    if node is None:
        return 0
    value = text(node, what)
    if not _WHOLE.fullmatch(value):
        raise wrong(node, f"{what} must be a whole number, 0 or more, as `{what}: 8`, got {value[:140]!r}")
    return int(value)


def real(node: Tree, what: str) -> float:
    """Return a finite number."""
    value = text(node, what)
    if not _REAL.fullmatch(value) or not math.isfinite(float(value)):
        raise wrong(node, f"{what} must be a finite number, as `{what}: 0.9`, got {value[:140]!r}")
    return float(value) + 0.0  # never -0.0


def duration(node: Tree | None, what: str) -> float:
    """Return the seconds of ``50ms`` or ``1.5s``; 0 if it is missing."""
    return 0.0 if node is None else _amount(node, what, parse_duration)


def size(node: Tree | None, what: str) -> int:
    """Return the bytes of ``64MiB`` or of a bare number; 0 if it is missing."""
    return 0 if node is None else _amount(node, what, parse_size)


def _amount(node: Tree, what: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text(node, what))
    except InvalidGraph as error:
        raise error if error.message.startswith("line ") else wrong(node, f"{what}: {error.message}") from error


def choice(node: Tree | None, what: str, choices: type[_E], *, default: _E) -> _E:
    """Return one of an enumeration's members, written as its value or as proto3 JSON writes it (``JOIN_ANY``)."""
    if node is None:
        return default
    value, prefix = text(node, what), f"{choices.__name__.upper()}_"
    if value == f"{prefix}UNSPECIFIED":
        return default
    known = {str(member.value): member for member in choices}
    name = value.removeprefix(prefix).lower() if value.isupper() and value.startswith(prefix) else value
    if name not in known:
        raise wrong(node, f"{what} must be one of {', '.join(known)}, got {value[:140]!r}{did_you_mean(name, known)}")
    return known[name]


def flag(node: Tree | None, what: str) -> bool:
    """Return true or false; false if it is missing."""
    if node is None:
        return False
    value = text(node, what)
    if value not in {"true", "false"}:
        raise wrong(node, f"{what} must be true or false, got {value[:140]!r}")
    return value == "true"


def _show(node: Tree) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if is_null(node) else repr(node.value[:140])
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
