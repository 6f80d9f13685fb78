"""Which options go together, found in few tries: the newest of each, stepping back only where something breaks.

What is asked of a try is expensive, and can be asked of some names alone, whatever the others are. A set that fails is
cut down, by halves, to the few options that do not go together, often a single one, and no set with all of these is
tried again. So names that do not concern one another are never tried in combination. When that has taken as many tries
as there are options, much is broken: then options that fit with nothing are found by one try each.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Found", "search"]

_SPARE_TRIES = 64
_TRIES_PER_OPTION = 8
_MAX_SETS = 20_000
"""Sets that are looked at, without a try, in looking for the next one worth it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    picks: Mapping[str, int] | None
    """By name, the option; None if no set was found."""
    gave_up: bool = False
    """None was found, but there may be one."""


def search(counts: Mapping[str, int], fails: Callable[[Mapping[str, int]], bool]) -> Found:
    """Return the set that does not fail with the fewest steps back from each name's first option.

    Of several with as few, that with the smaller options of names that come first. The same arguments lead to the same
    result.

    Args:
        counts: How many options each name has, one or more.
        fails: Whether every set with these options fails, as far as that is easily known; for a set with an option of
            each name exactly whether it does.
    """
    try:
        return Found(_Search(counts, fails).run())
    except _GaveUpError:
        return Found(None, gave_up=True)


class _GaveUpError(Exception):
    """There were too many tries."""


class _Search:
    def __init__(self, counts: Mapping[str, int], fails: Callable[[Mapping[str, int]], bool]) -> None:
        self._fails = fails
        self._counts = counts
        self._several = [name for name, count in counts.items() if count > 1]
        self._options = sum(counts[name] for name in self._several)
        self._tries = 0
        self._allowed = {name: list(range(counts[name])) for name in self._several}
        self._clashes: list[dict[str, int]] = []
        """Options of two or more names that do not go together."""

    def run(self) -> dict[str, int] | None:
        newest = dict.fromkeys(self._counts, 0)
        if not self._try(newest):
            return newest
        if not self._several or self._try({}):
            return None
        stepped: dict[str, int] | None = dict.fromkeys(self._several, 0)
        sifted = False
        while stepped is not None:
            clash = self._clash([], list(stepped.items()), tried=True)
            if not clash:
                return None
            self._forbid(dict(clash))
            if self._tries > self._options and not sifted:
                self._sift()
                sifted = True
            stepped = self._best()
            if stepped is not None and not self._try({**newest, **stepped}):
                return {**newest, **stepped}
        return None

    def _sift(self) -> None:
        """Leave out the options that fit with nothing."""
        for name, allowed in self._allowed.items():
            self._allowed[name] = [index for index in allowed if not self._try({name: index})]

    def _try(self, picks: Mapping[str, int]) -> bool:
        if self._tries >= _SPARE_TRIES + _TRIES_PER_OPTION * self._options:
            raise _GaveUpError
        self._tries += 1
        return self._fails(picks)

    def _clash(
        self, others: list[tuple[str, int]], picks: list[tuple[str, int]], *, tried: bool = False
    ) -> list[tuple[str, int]]:
        """Return the smallest part of ``picks`` that fails beside ``others``, by halves (QuickXplain)."""
        if not tried and self._try(dict(others)):
            return []
        if len(picks) == 1:
            return picks
        left, right = picks[: len(picks) // 2], picks[len(picks) // 2 :]
        late = self._clash([*others, *left], right)
        early = self._clash([*others, *late], left, tried=not late)
        return [*early, *late]

    def _forbid(self, clash: dict[str, int]) -> None:
        if len(clash) > 1:
            self._clashes.append(clash)
            return
        ((name, index),) = clash.items()
        self._allowed[name].remove(index)

    def _best(self) -> dict[str, int] | None:
        """Return the best set of all that may work, None if none may; each group of names that clash by itself."""
        if not all(self._allowed.values()):
            return None
        best = {name: allowed[0] for name, allowed in self._allowed.items()}
        for names in self._groups():
            found = self._best_of(names)
            if found is None:
                return None
            best.update(found)
        return best

    def _groups(self) -> Iterator[list[str]]:
        groups: list[set[str]] = []
        for clash in self._clashes:
            joined = set(clash).union(*(group for group in groups if group & clash.keys()))
            groups = [*(group for group in groups if not group & clash.keys()), joined]
        for group in groups:
            yield [name for name in self._several if name in group]

    def _best_of(self, names: Sequence[str]) -> dict[str, int] | None:
        ends = _by_last(self._clashes, names)
        queue: list[tuple[int, tuple[int, ...]]] = [(0, ())]
        for _ in range(_MAX_SETS):
            if not queue:
                return None
            back, picks = heapq.heappop(queue)
            if len(picks) == len(names):
                return dict(zip(names, picks, strict=True))
            name = names[len(picks)]
            first = self._allowed[name][0]
            for index in self._allowed[name]:
                made = dict(zip(names, (*picks, index), strict=False))
                if not any(clash.items() <= made.items() for clash in ends[name]):
                    heapq.heappush(queue, (back + index - first, (*picks, index)))
        raise _GaveUpError


def _by_last(clashes: Iterable[dict[str, int]], names: Sequence[str]) -> dict[str, list[dict[str, int]]]:
    """Return the clashes by the last of their names."""
    found: dict[str, list[dict[str, int]]] = {name: [] for name in names}
    for clash in clashes:
        ends = [name for name in names if name in clash]
        if ends:
            found[ends[-1]].append(clash)
    return found
