"""A graph as a picture, for a terminal and for Mermaid, with types on the edges where they are known.

Drawing a graph needs no valid graph: whatever its author wrote is shown, in the order that it runs in if there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import DEFAULT_CONCURRENCY
from graphmesh.graph.order import levels
from graphmesh.graph.spec import Map

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.spec import Binding, Graph, Node

__all__ = ["to_mermaid", "to_text"]


def to_text(graph: Graph, tensors: Mapping[str, TensorSpec] | None = None) -> str:
    """Return lines for a terminal: the nodes in running order, each with what it reads.

    Args:
        graph: The graph.
        tensors: Types by source, as `Typed.tensors`; those that are missing are left out.
    """
    types = tensors or {}
    lines = [f"graph {graph.name}" + (f": {graph.description}" if graph.description else ""), "", "inputs"]
    lines += [f"  {_typed(spec.name, spec.name, types)}" for spec in graph.inputs]
    for node in _ordered(graph):
        lines += ["", f"{node.name} = {_call(node)}"]
        lines += [f"  {binding.name} <- {_typed(binding.source, binding.source, types)}" for binding in node.inputs]
    lines += ["", "outputs"]
    lines += [f"  {binding.name} <- {_typed(binding.source, binding.source, types)}" for binding in graph.outputs]
    return "\n".join(lines) + "\n"


def to_mermaid(graph: Graph, tensors: Mapping[str, TensorSpec] | None = None) -> str:
    """Return a Mermaid flowchart; arguments as for `to_text`."""
    types = tensors or {}
    ordered = _ordered(graph)
    inputs = {spec.name: f"i{index}" for index, spec in enumerate(graph.inputs)}
    nodes = {node.name: f"n{index}" for index, node in enumerate(ordered)}
    lines = ["flowchart LR"]
    lines += [f"  {key}([{_quoted(name)}])" for name, key in inputs.items()]
    lines += [f"  {nodes[node.name]}[{_quoted(node.name, _call(node))}]" for node in ordered]
    lines += [f"  o{index}([{_quoted(binding.name)}])" for index, binding in enumerate(graph.outputs)]
    for end, name, binding in _arrows(graph, nodes):
        begin = nodes.get(binding.node) if binding.node else inputs.get(binding.source)
        spec = types.get(binding.source)
        label = _quoted(name, *([spec.type] if spec else []))
        if begin is not None:
            lines.append(f"  {begin} -->|{label}| {end}")
    return "\n".join(lines) + "\n"


def _arrows(graph: Graph, nodes: Mapping[str, str]) -> Iterator[tuple[str, str, Binding]]:
    for node in graph.nodes:
        for binding in node.inputs:
            yield nodes[node.name], f"{binding.tensor} to {binding.name}", binding
    for index, binding in enumerate(graph.outputs):
        yield f"o{index}", binding.tensor, binding


def _ordered(graph: Graph) -> list[Node]:
    try:
        return [node for level in levels(graph) for node in level]
    except (InvalidGraph, KeyError):  # a cycle, or a source that does not exist
        return list(graph.nodes)


def _call(node: Node) -> str:
    if not isinstance(node.kind, Map):
        return str(node.kind)
    size = f"{node.kind.batch_size} a call" if node.kind.batch_size else "one by one"
    at_once = node.kind.max_concurrency or DEFAULT_CONCURRENCY
    return f"{node.kind} over {', '.join(node.kind.over)}, {size}, {at_once} at once"


def _typed(shown: str, source: str, types: Mapping[str, TensorSpec]) -> str:
    spec = types.get(source)
    return f"{shown}: {spec.type}" if spec else shown


def _quoted(*lines: str) -> str:
    """Return a Mermaid label; text is escaped, since it may come from a graph that nobody has validated."""
    text = "<br/>".join(line.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;") for line in lines)
    return f'"{text}"'
