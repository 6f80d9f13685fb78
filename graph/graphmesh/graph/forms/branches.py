"""Branches written in Python: steps inside a step, for `GraphBuilder` and for one another.

    cheap = model("cheap", timeout_s=0.2)
    safe = branch(Fallback(branches=(cheap, model("dear"))), name="safe", inputs={"x": "image"})

Wherever a branch is wanted, a bare text is a model's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from graphmesh.graph.forms.naming import branch_name
from graphmesh.graph.spec import Binding, ModelCall, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.graph.spec import Kind

__all__ = ["Branch", "as_branch", "as_branches", "bindings", "branch", "model"]

Branch: TypeAlias = Node | str
"""A branch; text is the name of a model."""


def branch(
    kind: Kind,
    *,
    name: str = "",
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    timeout_s: float = 0.0,
) -> Node:
    """Return a branch that does what ``kind`` says.

    Args:
        kind: Any kind of node: `GraphCall(name="page")`, `Cache(body=model("embed"))`, ...
        name: Unique among the branches of its step; empty takes what it calls, or its kind's word.
        inputs: For its own inputs, those of the step around it; None takes them by name.
        outputs: For the names that the step around it gives, its own outputs; None gives all under their names.
        timeout_s: The longest that it may take, seconds; 0 sets no other limit than what is left.
    """
    return Node(
        name=name or branch_name(kind),
        kind=kind,
        inputs=bindings(inputs or {}),
        outputs=bindings(outputs or {}),
        timeout_s=timeout_s,
    )


def model(
    model: str,
    *,
    version: str = "",
    name: str = "",
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    timeout_s: float = 0.0,
) -> Node:
    """Return a branch that calls a model, at a fixed ``version`` if one is given; other arguments as for `branch`."""
    kind = ModelCall(name=model, version=version)
    return branch(kind, name=name, inputs=inputs, outputs=outputs, timeout_s=timeout_s)


def as_branch(written: Branch) -> Node:
    """Return a branch; text calls the model of that name."""
    return model(written) if isinstance(written, str) else written


def as_branches(written: Iterable[Branch]) -> tuple[Node, ...]:
    """Return branches in their order."""
    return tuple(map(as_branch, written))


def bindings(sources: Mapping[str, str]) -> tuple[Binding, ...]:
    """Return bindings of names to sources."""
    return tuple(Binding(name=name, source=source) for name, source in sources.items())
