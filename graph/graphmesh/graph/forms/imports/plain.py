"""YAML as mappings, lists and text: for documents whose fields are others' to define."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import yaml

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.yaml_tree import compose, is_null

if TYPE_CHECKING:
    from graphmesh.graph.forms.yaml_tree import Tree

__all__ = ["Mapping", "listed", "load", "mapping", "text", "whole"]

Mapping: TypeAlias = "dict[str, Value]"
Value: TypeAlias = "str | list[Value] | Mapping | None"


def load(document: str) -> Mapping:
    """Return a document's fields; scalars are text. Raises InvalidGraph as `compose`, or if it is no mapping."""
    return mapping(_plain(compose(document)), "the document")


def _plain(tree: Tree) -> Value:
    if isinstance(tree, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in tree.value}
    if isinstance(tree, yaml.SequenceNode):
        return [_plain(item) for item in tree.value]
    return None if is_null(tree) else str(tree.value)


def mapping(value: Value, what: str) -> Mapping:
    """Return a mapping; nothing is an empty one."""
    if not isinstance(value, dict | None):
        raise InvalidGraph(f"{what} must be a mapping, got {_show(value)}")
    return value or {}


def listed(value: Value, what: str) -> list[Value]:
    """Return a list; nothing is an empty one, one item may be without the list around it."""
    if isinstance(value, dict):
        raise InvalidGraph(f"{what} must be a list, got a mapping")
    return [] if value is None else value if isinstance(value, list) else [value]


def text(value: Value, what: str) -> str:
    """Return text; nothing is empty."""
    if not isinstance(value, str | None):
        raise InvalidGraph(f"{what} must be text, got {_show(value)}")
    return value or ""


def whole(value: Value, what: str) -> int:
    """Return a whole number; nothing is 0."""
    written = text(value, what) or "0"
    if not (written.isascii() and written.isdigit() and len(written) < 10):  # noqa: PLR2004 - ten digits exceed 32 bits
        raise InvalidGraph(f"{what} must be a whole number, 0 or more, got {written[:140]!r}")
    return int(written)


def _show(value: Value) -> str:
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
