"""The W3C trace context of a call: which trace it belongs to, and what it says to services further on.

`traceparent` and `tracestate` are of https://www.w3.org/TR/trace-context/, `baggage` is of
https://www.w3.org/TR/baggage/. They travel with a call to the nodes of a graph whether or not this worker records
traces. Values are never changed, but a worker that records a span puts itself into `traceparent`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BAGGAGE", "TRACEPARENT", "TRACESTATE", "Parent", "not_sampled", "read_parent", "sendable", "travelling"]

TRACEPARENT = "traceparent"
"""Trace, calling span, and whether it is recorded."""
TRACESTATE = "tracestate"
"""What tracing systems keep beside it."""
BAGGAGE = "baggage"
"""What the caller's own services tell one another."""

_TRAVELLING = (TRACEPARENT, TRACESTATE, BAGGAGE)
_MOST = 8192
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1
_LENGTH = 55


@dataclass(frozen=True, slots=True)
class Parent:
    """The span that a call came from."""

    trace_id: int
    """Of the whole trace."""
    span_id: int
    """Of the caller."""
    sampled: bool
    """The caller records it."""


def read_parent(traceparent: str | None) -> Parent | None:
    """Return what a `traceparent` says; None if there is none, or none that can be read: a new trace begins."""
    match = _PARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    return Parent(int(match[1], 16), int(match[2], 16), bool(int(match[3], 16) & _SAMPLED))


def not_sampled(traceparent: str) -> bool:
    """Return whether a `traceparent` of today's version says, at its end, that its trace is not recorded."""
    return traceparent[-3:] == "-00" and len(traceparent) == _LENGTH


def travelling(get: Callable[[str], str | None]) -> dict[str, str]:
    """Return the headers of a trace context that go on with a call, as they came; not what gRPC could not send."""
    found: dict[str, str] = {}
    for name in _TRAVELLING:
        value = get(name)
        if value and len(value) <= _MOST and sendable(value):
            found[name] = value
    return found


def sendable(value: str) -> bool:
    """Return whether gRPC can send a value as text: it refuses any other, and the call with it."""
    return value.isascii() and value.isprintable()
