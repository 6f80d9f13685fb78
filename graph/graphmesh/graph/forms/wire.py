"""Graphs as protobuf messages, and as the bytes that the registry stores.

This module and its parts `wire_*`, with `transforms.wire`, are all of this component that knows generated messages.
Whatever comes in is measured before it is converted, so that a hostile document costs no more than its own parsing.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.signature import parse_dimension, show_dimension
from graphmesh.graph.checks.extent import check_extent
from graphmesh.graph.forms.wire_read import all_from_wire, bindings_from_wire, branches_of
from graphmesh.graph.forms.wire_write import bindings_to_wire, node_to_wire
from graphmesh.graph.limits import MAX_DOCUMENT_BYTES
from graphmesh.graph.spec import Graph, GraphInput
from graphmesh.v1 import graph_pb2, signature_pb2

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
        InvalidGraph: too large or too deep, a node without a kind, or a malformed field (INVALID_ARGUMENT, retry: no).
    """
    check_extent(message.nodes, branches_of)
    check_size(message.ByteSize())
    return Graph(
        name=message.name,
        description=message.description,
        inputs=tuple(_input_from_wire(spec) for spec in message.inputs),
        nodes=all_from_wire(message.nodes),
        outputs=bindings_from_wire(message.outputs),
    )


def _input_from_wire(spec: signature_pb2.TensorSpec) -> GraphInput:
    try:
        shape = tuple(parse_dimension(dimension) for dimension in spec.shape)
    except InvalidRequest as error:
        raise InvalidGraph(f"graph input {spec.name[:140]!r}: {error.message}") from error
    return GraphInput(name=spec.name, datatype=spec.datatype, shape=shape, text=spec.text, description=spec.description)


def graph_to_wire(graph: Graph) -> graph_pb2.Graph:
    """Return the message of a graph.

    Raises:
        InvalidGraph: too many or too deep nodes, text that is not Unicode, or a number that does not fit its field
            (INVALID_ARGUMENT, retry: no).
    """
    check_extent(graph.nodes, lambda node: node.branches)
    try:
        return graph_pb2.Graph(
            name=graph.name,
            description=graph.description,
            inputs=[_input_to_wire(spec) for spec in graph.inputs],
            nodes=[node_to_wire(node) for node in graph.nodes],
            outputs=bindings_to_wire(graph.outputs),
        )
    except ValueError as error:  # a lone surrogate, or a number that is too wide or negative
        raise InvalidGraph(f"graph {graph.name[:140]!r} cannot be written as a message: {error}") from error


def _input_to_wire(spec: GraphInput) -> signature_pb2.TensorSpec:
    return signature_pb2.TensorSpec(
        name=spec.name,
        datatype=spec.datatype,
        shape=[show_dimension(dimension) for dimension in spec.shape],
        text=spec.text,
        description=spec.description,
    )
