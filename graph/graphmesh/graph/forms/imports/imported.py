"""What an import gives, and how names of other servers become names of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.graph.spec import Graph

__all__ = ["Imported", "Names"]


@dataclass(frozen=True, slots=True)
class Imported:
    """A graph made of another server's."""

    graph: Graph
    """As near as it comes; `validate` says whether it can work with the models that there are."""
    notes: tuple[str, ...]
    """What could not be carried over or means something else here, and what to do about it."""


@dataclass(slots=True)
class Names:
    """Makes names that are allowed here, and unique where they must be; notes each that it had to change."""

    notes: list[str] = field(default_factory=list)
    """What was changed, and whatever else the reader has to say."""
    _nodes: set[str] = field(default_factory=set)

    def model(self, name: str) -> str:
        """Return the name of a model or graph."""
        return self._changed("model or graph", name, _cleaned(name, r"[^a-z0-9._-]", 128))

    def node(self, name: str) -> str:
        """Return the name of a node, unlike all before."""
        wanted = made = _cleaned(name, r"[^a-z0-9_-]", 60)
        count = 1
        while made in self._nodes:
            count += 1
            made = f"{wanted}-{count}"
        self._nodes.add(made)
        return made

    def branch(self, name: str) -> str:
        """Return the name of a branch."""
        return _cleaned(name, r"[^a-z0-9_-]", 64)

    def tensor(self, name: str) -> str:
        """Return the name of an input or output of the graph."""
        made = re.sub(r"[^A-Za-z0-9_:/-]", "_", name)[:128]
        return self._changed("tensor", name, made if re.match("[A-Za-z_]", made) else f"_{made}"[:128])

    def ignored(self, where: str, fields: Iterable[str]) -> None:
        """Note fields that mean nothing here."""
        names = sorted(fields)
        if names:
            self.notes.append(f"{where}: {', '.join(names)} not carried over")

    def _changed(self, what: str, name: str, made: str) -> str:
        note = f"the {what} {name[:140]!r} is called {made!r} here, since names are of other characters"
        if made != name and note not in self.notes:
            self.notes.append(note)
        return made


def _cleaned(name: str, refused: str, most: int) -> str:
    made = re.sub(refused, "-", name.lower())[:most].lstrip("._-")
    return made or "unnamed"
