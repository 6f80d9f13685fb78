"""The calls that wait, in order: by priority, and first come first served within one. No I/O, no clock.

Calls that can share a batch are a group; a batch is the front of one group. The group whose front call is first of all
has its turn, so that no group starves. Finding a group is linear in their number, once a batch; adding and removing a
call are a bisection.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable

    from graphmesh.worker.batching.call import Call

__all__ = ["Group", "Waiting"]

_Entry: TypeAlias = "tuple[int, int, Call]"


class Group:
    """Waiting calls that can share a batch, in order."""

    __slots__ = ("cost", "entries", "key", "rows")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        """What its calls share; None: each runs alone."""
        self.entries: list[_Entry] = []
        """Priority, number and call, ascending."""
        self.rows = 0
        """Rows of all its calls."""
        self.cost = 0.0
        """Cost of all its calls."""

    def share(self, priority: int) -> float:
        """Return which part of the calls goes before a new one of ``priority``."""
        entries = self.entries
        if entries[-1][0] <= priority:
            return 1.0
        return bisect_left(entries, (priority + 1,)) / len(entries)


class Waiting:
    """All waiting calls of a model."""

    def __init__(self) -> None:
        self.groups: dict[Hashable, Group] = {}
        """Groups by key; none is empty."""
        self.count = 0
        """Calls in all groups."""
        self._number = 0

    def add(self, call: Call) -> None:
        """Put a call behind those of its priority."""
        group = self.groups.get(call.key)
        if group is None:
            group = self.groups[call.key] = Group(call.key)
        self._number += 1
        self.count += 1
        call.number, call.waiting = self._number, True
        entry, entries = (call.priority, call.number, call), group.entries
        if not entries or entries[-1] < entry:
            entries.append(entry)
        else:
            insort(entries, entry)
        group.rows += call.rows
        group.cost += call.cost

    def remove(self, call: Call) -> None:
        """Take out a waiting call."""
        group = self.groups[call.key]
        index = bisect_left(group.entries, (call.priority, call.number, call))
        self._cut(group, index, index + 1)

    def remove_front(self, group: Group, count: int) -> None:
        """Take out the first ``count`` calls of a group."""
        self._cut(group, 0, count)

    def _cut(self, group: Group, begin: int, end: int) -> None:
        entries = group.entries
        for _, _, call in entries[begin:end]:
            call.waiting = False
            group.rows -= call.rows
            group.cost -= call.cost
        del entries[begin:end]
        self.count -= end - begin
        if not entries:
            del self.groups[group.key]

    def first(self) -> Group:
        """Return the group whose front call is first of all; there must be one."""
        if len(self.groups) == 1:
            for group in self.groups.values():
                return group
        return min(self.groups.values(), key=_front)

    def calls(self) -> list[Call]:
        """Return all waiting calls."""
        return [entry[2] for group in self.groups.values() for entry in group.entries]


def _front(group: Group) -> _Entry:
    return group.entries[0]
