"""How commands ask a running mesh: one call of its control services, from synchronous code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict

from graphmesh.client import ControlClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

__all__ = ["as_document", "ask", "ask_for_all"]

_WIDE = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def as_document(message: Message) -> dict[str, Any]:
    """Return a message as `-o json` and `-o yaml` show it: the protocol's own field names, nothing left out.

    Numbers of 64 bits, which the protocol's JSON writes as text, are numbers.
    """
    document = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return _with_numbers(document, cast("Descriptor", message.DESCRIPTOR))


def _with_numbers(document: dict[str, Any], kind: Descriptor) -> dict[str, Any]:
    return {
        name: _number(value, kind.fields_by_name[name]) if name in kind.fields_by_name else value
        for name, value in document.items()
    }


def _number(value: Any, field: FieldDescriptor) -> Any:
    """Return a field's value, or a part of it, with numbers where the field has them."""
    inner: Descriptor | None = field.message_type
    if isinstance(value, list):
        return [_number(one, field) for one in value]
    if isinstance(value, dict):
        if inner is not None and inner.GetOptions().map_entry:
            return {key: _number(one, inner.fields_by_name["value"]) for key, one in value.items()}
        return _with_numbers(value, inner) if inner is not None else value
    return int(value) if field.cpp_type in _WIDE else value


def ask(gateway: str, method: Callable[[ControlClient], Any], request: Message) -> Any:
    """Return the answer of the method that ``method`` picks from a client; raises as `ControlClient.call`."""

    async def answer() -> Any:
        async with ControlClient(gateway) as client:
            return await client.call(method(client), request)

    return asyncio.run(answer())


def ask_for_all(gateway: str, method: Callable[[ControlClient], Any], request: Message, field: str) -> list[Any]:
    """Return the items of ``field`` over all pages of a List method; raises as `ControlClient.call`."""

    async def items() -> list[Any]:
        async with ControlClient(gateway) as client:
            return [item async for item in client.pages(method(client), request, field)]

    return asyncio.run(items())
