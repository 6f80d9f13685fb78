"""Operations as protobuf messages."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.transforms.operations import KINDS, Operation
from graphmesh.v1 import operation_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from graphmesh.graph.transforms.operations import What

__all__ = ["operation_from_wire", "operation_to_wire"]


def operation_from_wire(message: operation_pb2.Operation) -> Operation:
    """Return the operation of a message.

    Raises:
        InvalidGraph: it says nothing that this version knows (INVALID_ARGUMENT, retry: no).
    """
    kind = message.WhichOneof("kind")
    if kind is None:
        raise InvalidGraph(f"an operation must say one of {', '.join(KINDS)}, got none that this version knows")
    return Operation(
        what=_what_from_wire(kind, getattr(message, kind)),
        inputs=tuple(message.inputs),
        outputs=tuple(message.outputs),
    )


def _what_from_wire(kind: str, message: Message) -> What:
    values: dict[str, Any] = {}
    for name, description in message.DESCRIPTOR.fields_by_name.items():
        if description.has_presence and not message.HasField(name):
            continue  # the value's own default
        value = getattr(message, name)
        values[name] = value if isinstance(value, str | bytes | bool | int | float) else tuple(value)
    return KINDS[kind](**values)


def operation_to_wire(operation: Operation) -> operation_pb2.Operation:
    """Return the message of an operation.

    Raises:
        ValueError: text that is not Unicode, or a number that its field cannot hold.
    """
    message = operation_pb2.Operation(inputs=operation.inputs, outputs=operation.outputs)
    values = {part.name: getattr(operation.what, part.name) for part in fields(operation.what)}
    part = getattr(message, operation.kind)
    part.SetInParent()
    part.MergeFrom(type(part)(**{name: value for name, value in values.items() if value is not None}))
    return message
