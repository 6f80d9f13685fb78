"""How kinds are called in every form, and how a branch is called whose author gives it no name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.spec import GraphCall, Map, ModelCall

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind

__all__ = ["branch_name", "kind_word"]

_MAX_NAME = 64


def kind_word(kind: Kind) -> str:
    """Return the name of a kind's field in `graphmesh.v1.Node`: ``model``, ``switch``, ..."""
    match kind:
        case ModelCall():
            return "model"
        case GraphCall():
            return "graph"
        case _:
            return type(kind).__name__.lower()


def branch_name(kind: Kind) -> str:
    """Return a branch's name where its author gives none: what it calls, its dots as ``-``, else its kind's word."""
    match kind:
        case ModelCall(name=name) | GraphCall(name=name) | Map(target=ModelCall(name=name) | GraphCall(name=name)):
            return name.replace(".", "-")[:_MAX_NAME]
        case _:
            return kind_word(kind)
