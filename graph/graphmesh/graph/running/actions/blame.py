"""Which errors a step may go on after, and how one error tells of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import Code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.core.errors import GraphmeshError

__all__ = ["WRONG_REQUEST", "code_of", "with_others"]

WRONG_REQUEST = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.UNAUTHENTICATED,
    }
)
"""Codes that say that the request is wrong, so that whoever else is asked says the same."""

_MAX_CHARACTERS = 300


def code_of(error: GraphmeshError) -> Code:
    """Return the code that decides what happens next.

    CANCELLED counts as UNAVAILABLE: a branch that this step had cancelled would not be looked at any more, so someone
    else ended its call, as a server that shuts down does.
    """
    return Code.UNAVAILABLE if error.code is Code.CANCELLED else error.code


def with_others(error: GraphmeshError, others: Sequence[GraphmeshError], *, relation: str) -> GraphmeshError:
    """Return ``error`` with the messages of others behind its own; class, code, reason and metadata stay.

    Args:
        error: The one that decides; returned as it is if there are no others.
        others: Those that it should tell of.
        relation: How they are introduced: ``before that``.
    """
    if not others:
        return error
    return error.reworded(f"{error.message}; {relation}: {'; '.join(_short(other.message) for other in others)}")


def _short(message: str) -> str:
    return message if len(message) <= _MAX_CHARACTERS else f"{message[: _MAX_CHARACTERS - 3]}..."
