"""Whether a graph still keeps what its signature promised its callers, when what it calls has changed.

Broken is what fails for callers that did as they were told: an input that takes less than before, an output of another
type. A size that was a number and is now open breaks nothing by itself; the request decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.structure import edge_name

if TYPE_CHECKING:
    from graphmesh.core.signature import Dimension, Signature, TensorSpec
    from graphmesh.graph.spec import Graph

__all__ = ["broken_promise"]


def broken_promise(graph: Graph, promised: Signature, now: Signature) -> InvalidGraph | None:
    """Return how a graph breaks its promise; None if it keeps it.

    Args:
        graph: The graph; both signatures are of it, as calls of different models made them.
        promised: What its callers rely on.
        now: What it would take and give.
    """
    if promised.streaming != now.streaming:
        was, would = ("a stream of answers", "one answer") if promised.streaming else ("one answer", "a stream")
        return InvalidGraph(
            f"graph {graph.name} gives {was} for a request, but would give {would}, which its callers do not expect; "
            "apply the graph anew to change it"
        )
    narrowed = _narrowed(promised, now)
    if narrowed is not None:
        name, axis = narrowed
        before, after = promised.input(name), now.input(name)
        node, binding = next((node, binding) for node, binding in graph.edges() if binding.source == name)
        return InvalidGraph(
            f"{edge_name(node, binding)}: callers send "
            f"{before.type}, which would not fit {after.type}{axis}; apply the graph anew to change what it takes"
        )
    edges = {binding.name: edge_name("", binding) for binding in graph.outputs}
    for after in now.outputs:
        before = promised.output(after.name)
        if not _gives(before, after):
            return InvalidGraph(
                f"{edges[after.name]}: callers get {before.type}, but would get "
                f"{after.type}; convert it in a transform before the output, or apply the graph anew to change it"
            )
    return None


def _narrowed(promised: Signature, now: Signature) -> tuple[str, str] | None:
    """Return an input that takes less than before, and what is new if its types do not show it; else None."""
    before: dict[Dimension, Dimension] = {}  # a size of ``now``, and what it was
    for after in now.inputs:
        spec = promised.input(after.name)
        if spec.datatype != after.datatype or len(spec.shape) != len(after.shape):
            return after.name, ""
        for axis, (was, size) in enumerate(zip(spec.shape, after.shape, strict=True)):
            if isinstance(size, int):
                if was != size:
                    return after.name, ""
            elif size is not None and (size in before and (was is None or before[size] != was)):
                return after.name, f", where axis {axis} must now equal another size"
            before.setdefault(size, was)
    return None


def _gives(before: TensorSpec, after: TensorSpec) -> bool:
    """Return whether an output can still be what it was."""
    if (before.datatype, before.text, len(before.shape)) != (after.datatype, after.text, len(after.shape)):
        return False
    sizes = zip(before.shape, after.shape, strict=True)
    return all(not (isinstance(was, int) and isinstance(size, int)) or was == size for was, size in sizes)
