"""Messages in protobuf's text format, without their schema: fields by name, each with all its values.

Enough for configuration files: nested messages, lists, strings, numbers, booleans, names of enum values, comments.
Nothing is known of types, so that fields nobody reads cannot stand in the way.
Specification: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import contextlib
from typing import TypeAlias

from google.protobuf import text_format

from graphmesh.core.errors import InvalidRequest

__all__ = ["Message", "parse"]

Value: TypeAlias = "str | int | float | Message"
Message: TypeAlias = dict[str, list[Value]]
"""Every field is a list: what may be repeated is known to the reader only."""

_MAX_DEPTH = 32


def parse(text: str) -> Message:
    """Return the fields of a message.

    Raises:
        InvalidRequest: it is not in the text format; names the line.
    """
    tokens = text_format.Tokenizer(text.splitlines())
    try:
        return _message(tokens, end="", depth=0)
    except text_format.ParseError as error:
        raise InvalidRequest(f"not protobuf's text format: {error}") from error


def _message(tokens: text_format.Tokenizer, *, end: str, depth: int) -> Message:
    if depth > _MAX_DEPTH:
        raise text_format.ParseError(f"messages must be nested at most {_MAX_DEPTH} levels deep")
    fields: Message = {}
    while not (tokens.TryConsume(end) if end else tokens.AtEnd()):
        name = tokens.ConsumeIdentifier()
        tokens.TryConsume(":")
        fields.setdefault(name, []).extend(_values(tokens, depth))
        if not tokens.TryConsume(","):
            tokens.TryConsume(";")
    return fields


def _values(tokens: text_format.Tokenizer, depth: int) -> list[Value]:
    if not tokens.TryConsume("["):
        return [_value(tokens, depth)]
    values: list[Value] = []
    while not tokens.TryConsume("]"):
        values.append(_value(tokens, depth))
        tokens.TryConsume(",")
    return values


def _value(tokens: text_format.Tokenizer, depth: int) -> Value:
    if tokens.TryConsume("{"):
        return _message(tokens, end="}", depth=depth + 1)
    if tokens.TryConsume("<"):
        return _message(tokens, end=">", depth=depth + 1)
    if tokens.token[:1] in {'"', "'"}:
        return tokens.ConsumeString()
    sign = -1 if tokens.TryConsume("-") else 1
    for consume in (tokens.ConsumeInteger, tokens.ConsumeFloat):
        with contextlib.suppress(text_format.ParseError):
            return sign * consume()
    return tokens.ConsumeIdentifier()
