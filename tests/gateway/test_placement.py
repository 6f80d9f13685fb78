"""Placement: which worker is sent what."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import yaml

from graphmesh.cli.ocr import MESH
from graphmesh.core.signature import Signature
from graphmesh.gateway.placement import endpoints, place_graphs, revisions
from graphmesh.gateway.standing import Standing
from graphmesh.graph.forms.text import parse_yaml
from graphmesh.graph.forms.wire import graph_to_bytes
from graphmesh.graph.gate.choose import Choice, Held
from graphmesh.graph.spec import Graph, GraphCall, Map, ModelCall, Node
from graphmesh.registry import GraphRecord, HostedModel, ModelState, Snapshot, WorkerRecord, WorkerState

EMPTY = Signature(inputs=(), outputs=())


def worker(number: int, *models: str, state: ModelState = ModelState.AVAILABLE) -> WorkerRecord:
    """Return a worker that hosts version 1 of models."""
    hosted = tuple(HostedModel(name=name, version="1", state=state) for name in models)
    return WorkerRecord(
        worker_id=f"w{number}", host="127.0.0.1", http_port=9000 + number, grpc_port=9100 + number, models=hosted
    )


def graph(name: str, *targets: str | ModelCall | GraphCall | Map, revision: int = 1) -> GraphRecord:
    """Return a graph that calls models, by name, or other graphs."""
    kinds = [ModelCall(name=target) if isinstance(target, str) else target for target in targets]
    nodes = tuple(Node(name=f"n{index}", kind=kind) for index, kind in enumerate(kinds))
    return _record(Graph(name=name, nodes=nodes), revision)


def _record(graph: Graph, revision: int = 1) -> GraphRecord:
    return GraphRecord(
        name=graph.name, document=graph_to_bytes(graph), revision=revision, signature=EMPTY, create_time=0
    )


def snapshot(*workers: WorkerRecord, graphs: tuple[GraphRecord, ...] = ()) -> Snapshot:
    """Return a snapshot."""
    return Snapshot(
        workers={one.worker_id: one for one in workers}, graphs={one.name: one for one in graphs}, revision=7
    )


def test_an_endpoint_lists_what_is_available() -> None:
    """Names and versions of AVAILABLE models; loading and failed ones get no requests."""
    loading = HostedModel(name="b", version="3", state=ModelState.LOADING)
    record = worker(1, "a", "c")
    (endpoint,) = endpoints(snapshot(replace(record, models=(*record.models, loading))), {})
    assert endpoint.models == ("a", "c")
    assert endpoint.versions == ("a@1", "c@1")
    assert (endpoint.host, endpoint.http_port, endpoint.grpc_port) == ("127.0.0.1", 9001, 9101)


def test_two_versions_are_one_name() -> None:
    """A worker with two versions of a model is listed once by name."""
    record = worker(1, "a")
    both = (*record.models, HostedModel(name="a", version="2", state=ModelState.AVAILABLE))
    (endpoint,) = endpoints(snapshot(replace(record, models=both)), {})
    assert endpoint.models == ("a",)
    assert endpoint.versions == ("a@1", "a@2")


def test_draining_and_empty_workers_are_no_endpoints() -> None:
    """A draining worker, and one that serves nothing, are left out."""
    draining = replace(worker(1, "a"), state=WorkerState.DRAINING)
    assert endpoints(snapshot(draining, worker(2, "a", state=ModelState.FAILED)), {}) == ()


def test_a_graph_goes_where_most_of_its_nodes_are() -> None:
    """The workers with the most local nodes get the graph, all that tie; nodes count, not models."""
    ocr = graph("ocr", "detect", "crop", "crop", "recognise")
    placed = place_graphs(
        snapshot(worker(1, "detect", "recognise"), worker(2, "crop"), worker(3, "recognise"), graphs=(ocr,)), {}
    )
    assert placed == {"w1": ("ocr",), "w2": ("ocr",)}


def test_maps_and_nested_graphs_count() -> None:
    """A map counts for several calls of its target, a nested graph for one, however many nodes it has."""
    inner = graph("inner", "a", "a", "a")
    outer = graph("outer", GraphCall(name="inner"), "b", "b")
    mapped = graph("mapped", Map(target=GraphCall(name="inner"), over=("x",)), "b", "b")
    placed = place_graphs(snapshot(worker(1, "a"), worker(2, "b"), graphs=(inner, outer, mapped)), {})
    assert placed == {"w1": ("inner", "mapped"), "w2": ("outer",)}


def test_the_demo_is_placed_as_its_comments_say() -> None:
    """`ocr` runs where the picture is decoded and calls the other worker for the lines, a few at a time."""
    mesh = yaml.safe_load(MESH.read_text())
    hosted = [[model["name"] for model in entry["models"]] for entry in mesh["workers"]]
    workers = (worker(number, *names) for number, names in enumerate(hosted, start=1))
    graphs = tuple(_record(parse_yaml((MESH.parent / name).read_text())) for name in mesh["graphs"])
    assert place_graphs(snapshot(*workers, graphs=graphs), {}) == {"w1": ("ocr",), "w2": ("ocr-line",)}


def test_only_the_version_that_is_used_counts() -> None:
    """A version that a node fixes, or that the gate keeps a graph at, is looked for where it is."""
    newer = replace(worker(2, "a"), models=(HostedModel(name="a", version="2", state=ModelState.AVAILABLE),))
    fixed, free = graph("fixed", ModelCall(name="a", version="2")), graph("free", "a")
    both = snapshot(worker(1, "a"), newer, graphs=(fixed, free))
    assert place_graphs(both, {}) == {"w1": ("free",), "w2": ("fixed", "free")}
    held = Held(graph="free", model="a", version="2", reason="")
    standing = Standing(choice=Choice(versions={"a": "1"}, held=(held,)))
    assert place_graphs(both, {"free": standing}) == {"w1": ("free",), "w2": ("fixed",)}


def test_a_graph_that_cannot_work_goes_nowhere() -> None:
    """No worker is sent calls that are bound to fail; one that only misses a model is left to the workers."""
    both = snapshot(worker(1, "a"), graphs=(graph("broken", "a"), graph("misses", "gone")))
    standings = {"broken": Standing(problem="edge", broken=True), "misses": Standing(problem="gone")}
    assert place_graphs(both, standings) == {"w1": ("misses",)}


def test_graphs_in_a_circle_end() -> None:
    """Graphs that call one another, which validation refuses, do not hang placement."""
    left, right = graph("left", GraphCall(name="right"), "a"), graph("right", GraphCall(name="left"))
    placed = place_graphs(snapshot(worker(1, "a"), worker(2, "b"), graphs=(left, right)), {})
    assert placed["w1"] == ("left", "right")


def test_a_thousand_graphs_are_placed_in_a_moment() -> None:
    """It is done at every change of the registry, in a thread beside the event loop; 0.06 s where it was measured."""
    drawn = random.Random(1)  # noqa: S311 - a mesh, no secret
    hosted = [[f"m{model}" for model in range(1000) if drawn.random() < 0.03] for _ in range(100)]
    graphs = tuple(
        graph(
            f"g{number}",
            *(f"m{drawn.randrange(1000)}" for _ in range(9)),
            GraphCall(name=f"g{drawn.randrange(number)}") if number % 8 else "m0",
        )
        for number in range(1000)
    )
    mesh = snapshot(*(worker(number, *names) for number, names in enumerate(hosted)), graphs=graphs)
    place_graphs(mesh, {})  # reads the documents, once
    began = time.thread_time()
    placed = place_graphs(mesh, {})
    assert time.thread_time() - began < 1
    assert {name for names in placed.values() for name in names} == set(mesh.graphs)


def test_a_graph_nobody_hosts_goes_everywhere() -> None:
    """Every ready worker may execute any graph; one whose models are all gone is listed on all, which say so."""
    lost = graph("lost", "gone")
    draining = replace(worker(3, "a"), state=WorkerState.DRAINING)
    (first, second) = endpoints(snapshot(worker(1, "a"), worker(2), draining, graphs=(lost,)), {})
    assert (first.models, second.models) == (("a", "lost"), ("lost",))


def test_an_unreadable_graph_goes_everywhere() -> None:
    """A document that does not parse places nothing and breaks nothing."""
    broken = replace(graph("broken", "a"), document=b"\xff\xff")
    assert place_graphs(snapshot(worker(1, "a"), worker(2, "b"), graphs=(broken,)), {}) == {
        "w1": ("broken",),
        "w2": ("broken",),
    }


def test_two_records_of_one_address_are_one_endpoint() -> None:
    """The younger record wins: a worker that came back under a new id before its old lease ended."""
    old = replace(worker(1, "a"), start_time=1.0)
    new = replace(worker(1, "b"), worker_id="w0", start_time=2.0)
    (endpoint,) = endpoints(snapshot(old, new), {})
    assert endpoint.models == ("b",)


def test_revisions_of_all_graphs() -> None:
    """Every graph's live revision is known."""
    assert revisions(snapshot(graphs=(graph("a", "m", revision=4), graph("b", "m")))) == {"a": 4, "b": 1}
