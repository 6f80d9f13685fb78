"""The boxes of a picture before they have a place: their texts, their size, and where edges enter and leave.

A composed step's box holds those of its branches, one below the other, each under the words that say when it is run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from graphmesh.graph.drawing.measure import shorten, text_width, wrap
from graphmesh.graph.drawing.words import branches, does, given
from graphmesh.graph.placing.places import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.spec import Node

__all__ = ["PORT_HEIGHT", "Card", "Inner", "Line", "Port", "end_card", "node_card"]

PORT_HEIGHT = 32.0
"""Room for one edge at a box's side: its name above, its type below."""
_TITLE, _TEXT, _TYPE = 14.0, 11.5, 10.5
_TITLE_HEIGHT, _TEXT_HEIGHT, _TYPE_HEIGHT = 20.0, 15.0, 14.0
_PAD = 12.0
_GAP = 8.0
_MOST, _LEAST = 300.0, 110.0
_MOST_LABEL = 190.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of text."""

    text: str
    """As it is shown."""
    full: str
    """All of it."""
    style: str
    """What it is: `title`, `text`, `when`, `type`, `port`."""
    x: float
    """Its left end within its card."""
    y: float
    """Its baseline within its card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Where an edge enters or leaves a box."""

    source: str
    """The tensor, as edges name it."""
    y: float
    """Its height within the card."""
    above: str = ""
    """What stands above an edge that leaves: the tensor's name."""
    below: str = ""
    """What stands below it: its type."""
    full: str = ""
    """Both, not shortened."""

    @property
    def label_width(self) -> float:
        """The room that the words beside the box take."""
        return max(text_width(self.above, _TEXT), text_width(self.below, _TYPE, mono=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A card inside a card."""

    card: Card
    """The branch's."""
    x: float
    """Its left side within the outer card."""
    y: float
    """Its upper side within the outer card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A box and what is in it."""

    kind: str
    """The step's kind, or `input` or `output`."""
    path: str
    """The step or branch; the name of an input or output."""
    about: str
    """All that it says, for whoever points at it or has it read out."""
    width: float
    """Pixels."""
    height: float
    """Pixels."""
    lines: tuple[Line, ...] = ()
    """Texts."""
    enters: tuple[Port, ...] = ()
    """Edges at the left side."""
    leaves: tuple[Port, ...] = ()
    """Edges at the right side."""
    inside: tuple[Inner, ...] = ()
    """Branches."""


@dataclass(slots=True)
class _Column:
    """Lines written one below the other."""

    lines: list[Line] = field(default_factory=list)
    width: float = 0.0
    y: float = _PAD / 2

    def write(self, full: str, style: str, *, size: float, height: float, rows: int = 1) -> None:
        shown = [shorten(full, size, _MOST, mono=True)] if style == "type" else wrap(full, size, _MOST, lines=rows)
        for text in shown:
            self.lines.append(Line(text=text, full=full, style=style, x=_PAD, y=self.y + height * 0.75))
            self.width = max(self.width, text_width(text, size, mono=style == "type"))
            self.y += height


def end_card(name: str, *, source: str, spec: TensorSpec | None, leaves: bool) -> Card:
    """Return the card of an input (which an edge leaves) or an output of the graph."""
    height = PORT_HEIGHT
    shown = shorten(name, _TITLE, _MOST)
    kind, about = ("input" if leaves else "output"), f"{name}: {spec.type}" if spec else name
    port = _leaving("", source, height / 2, spec) if leaves else Port(source=source, y=height / 2)
    return Card(
        kind=kind,
        path=name,
        about=f"{kind} {about}",
        width=max(60.0, text_width(shown, _TITLE) + 2 * _PAD),
        height=height,
        lines=(Line(text=shown, full=name, style="title", x=_PAD, y=height / 2 + 5),),
        enters=() if leaves else (port,),
        leaves=(port,) if leaves else (),
    )


def node_card(node: Node, reads: Sequence[str], types: Mapping[str, TensorSpec]) -> Card:
    """Return the card of a node.

    Args:
        node: The node.
        reads: Names of its outputs that something reads.
        types: Types by source.
    """
    column = _head(node)
    enters, leaves = [], []
    start = column.y + 2
    for index, binding in enumerate(node.inputs):
        y = start + PORT_HEIGHT * (index + 0.5)
        enters.append(Port(source=binding.source, y=y))
        text = shorten(binding.name, _TEXT, _MOST)
        column.lines.append(Line(text=text, full=binding.name, style="port", x=_PAD, y=y + 4))
        column.width = max(column.width, text_width(text, _TEXT))
    for index, name in enumerate(reads):
        source = f"{node.name}.{name}"
        leaves.append(_leaving(name, source, start + PORT_HEIGHT * (index + 0.5), types.get(source)))
    column.y = start + PORT_HEIGHT * max(len(enters), len(leaves))
    return replace(_card(node, node.name, column, types), enters=tuple(enters), leaves=tuple(leaves))


def _leaving(name: str, source: str, y: float, spec: TensorSpec | None) -> Port:
    full = spec.type if spec else ""
    return Port(
        source=source,
        y=y,
        above=shorten(name, _TEXT, _MOST_LABEL),
        below=shorten(full, _TYPE, _MOST_LABEL, mono=True),
        full=f"{name or source}: {full}" if full else name or source,
    )


def _head(node: Node) -> _Column:
    column = _Column()
    column.write(node.name, "title", size=_TITLE, height=_TITLE_HEIGHT)
    column.write(does(node), "text", size=_TEXT, height=_TEXT_HEIGHT, rows=2)
    return column


def _branch_card(node: Node, path: str, types: Mapping[str, TensorSpec]) -> Card:
    column = _head(node)
    for binding in node.inputs:
        if binding.name != binding.source:
            column.write(f"{binding.name} ← {binding.source}", "type", size=_TYPE, height=_TYPE_HEIGHT)
    for name, spec in given(path, types):
        column.write(f"→ {name}: {spec.type}", "type", size=_TYPE, height=_TYPE_HEIGHT)
    return _card(node, path, column, types)


def _card(node: Node, path: str, column: _Column, types: Mapping[str, TensorSpec]) -> Card:
    """Return a card of what is written so far, with the node's branches below."""
    inside: list[Inner] = []
    for branch in branches(node, path):
        column.y += _GAP / 2
        if branch.label:
            column.write(branch.label, "when", size=_TEXT, height=_TEXT_HEIGHT)
        inner = _branch_card(branch.node, branch.path, types)
        inside.append(Inner(card=inner, x=_PAD, y=column.y))
        column.width = max(column.width, inner.width)
        column.y += inner.height + _GAP / 2
    return Card(
        kind=kind_of(node),
        path=path,
        about=f"{path}: {does(node)}",
        width=max(_LEAST, column.width + 2 * _PAD),
        height=column.y + _PAD / 2,
        lines=tuple(column.lines),
        inside=tuple(inside),
    )
