"""Where the boxes and edges of a picture go: columns from left to right, a node right of everything that it reads.

A tensor that is read further on than in the next column takes a lane, a low slot of its own, through each column that
it passes, so that edges never cross a box. Between two columns is first room for the words beside the edges, which run
level there, then room in which they bend. Nothing overlaps by construction: slots of a column are stacked, words have
the height of their slot, bends stay between two columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.drawing.cards import end_card, node_card
from graphmesh.graph.drawing.slots import LANE_HEIGHT, Slot, order, settle
from graphmesh.graph.drawing.words import columns as steps_by_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.drawing.cards import Card, Port
    from graphmesh.graph.spec import Graph

__all__ = ["Label", "Picture", "Placed", "Wire", "lay_out"]

_MARGIN = 24.0
_BEND = 64.0
_LABEL_GAP = 10.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A box with its place."""

    card: Card
    """The box."""
    x: float
    """Its left side."""
    y: float
    """Its upper side."""
    width: float
    """That of its column; at least the card's."""


@dataclass(frozen=True, slots=True)
class Label:
    """The words beside an edge where it leaves a box."""

    port: Port
    """Whose."""
    x: float
    """Their left end."""
    y: float
    """The edge's height: one line stands above, one below."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A piece of an edge: level from `x0` to `bend`, then bent to `x1`."""

    source: str
    """The tensor."""
    x0: float
    """Where it begins."""
    y0: float
    """Its height there."""
    bend: float
    """From where it bends."""
    x1: float
    """Where it ends."""
    y1: float
    """Its height there."""
    arrow: bool
    """Whether it ends at a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A graph laid out; pixels, y downwards."""

    width: float
    """Of all of it."""
    height: float
    """Of all of it."""
    boxes: tuple[Placed, ...]
    """Boxes of inputs, nodes and outputs."""
    labels: tuple[Label, ...]
    """Words beside edges."""
    wires: tuple[Wire, ...]
    """Edges."""


@dataclass(frozen=True, slots=True)
class _Span:
    """The sides of a column, and where the edges that leave it begin to bend."""

    left: float
    right: float
    bend: float


@dataclass(frozen=True, slots=True)
class _Joint:
    """One piece of an edge, between slots of two columns next to each other."""

    source: str
    left: Slot
    left_y: float
    right: Slot
    right_y: float


def lay_out(graph: Graph, types: Mapping[str, TensorSpec]) -> Picture:
    """Return a graph's picture. Edges from where nothing is, or against the running order, are left out."""
    slots = _slots(graph, types)
    columns: list[list[Slot]] = [[] for _ in range(max((slot.column for slot in slots), default=0) + 1)]
    for slot in slots:
        columns[slot.column].append(slot)
    joints = list(_joints(slots, columns))
    for joint in joints:
        joint.left.links.append((joint.left_y, joint.right, joint.right_y))
        joint.right.links.append((joint.right_y, joint.left, joint.left_y))
    columns = [column for column in columns if column]
    order(columns)
    settle(columns)
    return _drawn(columns, joints)


def _slots(graph: Graph, types: Mapping[str, TensorSpec]) -> list[Slot]:
    """Return a slot for every input, node and output, in its column."""
    reads: dict[str, dict[str, None]] = {node.name: {} for node in graph.nodes}
    for _, binding in graph.edges():
        if binding.node in reads:
            reads[binding.node][binding.tensor] = None
    steps = steps_by_column(graph)
    cards = [(0, end_card(one.name, source=one.name, spec=types.get(one.name), leaves=True)) for one in graph.inputs]
    cards += [(1 + at, node_card(node, list(reads[node.name]), types)) for at, row in enumerate(steps) for node in row]
    for one in graph.outputs:
        cards.append((1 + len(steps), end_card(one.name, source=one.source, spec=types.get(one.source), leaves=False)))
    return [Slot(column, card.height, card) for column, card in cards]


def _joints(slots: Sequence[Slot], columns: list[list[Slot]]) -> Iterator[_Joint]:
    """Return the pieces of all edges, and add the lanes that they take to the columns."""
    readers: dict[str, list[tuple[Slot, float]]] = {}
    for slot in slots:
        for port in slot.card.enters if slot.card else ():
            readers.setdefault(port.source, []).append((slot, port.y))
    for slot in slots:
        for port in slot.card.leaves if slot.card else ():
            yield from _edge(slot, port, readers.get(port.source, []), columns)


def _edge(slot: Slot, port: Port, readers: Sequence[tuple[Slot, float]], columns: list[list[Slot]]) -> Iterator[_Joint]:
    """Return the pieces of one tensor's edges: from lane to lane to the last column where it is read."""
    here, y = slot, port.y
    for column in range(slot.column + 1, max((end.column for end, _ in readers), default=0) + 1):
        for end, end_y in readers:
            if end.column == column:
                yield _Joint(port.source, here, y, end, end_y)
        if any(end.column > column for end, _ in readers):
            lane = Slot(column, LANE_HEIGHT)
            columns[column].append(lane)
            yield _Joint(port.source, here, y, lane, LANE_HEIGHT / 2)
            here, y = lane, LANE_HEIGHT / 2


def _drawn(columns: Sequence[Sequence[Slot]], joints: Iterable[_Joint]) -> Picture:
    """Return the picture of slots that have their heights."""
    top = min((slot.y for column in columns for slot in column), default=0.0) - _MARGIN
    boxes: list[Placed] = []
    labels: list[Label] = []
    spans: dict[int, _Span] = {}
    x = _MARGIN
    for column in columns:
        cards = [(slot.card, slot.y - top) for slot in column if slot.card]
        words = max((port.label_width for card, _ in cards for port in card.leaves), default=0.0)
        width = max((card.width for card, _ in cards), default=0.0)
        span = spans[column[0].column] = _Span(x, x + width, x + width + words + 2 * _LABEL_GAP)
        boxes += [Placed(card, x, y, width) for card, y in cards]
        labels += [Label(port, span.right + _LABEL_GAP, y + port.y) for card, y in cards for port in card.leaves]
        x = span.bend + _BEND
    bottom = max((slot.y + slot.height for column in columns for slot in column), default=0.0) - top
    return Picture(
        width=max((box.x + box.width for box in boxes), default=0.0) + _MARGIN,
        height=bottom + _MARGIN,
        boxes=tuple(boxes),
        labels=tuple(labels),
        wires=tuple(_wire(joint, spans, top) for joint in joints),
    )


def _wire(joint: _Joint, spans: Mapping[int, _Span], top: float) -> Wire:
    """Return a piece of an edge; out of a lane it begins where the lane does."""
    begin, end = spans[joint.left.column], spans[joint.right.column]
    return Wire(
        source=joint.source,
        x0=begin.left if joint.left.card is None else begin.right,
        y0=joint.left.y + joint.left_y - top,
        bend=begin.bend,
        x1=end.left,
        y1=joint.right.y + joint.right_y - top,
        arrow=joint.right.card is not None,
    )
