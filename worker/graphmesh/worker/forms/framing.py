"""How several answers share one body, over HTTP: server-sent events, or a line of JSON for each.

What fails after the first answer is told by the last event: by one named `error` at `:predictStream`, by one like the
others at `generate_stream`, as Triton does it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EVENTS", "LINES", "NO_CACHE", "TRITON", "Framing", "framing_for"]

NO_CACHE = ("cache-control", "no-cache")
"""A header of every framed body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """What surrounds an answer."""

    content_type: str
    """Of the whole body."""
    before: bytes = b""
    """What an answer begins with."""
    before_error: bytes = b""
    """What an error begins with."""
    after: bytes
    """What both end with."""

    def answer(self, answer: bytes) -> bytes:
        """Return one answer as its part of the body."""
        return self.before + answer + self.after

    def error(self, error: bytes) -> bytes:
        """Return the error that ends the body as its part of it."""
        return self.before_error + error + self.after


LINES = Framing(content_type="application/x-ndjson", after=b"\n")
EVENTS = Framing(
    content_type="text/event-stream; charset=utf-8",
    before=b"data: ",
    before_error=b"event: error\ndata: ",
    after=b"\n\n",
)
TRITON = Framing(content_type=EVENTS.content_type, before=b"data: ", before_error=b"data: ", after=b"\n\n")


def framing_for(accept: str | None) -> Framing:
    """Return what a caller of `:predictStream` gets: events, unless its `accept` header names lines."""
    return LINES if LINES.content_type in (accept or "") else EVENTS
