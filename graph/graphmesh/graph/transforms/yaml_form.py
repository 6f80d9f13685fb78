"""Operations as YAML: `- {softmax: {axis: -1}, inputs: x, outputs: p}`.

A single name needs no list, and the first field of an operation may stand for all: `{cast: FP32, ...}`,
`{reshape: [0, -1], ...}`. Without any field it is `{lower: {}, ...}`.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, get_type_hints

import yaml

from graphmesh.graph.forms.yaml_tree import Tree, flag, items, text, wrong
from graphmesh.graph.forms.yaml_tree import fields as members
from graphmesh.graph.transforms.operations import KINDS, Operation

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["operation_form", "operation_from_tree"]


def operation_from_tree(tree: Tree) -> Operation:
    """Return the operation of a node of a YAML document.

    Raises:
        InvalidGraph: not such a node; names the line (INVALID_ARGUMENT, retry: no).
    """
    parts = members(tree, "an operation", ("inputs", "outputs", *KINDS))
    found = [kind for kind in KINDS if kind in parts]
    if len(found) != 1:
        raise wrong(
            tree,
            f"an operation must say exactly one of {', '.join(KINDS)}, got {', '.join(found) or 'none'}; one without "
            "settings is written `lower: {}`",
        )
    kind = found[0]
    return Operation(
        what=KINDS[kind](**_settings(kind, parts[kind])),
        inputs=_names(parts.get("inputs"), "inputs"),
        outputs=_names(parts.get("outputs"), "outputs"),
    )


def _names(tree: Tree | None, what: str) -> tuple[str, ...]:
    return tuple(text(entry, f"an entry of `{what}`") for entry in items(tree, what, single=True))


def _settings(kind: str, tree: Tree) -> dict[str, Any]:
    what = KINDS[kind]
    types = get_type_hints(what)
    if not isinstance(tree, yaml.MappingNode) and types:
        first = next(iter(types))
        return {first: _READERS[types[first]](tree, first)}
    parts = members(tree, f"`{kind}`", tuple(types))
    return {name: _READERS[types[name]](part, name) for name, part in parts.items()}


def _whole(tree: Tree, what: str) -> int:
    try:
        value = int(text(tree, what))
    except ValueError as error:
        raise wrong(tree, f"{what} must be a whole number, got {text(tree, what)[:140]!r}") from error
    if abs(value) >= 1 << 63:
        raise wrong(tree, f"{what} must be a number of 64 bits, got {text(tree, what)[:140]!r}")
    return value


def _real(tree: Tree, what: str) -> float:
    try:
        return float(text(tree, what).replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise wrong(tree, f"{what} must be a number, got {text(tree, what)[:140]!r}") from error


def _many(read: Callable[[Tree, str], object]) -> Callable[[Tree, str], object]:
    return lambda tree, what: tuple(read(entry, f"an entry of `{what}`") for entry in items(tree, what, single=True))


_READERS: dict[object, Callable[[Tree, str], object]] = {
    str: text,
    str | None: text,
    bool: flag,
    int: _whole,
    float: _real,
    float | None: _real,
    tuple[int, ...]: _many(_whole),
    tuple[float, ...]: _many(_real),
    tuple[str, ...]: _many(text),
}
"""How a setting is read, by its type in `operations`."""


def operation_form(operation: Operation) -> dict[str, object]:
    """Return what `operation_from_tree` reads back, in its shortest form, as plain values for a YAML writer."""
    settings: dict[str, object] = {}
    for part in fields(operation.what):
        value = getattr(operation.what, part.name)
        if part.default is MISSING or not _same(value, part.default):
            settings[part.name] = list(value) if isinstance(value, tuple) else value
    form: dict[str, object] = {operation.kind: settings}
    first = next((part.name for part in fields(operation.what)), "")
    if settings.keys() == {first}:
        form = {operation.kind: settings[first]}
    for name, names in (("inputs", operation.inputs), ("outputs", operation.outputs)):
        form[name] = names[0] if len(names) == 1 else list(names)
    return form


def _same(value: object, default: object) -> bool:
    if isinstance(value, float) and isinstance(default, float):
        return value == default and math.copysign(1, value) == math.copysign(1, default)
    return value == default and type(value) is type(default)
