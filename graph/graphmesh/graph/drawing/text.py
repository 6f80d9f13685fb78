"""A graph as lines for a terminal.

Drawing needs no valid graph: whatever its author wrote is shown, in the order that it runs in if there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.drawing.words import branches, does, given, ordered, typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.spec import Graph, Node

__all__ = ["to_text"]


def to_text(graph: Graph, tensors: Mapping[str, TensorSpec] | None = None) -> str:
    """Return the nodes in running order, each with what it reads and gives, branches as a tree inside their node.

    Args:
        graph: The graph.
        tensors: Types by source, as `Typed.tensors`; those that are missing are left out.
    """
    types = tensors or {}
    lines = [f"graph {graph.name}" + (f": {graph.description}" if graph.description else ""), "", "inputs"]
    lines += [f"  {typed(spec.name, spec.name, types)}" for spec in graph.inputs]
    for node in ordered(graph):
        lines += ["", f"{node.name} = {does(node)}"]
        lines += [f"  {binding.name} <- {typed(binding.source, binding.source, types)}" for binding in node.inputs]
        lines += [f"  {line}" for line in _branches(node, node.name, types)]
        lines += [f"  -> {name}: {spec.type}" for name, spec in given(node.name, types)]
    lines += ["", "outputs"]
    lines += [f"  {binding.name} <- {typed(binding.source, binding.source, types)}" for binding in graph.outputs]
    return "\n".join(lines) + "\n"


def _branches(node: Node, path: str, types: Mapping[str, TensorSpec]) -> Iterator[str]:
    inside = branches(node, path)
    for index, branch in enumerate(inside):
        last = index == len(inside) - 1
        head, stem = ("└─ ", "   ") if last else ("├─ ", "│  ")
        label = f"{branch.label}: " if branch.label else ""
        yield f"{head}{label}{branch.node.name} = {does(branch.node)}"
        for binding in branch.node.inputs:
            yield f"{stem}  {binding.name} <- {binding.source}"
        for line in _branches(branch.node, branch.path, types):
            yield f"{stem}  {line}"
        renamed = {binding.name: binding.source for binding in branch.node.outputs}
        gives = given(branch.path, types)
        for name, spec in gives:
            yield f"{stem}  -> {name}: {spec.type}{_own(renamed.pop(name, ''), name)}"
        for name, own in renamed.items():
            yield f"{stem}  -> {name}{_own(own, name)}"


def _own(source: str, name: str) -> str:
    return f" (its {source})" if source and source != name else ""
