"""A graph as a Mermaid flowchart: composed steps are subgraphs with their branches inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.drawing.words import branches, does, ordered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.spec import Binding, Graph, Node

__all__ = ["to_mermaid"]


def to_mermaid(graph: Graph, tensors: Mapping[str, TensorSpec] | None = None) -> str:
    """Return a flowchart, from left to right; arguments as for `text.to_text`."""
    types = tensors or {}
    steps = ordered(graph)
    inputs = {spec.name: f"i{index}" for index, spec in enumerate(graph.inputs)}
    nodes = {node.name: f"n{index}" for index, node in enumerate(steps)}
    lines = ["flowchart LR"]
    lines += [f"  {key}([{_quoted(name)}])" for name, key in inputs.items()]
    for node in steps:
        lines += [f"  {line}" for line in _step(node, nodes[node.name], node.name, "")]
    lines += [f"  o{index}([{_quoted(binding.name)}])" for index, binding in enumerate(graph.outputs)]
    for end, name, binding in _arrows(graph, nodes):
        begin = nodes.get(binding.node) if binding.node else inputs.get(binding.source)
        spec = types.get(binding.source)
        label = _quoted(name, *([spec.type] if spec else []))
        if begin is not None:
            lines.append(f"  {begin} -->|{label}| {end}")
    return "\n".join(lines) + "\n"


def _step(node: Node, key: str, path: str, label: str) -> Iterator[str]:
    """Return a box, or a subgraph with a box for each branch."""
    words = [word for word in (label, node.name, does(node)) if word]
    if not node.branches:
        yield f"{key}[{_quoted(*words)}]"
        return
    yield f"subgraph {key}[{_quoted(': '.join(words))}]"  # Mermaid makes room for one line
    for index, branch in enumerate(branches(node, path)):
        for line in _step(branch.node, f"{key}b{index}", branch.path, branch.label):
            yield f"  {line}"
    yield "end"


def _arrows(graph: Graph, nodes: Mapping[str, str]) -> Iterator[tuple[str, str, Binding]]:
    for node in graph.nodes:
        for binding in node.inputs:
            yield nodes[node.name], f"{binding.tensor} to {binding.name}", binding
    for index, binding in enumerate(graph.outputs):
        yield f"o{index}", binding.tensor, binding


def _quoted(*lines: str) -> str:
    """Return a Mermaid label; text is escaped, since it may come from a graph that nobody has validated."""
    text = "<br/>".join(line.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;") for line in lines)
    return f'"{text}"'
