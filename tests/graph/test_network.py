"""How many calls go over the network, and where these are the fewest."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.graph.placing.hosts import hosts_from
from graphmesh.graph.placing.network import Hop, Network, count
from graphmesh.graph.placing.usage import ITEMS, Uses, sites, targets_of
from graphmesh.graph.spec import Case as When
from graphmesh.graph.spec import Fallback, Graph, GraphCall, Loop, Map, ModelCall, Node, Share, Split, Switch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphmesh.graph.spec import Kind, Target


def graph(name: str, *kinds: str | Kind) -> Graph:
    """Return a graph of steps `n0`, `n1`, ...; a word is a model."""
    nodes = (
        Node(name=f"n{index}", kind=ModelCall(name=kind) if isinstance(kind, str) else kind)
        for index, kind in enumerate(kinds)
    )
    return Graph(name=name, nodes=tuple(nodes))


def network(hosted: Mapping[str, str], *graphs: Graph, pins: Mapping[str, Mapping[str, str]] | None = None) -> Network:
    """Return a mesh of these graphs, in which each worker hosts models, written `a b@2` (without version: 1)."""
    known = {one.name: one for one in graphs}
    serving = [(worker, *_version(model)) for worker, models in hosted.items() for model in models.split()]
    uses = Uses(lambda name: targets_of(known[name]) if name in known else None, pins or {})
    return Network(uses, hosts_from(serving), hosted, known.get)


def _version(model: str) -> tuple[str, str]:
    name, _, version = model.partition("@")
    return name, version or "1"


def test_a_graph_runs_where_most_of_its_calls_are() -> None:
    """Steps count, not models; what is on no worker makes no difference; all that tie are there, by id."""
    mesh = network({"w2": "b", "w1": "a c", "w3": "c"}, graph("g", "a", "b", "b", "c", "gone"))
    assert mesh.places("g") == ["w1", "w2"]
    assert mesh.here("g") == {"w1": 2, "w2": 2, "w3": 1}
    assert [count(mesh.hops("g", worker)) for worker in ("w1", "w2", "w3")] == [3, 3, 4]
    assert mesh.hops("g") == {f"n{at}": Hop(f"n{at}", 1.0, "g", f"n{at}") for at in (1, 2, 4)}


def test_a_nested_graph_elsewhere_is_one_call() -> None:
    """However many steps it has: three steps here weigh more than one call of a graph with five steps there."""
    line = graph("line", *"vwxyz")
    page = graph("page", "a", "b", "c", Map(target=GraphCall(name="line"), over=("x",), batch_size=4))
    mesh = network({"boxes": "a b c", "lines": "v w x y z"}, line, page)
    assert mesh.places("page") == ["boxes"]
    assert mesh.places("line") == ["lines"]
    assert mesh.hops("page") == {"n3": Hop("n3", ITEMS / 4, "page", "n3")}
    assert count(mesh.hops("page", "lines")) == 3
    each = graph("page", "a", "b", "c", Map(target=GraphCall(name="line"), over=("x",)))
    assert network({"boxes": "a b c", "lines": "v w x y z"}, line, each).places("page") == ["lines"]


def test_half_a_nested_graph_saves_nothing() -> None:
    """A worker with some of a nested graph calls all of it; from where it runs the rest is called once more."""
    mesh = network({"w1": "a b", "w2": "c"}, graph("in", "a", "b", "c"), graph("out", GraphCall(name="in"), "c"))
    assert mesh.places("in") == ["w1"]
    assert mesh.places("out") == ["w2"]
    assert {path: hop.calls for path, hop in mesh.hops("out").items()} == {"n0": 1, "n0/n2": 1}
    assert {path: hop.calls for path, hop in mesh.hops("out", "w1").items()} == {"n0": 1, "n0/n2": 1, "n1": 1}
    assert mesh.hops("out")["n0/n2"] == Hop("n0/n2", 1.0, "in", "n2")


def test_versions_decide_what_is_here() -> None:
    """Of a nested graph those that are kept for it; a version that a step fixes is looked for itself."""
    inner, outer = graph("in", "a"), graph("out", GraphCall(name="in"))
    hosted = {"w1": "a@1", "w2": "a@2"}
    assert network(hosted, inner, outer).places("out") == ["w1", "w2"]
    assert network(hosted, inner, outer, pins={"in": {"a": "2"}}).places("out") == ["w2"]
    assert network(hosted, inner, outer, pins={"out": {"a": "2"}}).places("out") == ["w1", "w2"]
    assert network(hosted, graph("g", ModelCall(name="a", version="2"))).places("g") == ["w2"]


def test_what_nobody_answers_runs_anywhere() -> None:
    """No models, no steps, no graph of that name: every worker, by id; none if there is none."""
    lost, empty = graph("lost", "gone", GraphCall(name="gone")), graph("empty")
    mesh = network({"w2": "", "w1": "a"}, lost, empty, graph("around", GraphCall(name="empty")))
    assert all(mesh.places(name) == ["w1", "w2"] for name in ("lost", "empty", "around", "unknown"))
    assert mesh.hops("around", "w2") == mesh.hops("unknown") == {}
    assert count(mesh.hops("lost")) == 2
    assert network({}, lost).places("lost") == []


def test_graphs_in_a_circle_end() -> None:
    """Graphs that call one another, which validation refuses, are counted down to the deepest that may run."""
    mesh = network({"w1": "a"}, graph("left", GraphCall(name="right"), "a"), graph("right", GraphCall(name="left")))
    assert mesh.places("left") == ["w1"]
    assert 1 < count(mesh.hops("left")) < math.inf


WORKERS = ("w1", "w2", "w3", "w4")
MODELS = ("a", "b", "c", "d", "e")
VERSIONS = ("1", "2")
CALLS = st.builds(ModelCall, name=st.sampled_from(MODELS), version=st.sampled_from(("", "", "2")))


@st.composite
def meshes(draw: st.DrawFn) -> tuple[Mapping[str, str], Sequence[Graph], Mapping[str, Mapping[str, str]]]:
    """Return who hosts what, graphs that call models and the graphs before them, and versions they must use."""
    hosted = {
        worker: " ".join(
            f"{model}@{version}"
            for model, version in draw(
                st.sets(st.tuples(st.sampled_from(MODELS), st.sampled_from(VERSIONS)), max_size=6)
            )
        )
        for worker in draw(st.lists(st.sampled_from(WORKERS), max_size=4, unique=True))
    }
    graphs: list[Graph] = []
    pins = {}
    for name in ("g0", "g1", "g2"):
        targets: st.SearchStrategy[Target] = st.builds(
            ModelCall, name=st.sampled_from(MODELS), version=st.sampled_from(("", "", "2"))
        )
        if graphs:
            targets |= st.builds(GraphCall, name=st.sampled_from([one.name for one in graphs]))
        graphs.append(graph(name, *draw(st.lists(_kinds(targets), min_size=1, max_size=4))))
        pins[name] = draw(st.dictionaries(st.sampled_from(MODELS), st.sampled_from(VERSIONS), max_size=2))
    return hosted, graphs, pins


def _kinds(targets: st.SearchStrategy[Target]) -> st.SearchStrategy[Kind]:
    steps = st.builds(Node, name=st.just("s"), kind=targets)
    others = st.builds(Node, name=st.just("t"), kind=targets)
    return st.one_of(
        targets,
        st.builds(Map, target=targets, over=st.just(("x",)), batch_size=st.integers(0, 9)),
        st.builds(lambda one, two: Switch(cases=(When(when="true", then=one),), default=two), steps, others),
        st.builds(lambda one, weight: Split(shares=(Share(weight=weight, then=one),)), steps, st.integers(0, 1)),
        st.builds(lambda one, two: Fallback(branches=(one, two)), steps, others),
        st.builds(lambda one, most: Loop(body=one, max_iterations=most), steps, st.integers(1, 5)),
    )


def _by_hand(
    hosted: Mapping[str, str], graphs: Sequence[Graph], pins: Mapping[str, Mapping[str, str]]
) -> Callable[[str, str], float]:
    """Return what counts the calls of a graph on a worker by trying all workers for every graph inside it."""
    known = {one.name: one for one in graphs}

    def has(worker: str, name: str, target: Target) -> bool:
        if isinstance(target, GraphCall):
            return all(has(worker, target.name, site.target) for site in sites(known[target.name]))
        version = target.version or pins[name].get(target.name, "")
        return any(
            _version(model) in {(target.name, version or one) for one in VERSIONS} for model in hosted[worker].split()
        )

    @cache
    def calls(name: str, worker: str) -> float:
        total = 0.0
        for site in sites(known[name]):
            if not has(worker, name, site.target):
                inner = (
                    min(calls(site.target.name, other) for other in hosted) if isinstance(site.target, GraphCall) else 0
                )
                total += site.calls * (1 + inner)
        return total

    return calls


@given(meshes())
def test_no_worker_makes_fewer_calls(
    mesh: tuple[Mapping[str, str], Sequence[Graph], Mapping[str, Mapping[str, str]]],
) -> None:
    """Whatever is where and inside what: the chosen workers are those with the fewest calls, found by trying all."""
    hosted, graphs, pins = mesh
    counted, by_hand = network(hosted, *graphs, pins=pins), _by_hand(hosted, graphs, pins)
    for one in graphs:
        calls = {worker: by_hand(one.name, worker) for worker in hosted}
        assert {worker: count(counted.hops(one.name, worker)) for worker in hosted} == pytest.approx(calls)
        least = min(calls.values(), default=0.0)
        assert counted.places(one.name) == sorted(worker for worker in hosted if calls[worker] <= least + 1e-6)
