"""Sizes of dimensions while types flow through a graph: numbers, and unknown sizes that turn out to be equal.

Union-find: an unknown size is an object; finding two sizes equal points one at the other, or at a number. What an edge
makes a number is remembered with the edge, so that a contradiction names both of its causes.
"""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Size", "Unknown", "cause", "resolve", "unify"]


class Unknown:
    """A size that is not a number yet.

    Args:
        name: What the author of the signature or graph called it; None if it has no name.
    """

    __slots__ = ("edge", "known", "name")

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.known: Size | None = None
        self.edge = ""


Size: TypeAlias = int | Unknown
"""A number, or a size that is not known yet."""


def resolve(size: Size) -> Size:
    """Return the number that a size has become, or the one unknown that stands for all equal to it."""
    end = size
    while isinstance(end, Unknown) and end.known is not None:
        end = end.known
    while isinstance(size, Unknown) and isinstance(size.known, Unknown) and isinstance(end, Unknown):
        size.known, size = end, size.known  # shorten the way for the next caller
    return end


def unify(left: Size, right: Size, *, edge: str) -> bool:
    """Make two sizes equal because of ``edge``; return False when they are different numbers."""
    left, right = resolve(left), resolve(right)
    if left is right:
        return True
    if isinstance(right, Unknown):
        if isinstance(left, Unknown):
            left.name = left.name or right.name
        right.known, right.edge = left, edge
        return True
    if isinstance(left, Unknown):
        left.known, left.edge = right, edge
        return True
    return left == right


def cause(size: Size) -> str:
    """Return the edge that made a size a number; empty if it was one from the start, or is none."""
    edge = ""
    while isinstance(size, Unknown) and size.known is not None:
        edge, size = size.edge, size.known
    return edge if isinstance(size, int) else ""
