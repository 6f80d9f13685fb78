"""Sizes that are found to be equal."""

from __future__ import annotations

import itertools

from graphmesh.graph.checks.sizes import Unknown, cause, resolve, unify


def test_equal_unknowns_become_one_and_learn_a_number_together() -> None:
    """Whatever the order of edges, all that is equal resolves to the same."""
    a, b, c = Unknown("a"), Unknown(), Unknown("c")
    assert unify(b, c, edge="first")
    assert unify(a, b, edge="second")
    assert resolve(b) is resolve(c) is resolve(a) is a
    assert unify(c, 5, edge="third")
    assert [resolve(size) for size in (a, b, c)] == [5, 5, 5]
    assert unify(a, a, edge="again")


def test_a_nameless_unknown_takes_the_name_of_its_equal() -> None:
    """A name is never lost by meeting a size without one."""
    nameless = Unknown()
    assert unify(nameless, Unknown("N"), edge="e")
    assert nameless.name == "N"


def test_a_number_meets_only_itself() -> None:
    """Two different numbers are a contradiction, whichever side was unknown before."""
    size = Unknown()
    assert unify(3, size, edge="e")
    assert unify(size, 3, edge="f")
    assert not unify(size, 4, edge="g")


def test_the_edge_that_made_a_number_is_remembered() -> None:
    """A contradiction can name where the number came from, also through other sizes."""
    a, b = Unknown("a"), Unknown("b")
    unify(a, b, edge="joined")
    assert cause(b) == ""
    unify(b, 7, edge="fixed")
    assert (cause(b), cause(a), cause(7)) == ("fixed", "fixed", "")


def test_long_ways_are_shortened() -> None:
    """A chain of equal sizes is walked once; afterwards each is one step from its end."""
    chain = [Unknown(str(i)) for i in range(50)]
    for left, right in itertools.pairwise(chain):
        right.known = left
    assert resolve(chain[-1]) is chain[0]
    assert all(size.known is chain[0] for size in chain[1:])
