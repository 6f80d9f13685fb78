"""The slots of a picture's columns: in which order they stand, and how high.

Slots are put in the order of what they are joined with (barycentres), then moved as near to it as their order allows:
least squares under an order, by pooling neighbours that would overlap. Linear in slots and joints for each of a fixed
number of sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.graph.drawing.cards import Card

__all__ = ["LANE_HEIGHT", "Slot", "order", "settle"]

LANE_HEIGHT = 10.0
"""Room for an edge that passes a column."""
_GAP = 22.0
_SWEEPS = 8


@dataclass(slots=True, eq=False)
class Slot:
    """What takes a place in a column: a card, or the lane of a tensor."""

    column: int
    """Which column, from the left."""
    height: float
    """Pixels."""
    card: Card | None = None
    """What stands there; None for a lane."""
    y: float = 0.0
    """Its upper side, once settled."""
    rank: float = 0.0
    """Its place in its column, once ordered."""
    links: list[tuple[float, Slot, float]] = field(default_factory=list)
    """What it is joined with: at which height, with which other slot, at which height there."""


def order(columns: Sequence[list[Slot]]) -> None:
    """Put the slots of each column in the order of what they are joined with."""
    for column in columns:
        _number(column)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            for slot in column:
                near = [
                    other.rank + at / (other.height + 1)
                    for _, other, at in slot.links
                    if (other.column < slot.column) == forward
                ]
                slot.y = sum(near) / len(near) if near else slot.rank
            column.sort(key=lambda slot: slot.y)
            _number(column)


def _number(column: Sequence[Slot]) -> None:
    """Write down places in a column, from -n/2 to n/2, so that columns of different lengths compare."""
    for index, slot in enumerate(column):
        slot.rank = index - (len(column) - 1) / 2


def settle(columns: Sequence[list[Slot]]) -> None:
    """Give each slot a height: near to what it is joined with, in the order of its column."""
    for column in columns:
        _stack(column, [0.0] * len(column))
    for sweep in range(2 * _SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wishes = []
            for slot in column:
                near = [other.y + at - own for own, other, at in slot.links]
                wishes.append(sum(near) / len(near) if near else slot.y)
            _stack(column, wishes)


def _stack(column: Sequence[Slot], wishes: Sequence[float]) -> None:
    """Place slots as near to their wishes as they can be without overlapping: isotonic regression."""
    offsets = [0.0]
    for slot, following in pairwise(column):
        gap = _GAP if slot.card and following.card else _GAP / 2
        offsets.append(offsets[-1] + slot.height + gap)
    pools: list[tuple[float, int]] = []  # sum of the wishes of neighbours that touch, and how many they are
    for wish, offset in zip(wishes, offsets, strict=False):
        total, count = wish - offset, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            before, many = pools.pop()
            total, count = total + before, count + many
        pools.append((total, count))
    places = [total / count for total, count in pools for _ in range(count)]
    for slot, place, offset in zip(column, places, offsets, strict=False):
        slot.y = place + offset
