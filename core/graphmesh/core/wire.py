"""Signatures as protobuf messages."""

from __future__ import annotations

from graphmesh.core.signature import Signature, TensorSpec, parse_dimension, show_dimension
from graphmesh.v1 import signature_pb2

__all__ = ["signature_from_wire", "signature_to_wire", "spec_from_wire", "spec_to_wire"]


def spec_to_wire(spec: TensorSpec) -> signature_pb2.TensorSpec:
    """Return the message of a tensor's spec."""
    return signature_pb2.TensorSpec(
        name=spec.name,
        datatype=spec.datatype,
        shape=[show_dimension(dimension) for dimension in spec.shape],
        text=spec.text,
        description=spec.description,
    )


def spec_from_wire(message: signature_pb2.TensorSpec) -> TensorSpec:
    """Return the spec of a message, or raise InvalidRequest."""
    return TensorSpec(
        name=message.name,
        datatype=message.datatype,
        shape=tuple(parse_dimension(dimension) for dimension in message.shape),
        text=message.text,
        description=message.description,
    )


def signature_to_wire(signature: Signature) -> signature_pb2.Signature:
    """Return the message of a signature."""
    return signature_pb2.Signature(
        inputs=[spec_to_wire(spec) for spec in signature.inputs],
        outputs=[spec_to_wire(spec) for spec in signature.outputs],
        streaming=signature.streaming,
    )


def signature_from_wire(message: signature_pb2.Signature) -> Signature:
    """Return the signature of a message, or raise InvalidRequest."""
    return Signature(
        inputs=tuple(spec_from_wire(spec) for spec in message.inputs),
        outputs=tuple(spec_from_wire(spec) for spec in message.outputs),
        streaming=message.streaming,
    )
