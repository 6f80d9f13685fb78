"""Sizes written out."""

from __future__ import annotations

from graphmesh.core.signature import parse_dimension
from graphmesh.graph.checks.flows import Flow
from graphmesh.graph.checks.naming import Names
from graphmesh.graph.checks.sizes import Unknown, unify


def _flow(*sizes: int | Unknown) -> Flow:
    return Flow("FP32", list(sizes), text=False)


def test_different_sizes_of_one_name_are_written_apart() -> None:
    """The sizes named first keep their names; the second that is called N becomes N2, a nameless one stays `?`."""
    shared = Unknown("N")
    flows = {
        "a": _flow(Unknown("N"), Unknown("M"), 1),
        "n.y": _flow(Unknown("N"), Unknown("N"), Unknown()),
        "n.z.w": _flow(shared, shared),
    }
    names = Names()
    names.first([flows["n.z.w"], flows["a"]])
    specs = names.specs(flows)
    assert {source: spec.type for source, spec in specs.items()} == {
        "a": "FP32 (N2, M, 1)",
        "n.y": "FP32 (N3, N4, ?)",
        "n.z.w": "FP32 (N, N)",
    }
    assert [spec.name for spec in specs.values()] == ["a", "y", "z.w"]


def test_a_name_that_is_taken_is_counted_past() -> None:
    """The author's own N2 keeps its name, and no other size gets it."""
    names = Names()
    specs = names.specs({"a": _flow(Unknown("N"), Unknown("N2"), Unknown("N")), "b": _flow(Unknown("N"))})
    assert [spec.type for spec in specs.values()] == ["FP32 (N, N2, N3)", "FP32 (N4,)"]


def test_long_names_stay_names() -> None:
    """A name that is counted on can still be read back."""
    name = "N" * 64
    dimensions = Names().specs({"a": _flow(Unknown(name), Unknown(name))})["a"].shape
    assert [parse_dimension(str(dimension)) for dimension in dimensions] == [name, "N" * 56 + "2"]


def test_sizes_that_became_numbers_are_numbers() -> None:
    """What is known is written as it is."""
    size = Unknown("N")
    unify(size, 5, edge="e")
    assert Names().specs({"a": _flow(size)})["a"].shape == (5,)


def test_many_sizes_of_one_name_are_named_quickly() -> None:
    """Counting goes on where it stopped."""
    specs = Names().specs({"a": _flow(*(Unknown("N") for _ in range(20_000)))})
    assert specs["a"].shape[-1] == "N20000"
