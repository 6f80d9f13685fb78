"""How often a request is expected to call what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.graph.placing.usage import ITEMS, Uses, fixed, sites, targets_of
from graphmesh.graph.spec import (
    Cache,
    Cascade,
    Fallback,
    Graph,
    GraphCall,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
)
from graphmesh.graph.spec import Case as When

if TYPE_CHECKING:
    from graphmesh.graph.spec import Target

A, B = (Node(name=name, kind=ModelCall(name=name)) for name in ("a", "b"))


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (ModelCall(name="a"), {"n": 1}),
        (Map(target=ModelCall(name="a"), over=("x",)), {"n": ITEMS}),
        (Map(target=ModelCall(name="a"), over=("x",), batch_size=3), {"n": 3}),
        (Switch(cases=(When(when="true", then=A),), default=B), {"n/a": 0.5, "n/b": 0.5}),
        (Split(shares=(Share(weight=9, then=A), Share(weight=1, then=B))), {"n/a": 0.9, "n/b": 0.1}),
        (Parallel(branches=(A, B)), {"n/a": 1, "n/b": 1}),
        (Fallback(branches=(A, B)), {"n/a": 1, "n/b": 0.1}),
        (Race(branches=(A, B)), {"n/a": 1, "n/b": 0.1}),
        (Cascade(branches=(A, B), confidence="p", threshold=0.5), {"n/a": 1, "n/b": 0.5}),
        (Loop(body=A, max_iterations=9), {"n/a": 9}),
        (Loop(body=A, max_iterations=9, until="iteration > 2"), {"n/a": 5}),
        (Cache(body=A), {"n/a": 1}),
        (Loop(body=Node(name="l", kind=Parallel(branches=(A, B))), max_iterations=3), {"n/l/a": 3, "n/l/b": 3}),
    ],
)
def test_calls_of_each_kind(kind: object, calls: dict[str, float]) -> None:
    """Bodies of maps and loops count for each time, alternatives for how likely they are."""
    graph = Graph(name="g", nodes=(Node(name="n", kind=kind),))  # type: ignore[arg-type]
    assert {site.path: site.calls for site in sites(graph)} == pytest.approx(calls)


def test_uses_count_through_nested_graphs() -> None:
    """What a nested graph calls counts for each call of it, with the versions that are kept for it."""
    graphs = {
        "inner": Graph(name="inner", nodes=(A, Node(name="c", kind=ModelCall(name="b", version="3")))),
        "outer": Graph(name="outer", nodes=(B, Node(name="n", kind=Map(target=GraphCall(name="inner"), over=("x",))))),
    }
    pins = {"inner": {"a": "2", "b": "9"}, "outer": {"a": "7"}}
    uses = Uses(lambda name: targets_of(graphs[name]), pins)
    assert uses.of("outer") == {
        ModelCall(name="a", version="2"): ITEMS,
        ModelCall(name="b", version="3"): ITEMS,
        ModelCall(name="b"): 1,
    }
    assert uses.direct("outer") == {GraphCall(name="inner"): ITEMS, ModelCall(name="b"): 1}
    assert uses.direct("inner") == {ModelCall(name="a", version="2"): 1, ModelCall(name="b", version="3"): 1}
    assert set(uses.behind("outer", GraphCall(name="inner"))) == set(uses.of("inner"))
    assert list(uses.behind("outer", ModelCall(name="a"))) == [ModelCall(name="a", version="7")]


def test_what_cannot_be_looked_into_stands_for_itself() -> None:
    """A graph that is not known, or that is inside itself, is in the way of running everything in one place."""
    lost, circle = GraphCall(name="lost"), GraphCall(name="circle")
    graphs: dict[str, dict[Target, float]] = {
        "outer": {lost: 2.0},
        "circle": {circle: 1.0, ModelCall(name="a"): 1.0},
    }
    uses = Uses(lambda name: graphs.get(name), {})  # noqa: PLW0108 - mypy cannot match an overloaded method
    assert uses.of("outer") == uses.direct("outer") == {lost: 2}
    assert uses.direct("lost") == {}
    assert uses.of("circle") == {circle: 1, ModelCall(name="a"): 1}


def test_versions_that_calls_are_for() -> None:
    """A call's own version goes before the one that is kept for its graph; graphs have none."""
    pins = {"a": "2", "g": "1"}
    assert fixed(ModelCall(name="a"), pins) == ModelCall(name="a", version="2")
    assert fixed(ModelCall(name="a", version="5"), pins) == ModelCall(name="a", version="5")
    assert fixed(GraphCall(name="g"), pins) == GraphCall(name="g")
    assert fixed(ModelCall(name="b"), pins) == ModelCall(name="b")
