"""Whose limit a call misses: errors name the step whose own `timeout` it is, and what to do about it.

A call may be cut off by a limit, or be refused because it cannot be done by then: by what was learned of its target, or
because too many calls wait for that. Where the limit is a step's own, all of these are one thing, a step that ran out
of time: DEADLINE_EXCEEDED. Where it is what the caller of the whole graph left, errors stay as they are, since a
caller that waits a little may well repeat a call that was refused for a queue.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from graphmesh.core.errors import Code, DeadlinePassed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.graph.running.frame import Frame

__all__ = ["MISSES_DEADLINE", "limit_of", "missed", "reached"]

MISSES_DEADLINE: Mapping[str, str] = MappingProxyType({"misses": "deadline"})
"""The metadata of an error that is no DEADLINE_EXCEEDED, but refuses a call that would miss its deadline."""

_SAID = "the limit of step "
_ADVICE = "raise its `timeout`, or scale what it calls"


def limit_of(path: str, seconds: float) -> str:
    """Return a step's own limit as frames carry it and errors name it."""
    return f"{_SAID}{path}, {seconds * 1000:g} ms"


def reached(limit: str) -> str:
    """Return what is said when a limit ended something."""
    return f"{limit}, was reached; {_ADVICE}"


def missed(error: GraphmeshError, frame: Frame) -> DeadlinePassed | None:
    """Return what to raise for an error of a call that a step's own limit is the cause of; None: the error itself.

    A limit further in, in a graph that was called, has been named already and stays the cause.
    """
    if not frame.limit or _SAID in error.message:
        return None
    if error.code is not Code.DEADLINE_EXCEEDED and error.metadata.items().isdisjoint(MISSES_DEADLINE.items()):
        return None
    if frame.run.host.now() >= frame.deadline.at:
        return DeadlinePassed(reached(frame.limit))
    return DeadlinePassed(f"{frame.limit}, would be missed: {error.message}; {_ADVICE}")
