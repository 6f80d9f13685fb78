"""Fields of a message in protobuf's text format, read without its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core import textproto
from graphmesh.core.errors import InvalidGraph, InvalidRequest

if TYPE_CHECKING:
    from graphmesh.core.textproto import Message

__all__ = ["messages", "parse", "word"]


def parse(document: str) -> Message:
    """Return the fields of a message, or raise InvalidGraph with the line that is not in the text format."""
    try:
        return textproto.parse(document)
    except InvalidRequest as error:
        raise InvalidGraph(error.message[:400]) from error


def messages(message: Message, name: str) -> list[Message]:
    """Return the messages of a field."""
    found = message.get(name, [])
    for value in found:
        if not isinstance(value, dict):
            raise InvalidGraph(f"{name} must be a message, got {value!r}")
    return [value for value in found if isinstance(value, dict)]


def word(message: Message, name: str) -> str:
    """Return a field that is given once, as text; empty if it is not there."""
    values = message.get(name, [""])
    if len(values) != 1 or isinstance(values[0], dict):
        raise InvalidGraph(f"{name} must be one value, got {'a message' if len(values) == 1 else len(values)}")
    return str(values[0])
