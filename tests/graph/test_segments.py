"""Which steps of a graph are fused, and what crosses the network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import Signature
from graphmesh.graph.drawing.plan_text import plan_to_text
from graphmesh.graph.order import producers
from graphmesh.graph.placing.hosts import hosts_from
from graphmesh.graph.placing.segments import Mesh, segment
from graphmesh.graph.placing.traffic import traffic_of
from graphmesh.graph.spec import Binding, Fallback, Graph, GraphCall, GraphInput, Map, ModelCall, Transform
from tests.graph.pictured import model, step, types

if TYPE_CHECKING:
    from graphmesh.graph.placing.hosts import Hosts

PAGE = Graph(
    name="page",
    inputs=(GraphInput(name="image"),),
    nodes=(
        model("decode", data="image"),
        model("find", pixels="decode.pixels"),
        step("read", Map(target=GraphCall(name="line"), over=("strip",)), strip="find.strips"),
        step("clean", Transform(operations=()), text="read.text"),
        model("sort", text="clean.text", boxes="find.boxes"),
        step("name", Fallback(branches=(model("near", x="n"), model("far"))), n="find.boxes", k="decode.meta"),
    ),
    outputs=(Binding(name="text", source="sort.text"), Binding(name="names", source="name.y")),
)
TYPES = types(
    image="BYTES ()",
    decode__pixels="UINT8 (H, W, 3)",
    find__strips="UINT8 (N, 48, 320, 3)",
    find__boxes="FP32 (100, 4)",
    read__text="TEXT (N,)",
    read__score="FP32 (N,)",
    name___far__y="FP32 (100, 256)",
)
LINE = Graph(name="line", nodes=(model("crop"), model("ocr")))
HOSTS = {"a": "decode find sort near", "b": "crop ocr"}
RUNNERS = {"line": ["b", "c"]}


def _hosts(*more: tuple[str, str, str], **hosted: str) -> Hosts:
    """Return who hosts what: by worker version 1 of models, and more."""
    ones = [(worker, name, "1") for worker, names in hosted.items() for name in names.split()]
    return hosts_from([*ones, *more])


MESH = Mesh(hosts=_hosts(("b", "far", "1"), **HOSTS), runners=RUNNERS, graphs={"line": LINE}.get)


def test_neighbours_are_fused_and_calls_are_apart() -> None:
    """What runs here together is one segment up to the call that the rest waits for; each call is one of its own."""
    plan = segment(PAGE, MESH, "a", tensors=TYPES)
    assert [(one.steps, one.fused, one.workers) for one in plan.segments] == [
        (("decode", "find", "name"), True, ("a",)),
        (("read",), False, ("b", "c")),
        (("clean", "sort"), True, ("a",)),
    ]


def test_what_crosses_the_network() -> None:
    """A call's tensors have types and bytes; a branch's call is told with its segment, unread outputs are not told."""
    first, read, last = segment(PAGE, MESH, "a", tensors=TYPES).segments
    (far,) = first.crossings
    assert (far.path, far.target.name, far.many, far.workers) == ("name/far", "far", False, ("b",))
    assert [(one.tensor, one.total_bytes) for one in far.sends] == [("find.boxes", 1600), ("decode.meta", None)]
    assert [(one.tensor, one.total_bytes) for one in far.receives] == [("name/far.y", 102400)]
    (call,) = read.crossings
    assert call.many
    assert [(one.tensor, one.unit_bytes, one.open) for one in call.sends] == [("find.strips", 46080, ("N",))]
    assert [(one.tensor, one.unit_bytes) for one in call.receives] == [("read.text", None)]
    assert last.crossings == ()


def test_a_branch_takes_what_its_model_has_inputs_for() -> None:
    """With the model's signature known, only those inputs of the step are sent to it; bindings rename them."""
    signature = Signature(inputs=(types(k="TEXT ()")["k"],), outputs=())
    mesh = Mesh(hosts=_hosts(a="decode find"), signatures=lambda target: signature if target.name == "far" else None)
    calls = {one.path: one for part in segment(PAGE, mesh, "a", tensors=TYPES).segments for one in part.crossings}
    assert [one.tensor for one in calls["name/far"].sends] == ["decode.meta"]
    assert [one.tensor for one in calls["name/near"].sends] == ["find.boxes"]


