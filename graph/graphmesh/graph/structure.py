"""What can be checked about a graph by looking at nothing else: names, counts, references, cycles, dead ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.names import check_model_name, check_node_name, check_tensor_name, check_version, close_names
from graphmesh.core.signature import TensorSpec, parse_dimension, show_dimension
from graphmesh.core.tensor import BYTES
from graphmesh.graph.limits import MAX_CONCURRENCY, MAX_NODES
from graphmesh.graph.order import levels, producers
from graphmesh.graph.spec import Map, ModelCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from graphmesh.graph.spec import Binding, Graph, GraphInput, Node

__all__ = ["check_structure", "did_you_mean", "edge_name"]

_MAX_UINT32 = 2**32 - 1
_MAX_SOURCE = 64 + 1 + 128


def edge_name(node: str, binding: Binding) -> str:
    """Return ``edge decode.image -> detect.image``; an empty node stands for the graph's outputs."""
    end = f"{node}.{binding.name}" if node else f"output {binding.name}"
    return f"edge {binding.source} -> {end}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x' or 'y'?``, or nothing when no known name comes close."""
    near = close_names(name, known)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def check_structure(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes, each after those it reads from.

    Raises:
        InvalidGraph: names the node, input or edge that is wrong (INVALID_ARGUMENT, retry: no).
    """
    if len(graph.nodes) > MAX_NODES:
        raise InvalidGraph(f"a graph has at most {MAX_NODES} nodes, got {len(graph.nodes)}; nest graphs instead")
    if not graph.nodes or not graph.outputs:
        raise InvalidGraph(f"a graph must have a node and an output, got {len(graph.nodes)} and {len(graph.outputs)}")
    _check_names(graph)
    _check_sources(graph)
    ordered = tuple(node for level in levels(graph) for node in level)
    _check_dead(graph, ordered)
    return ordered


def _check_names(graph: Graph) -> None:
    with _at("graph"):
        check_model_name(graph.name)
    for spec in graph.inputs:
        with _at(f"graph input {spec.name[:140]!r}"):
            _check_input(spec)
    for node in graph.nodes:
        with _at(f"node {node.name[:140]}"):
            check_node_name(node.name)
            _check_node(node)
    for binding in graph.outputs:
        with _at(f"graph output {binding.name[:140]!r}"):
            _check_binding(binding)
    _check_unique("graph input", (spec.name for spec in graph.inputs))
    _check_unique("node", (node.name for node in graph.nodes))
    _check_unique("graph output", (binding.name for binding in graph.outputs))


@contextlib.contextmanager
def _at(where: str) -> Iterator[None]:
    """Say in errors where in the graph they are."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidGraph(f"{where}: {error.message}") from error


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidGraph(f"{what} {name!r} is there twice; each must be given once")
        seen.add(name)


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


def _check_binding(binding: Binding) -> None:
    check_tensor_name(binding.name)
    if len(binding.source) > _MAX_SOURCE:
        raise InvalidGraph(f"a source has at most {_MAX_SOURCE} characters, got {binding.source[:140]!r}...")


def _check_node(node: Node) -> None:
    check_model_name(node.target.name)
    if isinstance(node.target, ModelCall) and node.target.version:
        check_version(node.target.version)
    for binding in node.inputs:
        _check_binding(binding)
    _check_unique("input", (binding.name for binding in node.inputs))
    if isinstance(node.kind, Map):
        _check_map(node.kind, {binding.name for binding in node.inputs})


def _check_map(kind: Map, bound: set[str]) -> None:
    if not kind.over:
        raise InvalidGraph("`over` must name at least one input to divide, got none")
    for name in kind.over:
        if name not in bound:
            raise InvalidGraph(f"`over` names {name[:140]!r}, which is not bound{did_you_mean(name, bound)}")
    _check_unique("`over` entry", kind.over)
    if not 0 <= kind.max_concurrency <= MAX_CONCURRENCY:
        raise InvalidGraph(f"max_concurrency must be from 0 to {MAX_CONCURRENCY}, got {kind.max_concurrency}")
    if not 0 <= kind.batch_size <= _MAX_UINT32:
        raise InvalidGraph(f"batch_size must be from 0 to {_MAX_UINT32}, got {kind.batch_size}")


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
