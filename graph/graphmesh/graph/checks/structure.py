"""What can be checked about a graph by looking at nothing else: names, counts, references, cycles, dead ends.

What is inside one step is checked in `steps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.names import check_model_name, check_tensor_name
from graphmesh.core.signature import TensorSpec, parse_dimension, show_dimension
from graphmesh.core.tensor import BYTES
from graphmesh.graph.checks.extent import check_extent
from graphmesh.graph.checks.hints import at, check_unique, did_you_mean
from graphmesh.graph.checks.steps import check_binding, check_step
from graphmesh.graph.order import levels, producers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.graph.spec import Binding, Graph, GraphInput, Node

__all__ = ["check_structure", "did_you_mean", "edge_name"]


def edge_name(node: str, binding: Binding) -> str:
    """Return ``edge decode.image -> detect.image``; an empty node stands for the graph's outputs."""
    end = f"{node}.{binding.name}" if node else f"output {binding.name}"
    return f"edge {binding.source} -> {end}"


def check_structure(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes, each after those it reads from.

    Raises:
        InvalidGraph: names the node, input or edge that is wrong (INVALID_ARGUMENT, retry: no).
    """
    check_extent(graph.nodes, lambda node: node.branches)
    if not graph.nodes or not graph.outputs:
        raise InvalidGraph(f"a graph must have a node and an output, got {len(graph.nodes)} and {len(graph.outputs)}")
    _check_names(graph)
    _check_sources(graph)
    ordered = tuple(node for level in levels(graph) for node in level)
    _check_dead(graph, ordered)
    return ordered


def _check_names(graph: Graph) -> None:
    with at("graph"):
        check_model_name(graph.name)
    for spec in graph.inputs:
        with at(f"graph input {spec.name[:140]!r}"):
            _check_input(spec)
    for node in graph.nodes:
        check_step(node, node.name[:140])
    for binding in graph.outputs:
        with at(f"graph output {binding.name[:140]!r}"):
            check_binding(binding)
    check_unique("graph input", (spec.name for spec in graph.inputs))
    check_unique("node", (node.name for node in graph.nodes))
    check_unique("graph output", (binding.name for binding in graph.outputs))


def _check_input(spec: GraphInput) -> None:
    check_tensor_name(spec.name)
    if "." in spec.name:
        raise InvalidGraph("must not contain a dot, which would read as a node's output")
    if not spec.datatype and (spec.shape or spec.text):
        raise InvalidGraph("a shape or `text` needs a datatype; give all or none of them")
    for dimension in spec.shape:
        if parse_dimension(show_dimension(dimension)) != dimension:
            raise InvalidGraph(f"a dimension must be a size, a name or ?, got {dimension!r}")
    TensorSpec(name=spec.name, datatype=spec.datatype or BYTES, shape=spec.shape, text=spec.text)


def _check_sources(graph: Graph) -> None:
    inputs = {spec.name for spec in graph.inputs}
    nodes = {node.name for node in graph.nodes}
    for node, binding in graph.edges():
        if "." in binding.source:
            if binding.node not in nodes:
                raise InvalidGraph(
                    f"{edge_name(node, binding)}: there is no node {binding.node!r}{did_you_mean(binding.node, nodes)}"
                )
            if binding.node == node:
                raise InvalidGraph(f"{edge_name(node, binding)}: a node must not read its own output")
        elif binding.source in nodes:
            raise InvalidGraph(
                f"{edge_name(node, binding)}: {binding.source!r} is a node; say which output: `{binding.source}.output`"
            )
        elif binding.source not in inputs:
            raise InvalidGraph(
                f"{edge_name(node, binding)}: there is no graph input {binding.source!r}"
                f"{did_you_mean(binding.source, inputs)}"
            )


def _check_dead(graph: Graph, ordered: Iterable[Node]) -> None:
    needs = producers(graph)
    alive = {binding.node for binding in graph.outputs}
    for node in reversed(tuple(ordered)):
        if node.name not in alive:
            raise InvalidGraph(
                f"node {node.name}: nothing it gives reaches a graph output; bind one of its outputs or remove it"
            )
        alive.update(needs[node.name])
    read = {binding.tensor for _, binding in graph.edges() if not binding.node}
    for spec in graph.inputs:
        if spec.name not in read:
            raise InvalidGraph(f"graph input {spec.name!r}: nothing reads it; bind it to a node, or remove it")