def test_a_graph_all_of_whose_steps_are_here_is_fused() -> None:
    """A nested graph is a call only if one of its models is elsewhere, or if it is not known."""
    mesh = Mesh(hosts=_hosts(a="decode find sort near far crop ocr"), runners=RUNNERS, graphs={"line": LINE}.get)
    plan = segment(PAGE, mesh, "a")
    assert [(one.steps, one.crossings) for one in plan.segments] == [
        (("decode", "find", "read", "name", "clean", "sort"), ())
    ]
    assert plan_to_text(plan) == (
        "graph page on a\n\n1  decode, find, read, name, clean, sort: here, fused\n"
        "   decode: runs model decode@1\n   find: runs model find@1\n   read: runs graph line\n"
        "   name/near: runs model near@1\n   name/far: runs model far@1\n   sort: runs model sort@1\n"
        "\nnothing crosses the network\n"
    )
    circular = Graph(name="line", nodes=(step("me", GraphCall(name="line")),))
    for line in (circular, None):
        plan = segment(PAGE, replace(mesh, graphs={"line": line}.get), "a")
        assert [(one.path, one.workers) for part in plan.segments for one in part.crossings] == [("read", ("b", "c"))]


def test_versions_decide_where_a_call_goes() -> None:
    """A version that a step fixes, or that is kept for its graph, is not here because another one is."""
    graph = Graph(
        name="g",
        nodes=(step("fixed", ModelCall(name="m", version="7")), model("kept", "n"), model("any", "o"), model("own")),
    )
    hosts = _hosts(("b", "m", "7"), ("b", "n", "1"), ("a", "n", "2"), a="m o own")
    pins = {"g": {"m": "1", "n": "1"}, "other": {"o": "9"}}
    plan = segment(graph, Mesh(hosts=hosts, pins=pins), "a")
    assert [(one.steps, one.fused, one.workers) for one in plan.segments] == [
        (("any",), True, ("a",)),
        (("own",), True, ("a",)),
        (("fixed",), False, ("b",)),
        (("kept",), False, ("b",)),
    ]
    assert [str(one.target) for part in plan.segments for one in part.crossings] == ["model m@7", "model n@1"]
    assert plan.to_dict()["segments"][2]["crossings"][0]["version"] == "7"  # type: ignore[index]


def test_each_step_says_which_version_answers() -> None:
    """Here what the step fixes, what is kept for the graph, else the newest; elsewhere the only one, if it is that."""
    names = ("fixed", "kept", "newest", "only", "any")
    nodes = [model(name) for name in names]
    nodes[0] = step("fixed", ModelCall(name="fixed", version="1"))
    here = [("a", name, version) for name in names[:3] for version in ("1", "2", "10")]
    hosts = _hosts(*here, ("b", "only", "3"), ("b", "any", "1"), ("c", "any", "2"))
    plan = segment(Graph(name="g", nodes=tuple(nodes)), Mesh(hosts=hosts, pins={"g": {"kept": "2"}}), "a")
    uses = [str(use.target) for part in plan.segments for use in part.uses]
    assert uses == ["model fixed@1", "model kept@2", "model newest@10"]
    crossings = [str(one.target) for part in plan.segments for one in part.crossings]
    assert crossings == ["model only@3", "model any"]
    assert plan.to_dict()["segments"][0]["uses"] == [  # type: ignore[index]
        {"node": "fixed", "target": "fixed", "kind": "model", "version": "1"}
    ]


def test_a_graph_that_is_not_fused_says_for_want_of_what() -> None:
    """The models that its own worker lacks, in the version that they must be, and who has them."""
    hosts = _hosts(("a", "ocr", "1"), ("b", "ocr", "2"), a="crop")
    outer = Graph(name="outer", nodes=(step("in", GraphCall(name="line")),))
    mesh = Mesh(hosts=hosts, runners={"line": ["a"]}, graphs={"line": LINE}.get, pins={"line": {"ocr": "2"}})
    assert "   not fused: model ocr@2 is only on b\n" in plan_to_text(segment(outer, mesh, "a"))
    many = Graph(name="line", nodes=tuple(model(name) for name in ("e", "f", "g", "h", "i")))
    text = plan_to_text(segment(outer, replace(mesh, graphs={"line": many}.get), "a"))
    assert "not fused: model e is on no worker, model f is on no worker, model g is on no worker, and 2 more\n" in text


def test_versions_of_a_nested_graph_are_its_own() -> None:
    """What is kept for a nested graph decides whether all of it is here, not what is kept for the graph around it."""
    outer = Graph(name="outer", nodes=(step("in", GraphCall(name="line")),))
    hosts = _hosts(("b", "ocr", "2"), a="crop ocr")
    mesh = Mesh(hosts=hosts, runners=RUNNERS, graphs={"line": LINE}.get, pins={"outer": {"ocr": "2"}})
    assert segment(outer, mesh, "a").segments[0].fused
    assert not segment(outer, replace(mesh, pins={"line": {"ocr": "2"}}), "a").segments[0].fused


