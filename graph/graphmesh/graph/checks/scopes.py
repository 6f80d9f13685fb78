"""What a branch reads of the step around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.checks.hints import did_you_mean, listed
from graphmesh.graph.spec import Binding, Transform

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from graphmesh.core.signature import Signature
    from graphmesh.graph.checks.flows import Place
    from graphmesh.graph.spec import Node

__all__ = ["bindings", "reads"]


def bindings(place: Place, scope: Collection[str], signature: Signature | None) -> tuple[Binding, ...]:
    """Return where each input of a step comes from: as its author bound them, for a branch without bindings by name.

    Args:
        place: The step.
        scope: For a branch: the inputs of the step around it.
        signature: That of the step's target, if it calls one.

    Raises:
        InvalidGraph: a branch needs an input by a name that the step around it does not have (INVALID_ARGUMENT,
            retry: no).
    """
    if place.node.inputs or not place.within:
        return place.node.inputs
    names = _by_name(place.node, scope, signature)
    for name in names:
        if name not in scope:
            raise place.wrong(
                f"takes input {name!r}, but {place.within} has {listed(scope)}{did_you_mean(name, scope)}; give "
                f"{place.within} an input {name!r}, or bind it with `inputs: {{{name}: ...}}`"
            )
    return tuple(Binding(name=name, source=name) for name in names)


def _by_name(node: Node, scope: Iterable[str], signature: Signature | None) -> tuple[str, ...]:
    if signature is not None:
        return tuple(spec.name for spec in signature.inputs)
    return reads(node) if isinstance(node.kind, Transform) else tuple(scope)


def reads(node: Node) -> tuple[str, ...]:
    """Return the inputs that the operations of a transform read, each once; none for other kinds."""
    if not isinstance(node.kind, Transform):
        return ()
    made: set[str] = set()
    names: dict[str, None] = {}
    for operation in node.kind.operations:
        names.update(dict.fromkeys(name for name in operation.inputs if name not in made))
        made.update(operation.outputs)
    return tuple(names)
