"""Graphs as protobuf messages, and as the bytes that the registry stores.

The one place of this component that knows generated messages. Whatever comes in is measured before it is converted, so
that a hostile document costs no more than its own parsing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.signature import parse_dimension, show_dimension
from graphmesh.graph.limits import MAX_DOCUMENT_BYTES, MAX_NODES
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node
from graphmesh.v1 import graph_pb2, signature_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.graph.spec import Kind, Target

__all__ = ["check_size", "graph_from_bytes", "graph_from_wire", "graph_to_bytes", "graph_to_wire"]


def check_size(size: int) -> None:
    """Raise InvalidGraph when a document of ``size`` bytes is larger than graphs may be."""
    if size > MAX_DOCUMENT_BYTES:
        raise InvalidGraph(f"a graph takes at most {MAX_DOCUMENT_BYTES} bytes, got {size}; split it into nested graphs")


def graph_from_bytes(document: bytes) -> Graph:
    """Return the graph of a serialized message.

    Raises:
        InvalidGraph: too large, or not such a message (INVALID_ARGUMENT, retry: no).
    """
    check_size(len(document))
    try:
        message = graph_pb2.Graph.FromString(document)
    except DecodeError as error:
        raise InvalidGraph("a graph must be a serialized graphmesh.v1.Graph, got bytes that do not parse") from error
    return graph_from_wire(message)


def graph_to_bytes(graph: Graph) -> bytes:
    """Return a serialized message; equal graphs give equal bytes. Raises what `graph_to_wire` does."""
    return graph_to_wire(graph).SerializeToString(deterministic=True)


def graph_from_wire(message: graph_pb2.Graph) -> Graph:
    """Return the graph of a message.

    Raises:
        InvalidGraph: too large, a node without a kind, or a malformed shape (INVALID_ARGUMENT, retry: no).
    """
    check_size(message.ByteSize())
    if len(message.nodes) > MAX_NODES:
        raise InvalidGraph(f"a graph has at most {MAX_NODES} nodes, got {len(message.nodes)}; nest graphs instead")
    return Graph(
        name=message.name,
        description=message.description,
        inputs=tuple(_input_from_wire(spec) for spec in message.inputs),
        nodes=tuple(_node_from_wire(node) for node in message.nodes),
        outputs=_bindings_from_wire(message.outputs),
    )


def _input_from_wire(spec: signature_pb2.TensorSpec) -> GraphInput:
    try:
        shape = tuple(parse_dimension(dimension) for dimension in spec.shape)
    except InvalidRequest as error:
        raise InvalidGraph(f"graph input {spec.name[:140]!r}: {error.message}") from error
    return GraphInput(name=spec.name, datatype=spec.datatype, shape=shape, text=spec.text, description=spec.description)


def _bindings_from_wire(bindings: Iterable[graph_pb2.Binding]) -> tuple[Binding, ...]:
    return tuple(Binding(name=binding.name, source=binding.source) for binding in bindings)


def _node_from_wire(node: graph_pb2.Node) -> Node:
    return Node(name=node.name, kind=_kind_from_wire(node), inputs=_bindings_from_wire(node.inputs))


def _kind_from_wire(node: graph_pb2.Node) -> Kind:
    match node.WhichOneof("kind"):
        case "map":
            return Map(
                target=_target_from_wire(node.name, node.map, where="`map`"),
                over=tuple(node.map.over),
                batch_size=node.map.batch_size,
                max_concurrency=node.map.max_concurrency,
            )
        case None:
            raise InvalidGraph(
                f"node {node.name[:140]!r}: must say one of `model`, `graph` or `map`, got none that this version knows"
            )
        case _:
            return _target_from_wire(node.name, node, where="the node")


def _target_from_wire(name: str, holder: graph_pb2.Node | graph_pb2.Map, *, where: str) -> Target:
    if holder.HasField("model"):
        return ModelCall(name=holder.model.name, version=holder.model.version)
    if holder.HasField("graph"):
        return GraphCall(name=holder.graph.name)
    raise InvalidGraph(f"node {name[:140]!r}: {where} must say what it calls, one of `model` or `graph`")


def graph_to_wire(graph: Graph) -> graph_pb2.Graph:
    """Return the message of a graph.

    Raises:
        InvalidGraph: text that is not Unicode, or a number that is not 32 bits wide (INVALID_ARGUMENT, retry: no).
    """
    try:
        return graph_pb2.Graph(
            name=graph.name,
            description=graph.description,
            inputs=[_input_to_wire(spec) for spec in graph.inputs],
            nodes=[_node_to_wire(node) for node in graph.nodes],
            outputs=_bindings_to_wire(graph.outputs),
        )
    except ValueError as error:  # a lone surrogate, or a number outside uint32
        raise InvalidGraph(f"graph {graph.name[:140]!r} cannot be written as a message: {error}") from error


def _input_to_wire(spec: GraphInput) -> signature_pb2.TensorSpec:
    return signature_pb2.TensorSpec(
        name=spec.name,
        datatype=spec.datatype,
        shape=[show_dimension(dimension) for dimension in spec.shape],
        text=spec.text,
        description=spec.description,
    )


def _bindings_to_wire(bindings: Iterable[Binding]) -> list[graph_pb2.Binding]:
    return [graph_pb2.Binding(name=binding.name, source=binding.source) for binding in bindings]


def _node_to_wire(node: Node) -> graph_pb2.Node:
    message = graph_pb2.Node(name=node.name, inputs=_bindings_to_wire(node.inputs))
    if isinstance(node.kind, Map):
        message.map.over.extend(node.kind.over)
        message.map.batch_size = node.kind.batch_size
        message.map.max_concurrency = node.kind.max_concurrency
        _target_to_wire(node.kind.target, message.map)
    else:
        _target_to_wire(node.kind, message)
    return message


def _target_to_wire(target: Target, holder: graph_pb2.Node | graph_pb2.Map) -> None:
    if isinstance(target, ModelCall):
        holder.model.CopyFrom(graph_pb2.ModelCall(name=target.name, version=target.version))
    else:
        holder.graph.CopyFrom(graph_pb2.GraphCall(name=target.name))
