"""Sizes that follow from others once these are known: one of several, or their sum.

What follows is found out when all edges have been followed, so that it does not matter in which order that was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.checks.sizes import Unknown, cause, resolve, unify

if TYPE_CHECKING:
    from graphmesh.graph.checks.flows import Place
    from graphmesh.graph.checks.sizes import Size

__all__ = ["Derived"]


@dataclass(frozen=True, slots=True)
class _Rule:
    place: Place
    what: str
    """The size, for errors: ``axis 0 of output 'y'``."""
    size: Unknown
    parts: tuple[Size, ...]
    add: bool
    """Whether the size is the sum of its parts, or else any one of them."""

    def value(self) -> Size | None:
        """Return what the size must be; None while that is open."""
        parts = [resolve(part) for part in self.parts]
        numbers = [part for part in parts if isinstance(part, int)]
        if self.add:
            return sum(numbers) if len(numbers) == len(parts) else None
        return parts[0] if len(set(parts)) == 1 else None

    def refuse(self) -> None:
        """Raise InvalidGraph if the size has become a number that it can never be."""
        value, known = self.value(), resolve(self.size)
        possible = [value] if value is not None else [resolve(part) for part in self.parts]
        if self.add and value is None:
            return
        if isinstance(known, int) and known not in possible and all(isinstance(part, int) for part in possible):
            numbers = " or ".join(dict.fromkeys(map(str, possible)))
            because = f" ({known} because of {cause(self.size)})" if cause(self.size) else ""
            raise self.place.wrong(f"{self.what} is {numbers}, but must be {known}{because}")


class Derived:
    """The derived sizes of one graph."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._known: dict[tuple[str, bool, tuple[Size, ...]], Unknown] = {}

    def one_of(self, place: Place, what: str, parts: tuple[Size, ...]) -> Size:
        """Return the size that is one of several, the same one for equal ``parts`` of one step."""
        return self._size(place, what, parts, add=False)

    def sum_of(self, place: Place, what: str, parts: tuple[Size, ...]) -> Size:
        """Return the sum of sizes, the same one for equal ``parts`` of one step."""
        return self._size(place, what, parts, add=True)

    def _size(self, place: Place, what: str, parts: tuple[Size, ...], *, add: bool) -> Size:
        roots = tuple(resolve(part) for part in parts)
        key = (place.path, add, roots)
        if key not in self._known:
            names = {None if isinstance(root, int) else root.name for root in roots}
            name = names.pop() if len(names) == 1 and not add else None
            self._known[key] = Unknown(name)
            rule = _Rule(place, what, self._known[key], roots, add)
            self._rules.append(rule)
            self._apply(rule)
        return self._known[key]

    def _apply(self, rule: _Rule) -> bool:
        """Let a size become what it must be; return whether that was news."""
        value = rule.value()
        if value is None or resolve(rule.size) == value:
            return False
        return unify(value, rule.size, edge=f"node {rule.place.path}")

    def settle(self) -> None:
        """Find out all that follows.

        Raises:
            InvalidGraph: a size must be a number that it cannot be; names the step (INVALID_ARGUMENT, retry: no).
        """
        while sum(self._apply(rule) for rule in self._rules):
            pass
        for rule in self._rules:
            rule.refuse()
