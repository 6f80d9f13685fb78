"""Graph inputs without a type take that of the first model or graph that reads them, wherever it is.

First in the order that steps are typed in; looked for before any is, so that transforms, which take any type, find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.calls import called
from graphmesh.graph.checks.flows import join
from graphmesh.graph.checks.hints import how_to_declare
from graphmesh.graph.checks.scopes import bindings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.checks.flows import Flow, Place
    from graphmesh.graph.spec import Target

__all__ = ["adopt", "check_typed"]


def adopt(place: Place, inputs: Mapping[str, Flow], signatures: Mapping[Target, Signature]) -> None:
    """Give types to the graph inputs that have none, where a step tells that reads them.

    Args:
        place: The step; called for all of them in the order that they are typed in.
        inputs: The graph's inputs.
        signatures: Those of all models and graphs that the graph calls.

    Raises:
        InvalidGraph: a branch lacks an input, or a map never fits its target (INVALID_ARGUMENT, retry: no).
    """
    if not all(flow.datatype for flow in inputs.values()):
        _visit(place, inputs, signatures)


def _visit(place: Place, scope: Mapping[str, Flow | None], signatures: Mapping[Target, Signature]) -> None:
    """Look at what a step reads of ``scope``; None there stands for what is no graph input."""
    target = place.node.target
    if target is None:
        inner = {binding.name: scope.get(binding.source) for binding in bindings(place, scope, None)}
        for branch in place.node.branches:
            _visit(place.inside(branch), inner, signatures)
        return
    signature = signatures[target]
    through = called(place, signature)
    takes = {spec.name: spec for spec in signature.inputs}
    for binding in bindings(place, scope, signature):
        flow, spec = scope.get(binding.source), takes.get(binding.name)
        if flow is not None and spec is not None and not flow.datatype:
            join(flow, place, binding, spec, through.takes(spec))


def check_typed(inputs: Mapping[str, Flow]) -> None:
    """Check that the type of every graph input is known.

    Raises:
        InvalidGraph: nothing tells one's (INVALID_ARGUMENT, retry: no).
    """
    for name, flow in inputs.items():
        if not flow.datatype:
            raise InvalidGraph(
                f"graph input {name!r}: no model or graph reads it, so its type is unknown; {how_to_declare(name)}"
            )