def test_as_lines() -> None:
    """The plan says where each step runs, what is sent and what comes back."""
    mesh = replace(MESH, hosts=_hosts(**HOSTS))
    assert plan_to_text(segment(PAGE, mesh, "a", tensors=TYPES)) == (
        "graph page on a\n"
        "\n"
        "1  decode, find, name: here, fused\n"
        "   decode: runs model decode@1\n"
        "   find: runs model find@1\n"
        "   name/near: runs model near@1\n"
        "   name/far: nowhere, as no worker has it now: its calls fail\n"
        "     calls model far\n"
        "     sends find.boxes: FP32 (100, 4), 1.562 KiB\n"
        "     sends decode.meta, of unknown type\n"
        "     gets  name/far.y: FP32 (100, 256), 100 KiB\n"
        "\n"
        "2  read: on b or c, through a gateway\n"
        "   calls graph line for its items\n"
        "   not fused: model crop is only on b, model ocr is only on b\n"
        "   sends find.strips: UINT8 (N, 48, 320, 3), 45 KiB x N\n"
        "   gets  read.text: TEXT (N,)\n"
        "\n"
        "3  clean, sort: here, fused\n"
        "   sort: runs model sort@1\n"
        "\n"
        "2 steps or branches call over the network, 101.6 KiB and what the request decides\n"
    )


def test_as_json() -> None:
    """The same for programs."""
    form = segment(PAGE, MESH, "a", tensors=TYPES).to_dict()
    assert json.loads(json.dumps(form)) == form
    assert json.loads(json.dumps(form))["segments"][1] == {
        "steps": ["read"],
        "fused": False,
        "workers": ["b", "c"],
        "uses": [],
        "crossings": [
            {
                "node": "read",
                "target": "line",
                "kind": "graph",
                "version": "",
                "lacks": [
                    {"target": "crop", "kind": "model", "version": "", "workers": ["b"]},
                    {"target": "ocr", "kind": "model", "version": "", "workers": ["b"]},
                ],
                "many": True,
                "workers": ["b", "c"],
                "sends": [
                    {
                        "tensor": "find.strips",
                        "type": "UINT8 (N, 48, 320, 3)",
                        "bytes": None,
                        "unit_bytes": 46080,
                        "open": ["N"],
                    }
                ],
                "receives": [
                    {"tensor": "read.text", "type": "TEXT (N,)", "bytes": None, "unit_bytes": None, "open": ["N"]}
                ],
            }
        ],
    }


def test_bytes_of_a_type() -> None:
    """Sizes without a name are open too; a scalar has the bytes of one element."""
    found = types(a="INT64 ()", b="FP16 (?, 3, N)")
    assert (traffic_of("a", found["a"]).total_bytes, traffic_of("b", found["b"]).unit_bytes) == (8, 6)
    assert traffic_of("b", found["b"]).open == ("?", "N")


def test_a_circle_has_no_plan() -> None:
    """What cannot run cannot be planned."""
    with pytest.raises(InvalidGraph, match="cycle"):
        segment(Graph(name="g", nodes=(model("a", x="b.y"), model("b", x="a.y"))), MESH, "a")


@given(st.data())
def test_segments_run_in_their_order(data: st.DataObject) -> None:
    """Whatever is where: every step is in one segment, and reads only from its own or from those before."""
    count = data.draw(st.integers(0, 12))
    nodes = []
    for index in range(count):
        reads = data.draw(st.lists(st.integers(0, index - 1), max_size=3, unique=True)) if index else []
        nodes.append(model(f"n{index}", **{f"x{at}": f"n{at}.y" for at in reads}))
    here = data.draw(st.sets(st.sampled_from([node.name for node in nodes]))) if nodes else set()
    graph = Graph(name="g", nodes=tuple(nodes))
    plan = segment(graph, Mesh(hosts=_hosts(a=" ".join(here))), "a")
    place = {name: index for index, one in enumerate(plan.segments) for name in one.steps}
    assert sorted(place) == sorted(node.name for node in nodes)
    assert sum(len(one.steps) for one in plan.segments) == count
    for name, needs in producers(graph).items():
        assert all(place[need] <= place[name] for need in needs)
    for one in plan.segments:
        assert one.fused == (one.steps[0] in here)
        assert one.fused or len(one.steps) == 1
