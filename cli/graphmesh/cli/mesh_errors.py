"""What msgspec says of a mesh file, in the words of who wrote it: where by name, what was meant, what is allowed.

msgspec names a place as `$.workers[0].models[1]`. Here it is followed through the document, which has the names, and
through the classes, which have the fields. A message of another form is passed on as it is.
"""

from __future__ import annotations

import enum
import re
import typing
from typing import Any

import msgspec

from graphmesh.graph.checks.structure import did_you_mean

__all__ = ["explained"]

_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile("Object contains unknown field `(?P<name>.*)`")
_MISSING = re.compile("Object missing required field `(?P<name>.*)`")
_NOT_TEXT = re.compile("Expected `str`, got `(?:int|float|bool)`")
_NO_CHOICE = re.compile("Invalid enum value .*")


def explained(message: str, document: object, root: type[msgspec.Struct]) -> str:
    """Return what is wrong with a document, given msgspec's message of why it is no ``root``."""
    parts = _MESSAGE.fullmatch(message)
    what, path = (parts["what"], parts["path"] or "") if parts else (message, "")
    where, value, kind = _follow(path, document, root)
    prefix = f"{where}: " if where else ""
    if found := _UNKNOWN.fullmatch(what):
        known = _fields(kind)
        hint = did_you_mean(found["name"], known) or f"; there are {', '.join(known)}"
        return f"{prefix}unknown field {found['name']!r}{hint}"
    if found := _MISSING.fullmatch(what):
        return f"{prefix}the field {found['name']!r} is missing"
    if _NOT_TEXT.fullmatch(what) and path:
        field = path.rpartition(".")[2]
        return f'{prefix}must be text, got {value}; put it in quotes: {field}: "{value}"'
    if _NO_CHOICE.fullmatch(what) and isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"{prefix}must be {' or '.join(str(choice.value) for choice in kind)}, got {value!r}"
    return prefix + what


def _fields(kind: object) -> list[str]:
    return [field.name for field in msgspec.structs.fields(kind)] if _is_struct(kind) else []


def _is_struct(kind: object) -> typing.TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _follow(path: str, document: object, root: type[msgspec.Struct]) -> tuple[str, object, object]:
    """Return a place in words, what is written there and what should be."""
    where, value, kind = "", document, typing.cast("Any", root)
    for step in _STEP.finditer(path):
        if field := step["field"]:
            where += f".{field}" if where else field
            value = value.get(field) if isinstance(value, dict) else None
            kind = _plain(next((f.type for f in msgspec.structs.fields(kind) if f.name == field), None))
        elif index := step["index"]:
            value = value[int(index)] if isinstance(value, list) else None
            name = value.get("name") if isinstance(value, dict) else None
            where += f"[{index}]" + (f" {name!r}" if isinstance(name, str) else "")
            kind = _plain(next(iter(typing.get_args(kind)), None))
        else:  # some value of a mapping
            where, value, kind = f"{where}[...]", None, None
    return where, value, kind


def _plain(kind: Any) -> Any:
    """Return a type without the other things that may stand there: None, or text instead of a list."""
    options = typing.get_args(kind) if typing.get_origin(kind) not in {list, dict} else ()
    return next((option for option in options if _is_struct(option) or typing.get_origin(option) is list), kind)
