"""Sizes that follow from others."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.derived import Derived
from graphmesh.graph.checks.flows import Place
from graphmesh.graph.checks.sizes import Unknown, resolve, unify
from tests.graph.typing_help import model

PLACE = Place(model("n"), "n")
WHAT = "axis 0 of output 'y'"


def test_one_of_equals_is_that() -> None:
    """At once if they are equal, else as soon as they are found to be."""
    derived, a, b = Derived(), Unknown("N"), Unknown("M")
    assert resolve(derived.one_of(PLACE, WHAT, (a, a))) is a
    assert resolve(derived.one_of(PLACE, WHAT, (3, 3))) == 3
    either = derived.one_of(PLACE, WHAT, (a, b))
    assert resolve(either) is either
    unify(a, b, edge="e")
    derived.settle()
    assert resolve(either) is resolve(a)


def test_what_follows_from_what_follows() -> None:
    """However many steps, and whichever is looked at first."""
    derived, a = Derived(), Unknown("N")
    later = Unknown()
    far = derived.sum_of(PLACE, WHAT, (later, 1))
    near = derived.sum_of(PLACE, WHAT, (a, 2))
    unify(later, near, edge="e")
    unify(a, 5, edge="f")
    derived.settle()
    assert (resolve(near), resolve(far)) == (7, 8)


def test_equal_questions_of_one_step_have_one_answer() -> None:
    """Two outputs that are as long as one another in every branch are so outside; other steps decide for themselves."""
    derived, a, b = Derived(), Unknown("N"), Unknown("N")
    size = derived.one_of(PLACE, WHAT, (a, b))
    assert derived.one_of(PLACE, WHAT, (a, b)) is size
    assert derived.one_of(PLACE, WHAT, (b, a)) is not size
    assert derived.one_of(Place(model("m"), "m"), WHAT, (a, b)) is not size
    assert derived.sum_of(PLACE, WHAT, (a, b)) is not size
    assert isinstance(size, Unknown)
    assert size.name == "N"


@pytest.mark.parametrize(
    ("parts", "add", "needed", "expected"),
    [
        ((4, 6), False, 5, "node n: axis 0 of output 'y' is 4 or 6, but must be 5 (5 because of edge a -> b.x)"),
        ((4, 6), False, 6, ""),
        ((4, Unknown()), False, 5, ""),
        ((4, Unknown()), True, 5, ""),
    ],
)
def test_numbers_that_can_never_be(parts: tuple[int | Unknown, ...], add: bool, needed: int, expected: str) -> None:  # noqa: FBT001
    """A reader may need any number that a branch can give; another is refused, with its cause."""
    derived = Derived()
    size = (derived.sum_of if add else derived.one_of)(PLACE, WHAT, parts)
    unify(size, needed, edge="edge a -> b.x")
    if not expected:
        derived.settle()
        return
    with pytest.raises(InvalidGraph) as caught:
        derived.settle()
    assert caught.value.message == expected


def test_a_sum_that_turns_out_wrong_is_refused() -> None:
    """A reader has said a number before the parts were known."""
    derived, part = Derived(), Unknown()
    size = derived.sum_of(PLACE, WHAT, (part, part))
    unify(size, 5, edge="edge a -> b.x")
    unify(part, 3, edge="edge c -> d.x")
    with pytest.raises(InvalidGraph, match=r"^node n: axis 0 of output 'y' is 6, but must be 5 \(5 because of edge a"):
        derived.settle()
