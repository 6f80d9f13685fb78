"""Mistakes of one graph, collected so that its author hears of all of them at once.

Collected are mistakes that do not follow from one another; what can only be looked at once they are mended is not
looked at. They are told in the order in which they were found; those of steps that are looked at in another order, in
that of the document (`ByStep`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from graphmesh.graph.spec import Graph, Node

__all__ = ["MAX_FOUND", "MAX_SHOWN", "ByStep", "Findings", "told"]

MAX_SHOWN = 20
"""Mistakes that are told; of more than these only the number."""

MAX_FOUND = 50
"""Mistakes that are looked for: each is compared with names that come close, which takes milliseconds."""

_MAX_CHARACTERS = 4_000
"""Length of what is told beyond the first: an error's text travels in a header, and these are bounded."""


class _Several(InvalidGraph):
    """More than one mistake; made of the message that tells them all, as every error is made of its message."""

    messages: tuple[str, ...] = ()
    """The mistakes, one by one."""


class _TooMany(_Several):
    """More mistakes than are looked for; goes through all that collects, and is not collected itself."""

    found: list[str]
    """What they were collected in."""


def told(error: InvalidRequest) -> list[str]:
    """Return the mistakes that an error tells, one by one."""
    return list(error.messages) if isinstance(error, _Several) else [error.message]


class Findings:
    """What is wrong with one graph, or with one part of it.

    Args:
        where: The part, for messages; empty for the graph.
    """

    def __init__(self, where: str = "") -> None:
        self._where = where
        self._messages: list[str] = []

    def inside(self, where: str) -> Findings:
        """Return the findings of a part: they are among these, too, and say where they are."""
        part = Findings(f"{self._where}: {where}" if self._where else where)
        part._messages = self._messages
        return part

    @contextlib.contextmanager
    def note(self) -> Iterator[None]:
        """Collect what the block raises because of a mistake, and go on after it."""
        lead = f"{self._where}: " if self._where else ""
        try:
            yield
        except InvalidRequest as error:
            if isinstance(error, _TooMany) and error.found is self._messages:
                raise
            self.add(f"{lead}{message}" for message in told(error))

    def add(self, messages: Iterable[str]) -> None:
        """Collect mistakes that are messages already.

        Raises:
            InvalidGraph: there are more than `MAX_FOUND` by now: as `settle` (INVALID_ARGUMENT, retry: no).
        """
        self._messages.extend(messages)
        if len(self._messages) > MAX_FOUND:
            raise self._error(_TooMany)

    def __len__(self) -> int:
        """Return how many were found."""
        return len(self._messages)

    def __iter__(self) -> Iterator[str]:
        """Iterate over what was found."""
        return iter(self._messages)

    def settle(self) -> None:
        """Go on if nothing was found.

        Raises:
            InvalidGraph: something was; with all of it, the first `MAX_SHOWN` in words (INVALID_ARGUMENT, retry: no).
        """
        if len(self._messages) == 1:
            raise InvalidGraph(self._messages[0])
        if self._messages:
            raise self._error(_Several)

    def _error(self, kind: type[_Several]) -> _Several:
        error = kind(_together(self._messages))
        error.messages = tuple(self._messages)
        if isinstance(error, _TooMany):
            error.found = self._messages
        return error


class ByStep:
    """What is wrong with the steps of one graph, told in the order in which they are written.

    Args:
        graph: Of valid structure, or a part of such.
    """

    def __init__(self, graph: Graph) -> None:
        self._steps = {node.name: Findings() for node in graph.nodes}
        self._wrong: set[str] = set()
        self._whole = Findings()
        self._found = 0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Collect what the block raises because of a step's mistake, and go on after it."""
        findings = self._steps[name]
        before = len(findings)
        try:
            with findings.note():
                yield
        finally:
            self._found += len(findings) - before
            if len(findings):
                self._wrong.add(name)
        if self._found > MAX_FOUND:
            self.settle()

    def whole(self) -> AbstractContextManager[None]:
        """Collect what the block raises because of a mistake of the graph's own, told after those of its steps."""
        return self._whole.note()

    def sound(self, node: Node) -> bool:
        """Return whether nothing is wrong with a step and those that it reads from, which were asked for before."""
        if any(binding.node in self._wrong for binding in node.inputs):
            self._wrong.add(node.name)
        return node.name not in self._wrong

    def readable(self, name: str) -> bool:
        """Return whether outputs can read what a step gives, or a graph input if ``name`` is empty."""
        return name not in self._wrong

    def settle(self) -> None:
        """Go on if nothing was found; raises as `Findings.settle`."""
        findings = Findings()
        for part in (*self._steps.values(), self._whole):
            findings.add(part)
        findings.settle()


def _together(messages: list[str]) -> str:
    shown: list[str] = []
    length = 0
    for message in messages[:MAX_SHOWN]:
        length += len(message)
        if shown and length > _MAX_CHARACTERS:
            break
        shown.append("- " + message.replace("\n", "\n  "))
    rest = len(messages) - len(shown)
    more = [f"- and {rest} more, told once these are mended"] if rest else []
    count = f"{len(messages)} mistakes" if len(messages) <= MAX_FOUND else f"more than {MAX_FOUND} mistakes"
    return "\n".join([count, *shown, *more])
