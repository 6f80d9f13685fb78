"""Answers over HTTP as values, and what errors look like there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from graphmesh.core.errors import GraphmeshError, MessageTooLarge, Unavailable
from graphmesh.core.status import as_graphmesh_error, json_error, pushback

__all__ = ["JSON", "Reply", "as_answer", "error_reply"]

JSON = ("content-type", "application/json")
"""The content type of JSON, as a header."""

_PAYLOAD_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    status: int
    """The HTTP status."""
    body: bytes
    """All of it."""
    headers: tuple[tuple[str, str], ...] = (JSON,)
    """Without its length."""


def as_answer(error: BaseException) -> GraphmeshError:
    """Return what a client is told; only a server that stops cancels a call's task from outside."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        return Unavailable("this worker is stopping")
    return as_graphmesh_error(error)


def error_reply(error: GraphmeshError) -> Reply:
    """Return the answer that tells an error, as JSON."""
    status = _PAYLOAD_TOO_LARGE if isinstance(error, MessageTooLarge) else error.code.http_status
    return Reply(status, json_error(error), (JSON, *pushback(error)))
