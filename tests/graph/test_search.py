"""The search for options that go together, with sets that are known not to."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.graph.gate.search import search

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.graph.gate.search import Found

_COUNTS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3), min_size=1, max_size=5)


@st.composite
def _puzzles(draw: st.DrawFn) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Return names with their counts, and options that do not go together."""
    counts = draw(_COUNTS)
    one = st.fixed_dictionaries({}, optional={name: st.integers(0, count - 1) for name, count in counts.items()})
    return counts, draw(st.lists(one.filter(bool), max_size=12))


def _solve(
    counts: Mapping[str, int], clashes: Sequence[Mapping[str, int]], *, blind: bool = False
) -> tuple[Found, int]:
    """Return what is found in how many tries; blind: only whole sets show that they fail."""
    tries = 0

    def fails(picks: Mapping[str, int]) -> bool:
        nonlocal tries
        tries += 1
        whole = all(name in picks or count == 1 for name, count in counts.items())
        picked = {**{name: 0 for name, count in counts.items() if count == 1}, **picks}
        return (whole or not blind) and any(clash.items() <= picked.items() for clash in clashes)

    return search(counts, fails), tries


@settings(max_examples=300, deadline=None)
@given(_puzzles(), st.booleans())
def test_it_finds_the_best_set(puzzle: tuple[dict[str, int], list[dict[str, int]]], blind: bool) -> None:  # noqa: FBT001
    """The one with the fewest steps back of all that do not fail; the earlier names newer; None if all fail."""
    counts, clashes = puzzle
    names = list(counts)
    sets = [dict(zip(names, picks, strict=True)) for picks in product(*(range(count) for count in counts.values()))]
    fitting = [one for one in sets if not any(clash.items() <= one.items() for clash in clashes)]
    found, _ = _solve(counts, clashes, blind=blind)
    if not found.gave_up:
        best = min(fitting, key=lambda one: (sum(one.values()), tuple(one.values())), default=None)
        assert found.picks == best
    assert not found.gave_up or blind


def test_pairs_that_do_not_concern_one_another_cost_little() -> None:
    """Sixty names in pairs, the newer of which go with nothing but one another's older ones."""
    names = [f"{index:02}" for index in range(60)]
    clashes = [{names[index]: 0, names[index + 1]: 0} for index in range(0, 60, 2)]
    found, tries = _solve(dict.fromkeys(names, 2), clashes)
    assert found.picks == {name: index % 2 for index, name in enumerate(names)}
    assert tries < 8 * 2 * len(names)


def test_it_gives_up() -> None:
    """Twelve names of which no two may be older or newer alike, shown by whole sets only: it ends, and says so."""
    names = "abcdefghijkl"
    clashes = [{one: 0, other: 0} for one, other in combinations(names, 2)]
    clashes += [{one: 1, other: 1} for one, other in combinations(names, 2)]
    found, tries = _solve(dict.fromkeys(names, 3), clashes, blind=True)
    assert (found.picks, found.gave_up) == (None, True)
    assert tries <= 64 + 8 * 3 * len(names)
