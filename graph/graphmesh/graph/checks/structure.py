"""What can be checked about a graph by looking at nothing else: names, counts, references, cycles, dead ends.

What is inside one step is checked in `steps`. All mistakes are told together, but dead ends and cycles, which are only
looked for among names that are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.names import check_model_name, check_tensor_name
from graphmesh.core.signature import TensorSpec, parse_dimension, show_dimension
from graphmesh.core.tensor import BYTES
from graphmesh.graph.checks.extent import check_extent
from graphmesh.graph.checks.findings import Findings
from graphmesh.graph.checks.hints import at, check_unique, did_you_mean
from graphmesh.graph.checks.steps import MAX_SOURCE, check_binding, check_step
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
        InvalidGraph: names each node, input and edge that is wrong (INVALID_ARGUMENT, retry: no).
    """
    check_extent(graph.nodes, lambda node: node.branches)
    if not graph.nodes or not graph.outputs:
        raise InvalidGraph(f"a graph must have a node and an output, got {len(graph.nodes)} and {len(graph.outputs)}")
    findings = Findings()
    _check_inputs(graph, findings)
    sources = _Sources(graph)
    _check_nodes(graph, sources, findings)
    _check_outputs(graph, sources, findings)
    findings.settle()
    ordered = tuple(node for level in levels(graph) for node in level)
    _check_dead(graph, ordered, findings)
    findings.settle()
    return ordered


def _check_inputs(graph: Graph, findings: Findings) -> None:
    with findings.inside("graph").note():
        check_model_name(graph.name)
    for spec in graph.inputs:
        with findings.inside(f"graph input {spec.name[:140]!r}").note():
            _check_input(spec)
    with findings.note():
        check_unique("graph input", (spec.name for spec in graph.inputs))


def _check_nodes(graph: Graph, sources: _Sources, findings: Findings) -> None:
    with findings.note():
        check_unique("node", (node.name for node in graph.nodes))
    for node in graph.nodes:
        check_step(node, node.name[:140], findings)
        for binding in node.inputs:
            if len(binding.source) <= MAX_SOURCE:  # else it was told
                with findings.note():
                    sources.check(node.name, binding)


def _check_outputs(graph: Graph, sources: _Sources, findings: Findings) -> None:
    for binding in graph.outputs:
        with findings.note():
            with at(f"graph output {binding.name[:140]!r}"):
                check_binding(binding)
            sources.check("", binding)
    with findings.note():
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


class _Sources:
    """What the edges of a graph can come from."""

    def __init__(self, graph: Graph) -> None:
        self._inputs = {spec.name for spec in graph.inputs}
        self._nodes = {node.name for node in graph.nodes}

    def check(self, node: str, binding: Binding) -> None:
        """Raise InvalidGraph if the source of an edge to this node, or to an output, is not there."""
        if "." in binding.source:
            if binding.node not in self._nodes:
                raise InvalidGraph(
                    f"{edge_name(node, binding)}: there is no node {binding.node!r}"
                    f"{did_you_mean(binding.node, self._nodes)}"
                )
            if binding.node == node:
                raise InvalidGraph(f"{edge_name(node, binding)}: a node must not read its own output")
        elif binding.source in self._nodes:
            raise InvalidGraph(
                f"{edge_name(node, binding)}: {binding.source!r} is a node; say which output: `{binding.source}.output`"
            )
        elif binding.source not in self._inputs:
            raise InvalidGraph(
                f"{edge_name(node, binding)}: there is no graph input {binding.source!r}"
                f"{did_you_mean(binding.source, self._inputs)}"
            )


def _check_dead(graph: Graph, ordered: Iterable[Node], findings: Findings) -> None:
    needs = producers(graph)
    alive = {binding.node for binding in graph.outputs}
    for node in reversed(tuple(ordered)):
        if node.name in alive:
            alive.update(needs[node.name])
    read = {binding.tensor for _, binding in graph.edges() if not binding.node}
    for spec in graph.inputs:
        with findings.note():
            if spec.name not in read:
                raise InvalidGraph(f"graph input {spec.name!r}: nothing reads it; bind it to a node, or remove it")
    for node in graph.nodes:
        with findings.note():
            if node.name not in alive:
                raise InvalidGraph(
                    f"node {node.name}: nothing it gives reaches a graph output; bind one of its outputs or remove it"
                )
