"""Graphs written in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.branches import branch, model
from graphmesh.graph.forms.builder import GraphBuilder, Source
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.spec import Aggregate, Cache, GraphCall, Join, Map
from graphmesh.graph.transforms.operations import Cast, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.forms.branches import Branch


def test_the_builder_writes_what_yaml_writes() -> None:
    """Every kind of node, input and output comes out as the same graph as its text form."""
    g = GraphBuilder("ocr", description="reads")
    image = g.input("image", "UINT8 (H, W, 3)", description="a page")
    hint = g.input("hint")
    boxes = g.model("detect", "ocr-detect", image=image)["boxes"]
    fixed = g.model("fixed", "m", {"from": boxes}, version="2", hint=hint)["y"]
    inner = g.graph("inner", "other", {"in": fixed}, x=boxes)
    text = g.map(
        "read", {"from": hint}, over={"crop": inner["crops"]}, model="r", version="1", batch_size=8, page=image
    )
    more = g.map("more", over={"x": boxes}, graph="other", max_concurrency=2)
    g.output("lines", text["text"])
    g.output("rest", more["z"])
    assert g.build() == parse_yaml("""
        name: ocr
        description: reads
        inputs:
          image: {datatype: UINT8, shape: [H, W, 3], description: a page}
          hint:
        nodes:
          detect: {model: ocr-detect, inputs: {image: image}}
          fixed: {model: {name: m, version: 2}, inputs: {from: detect.boxes, hint: hint}}
          inner: {graph: other, inputs: {in: fixed.y, x: detect.boxes}}
          read:
            map: {model: {name: r, version: 1}, over: crop, batch_size: 8}
            inputs: {crop: inner.crops, from: hint, page: image}
          more: {map: {graph: other, over: x, max_concurrency: 2}, inputs: {x: detect.boxes}}
        outputs: {lines: read.text, rest: more.z}
    """)


def test_every_composed_kind_has_a_method() -> None:
    """Steps that run branches or operations come out as the same graph as their text form."""
    g = GraphBuilder("all")
    x, lang = g.input("x"), g.input("lang")
    cases: dict[str, Branch] = {
        "inputs.lang == 'en'": "english",
        "inputs.lang == 'de'": model("m", name="german", version="2"),
    }
    routed = g.switch("routed", cases, default="other", x=x, lang=lang, timeout_s=2.0)["y"]
    shares: list[tuple[int, Branch]] = [
        (95, "a"),
        (5, branch(GraphCall(name="b"), inputs={"in": "x"}, outputs={"y": "z"}, timeout_s=0.2)),
    ]
    split = g.split("split", shares, {"x": routed}, key="headers['user']")["y"]
    merged = g.parallel("merged", ["a", "b"], x=split)["y"]
    both = g.parallel("both", ["a", "b"], join=Join.QUORUM, quorum=1, aggregate=Aggregate.MEAN, x=merged)["y"]
    first = g.parallel("first", ["a", "b"], join=Join.FIRST, x=both)["y"]
    safe = g.fallback("safe", ["a", "b"], on=["UNAVAILABLE"], x=first)["y"]
    sure = g.cascade("sure", ["a", "b"], confidence="score", threshold=0.9, x=safe)["y"]
    hedged = g.race("hedged", ["a"], delay_s=0.05, x=sure)["y"]
    refined = g.loop("refined", "a", max_iterations=5, until="iteration == 3", carry={"x": "y"}, x=hedged)["y"]
    cached = branch(Cache(body=model("a")), name="inner")
    seen = g.cache("seen", cached, ttl_s=600.0, max_entries=5, max_bytes=1 << 20, x=refined)["y"]
    cast = Operation(what=Cast(datatype="FP32"), inputs=("x",), outputs=("y",))
    changed = g.transform("changed", [cast], keep=["y"], x=seen)["y"]
    g.output("y", g.graph("last", "h", x=g.model("near", "n", x=changed, timeout_s=1.0)["y"], timeout_s=1.5)["y"])
    expected = """
        name: all
        inputs: [x, lang]
        nodes:
          routed:
            switch:
            - {when: inputs.lang == 'en', model: english}
            - {when: inputs.lang == 'de', name: german, model: {name: m, version: 2}}
            - default: other
            inputs: {x: x, lang: lang}
            timeout: 2s
          split:
            split:
              shares:
              - {weight: 95, model: a}
              - {weight: 5, graph: b, inputs: {in: x}, outputs: {y: z}, timeout: 200ms}
              key: headers['user']
            inputs: {x: routed.y}
          merged: {parallel: [a, b], inputs: {x: split.y}}
          both:
            parallel: {branches: [a, b], join: quorum, quorum: 1, aggregate: mean}
            inputs: {x: merged.y}
          first: {parallel: {branches: [a, b], join: first}, inputs: {x: both.y}}
          safe: {fallback: {branches: [a, b], on: UNAVAILABLE}, inputs: {x: first.y}}
          sure: {cascade: {branches: [a, b], confidence: score, threshold: 0.9}, inputs: {x: safe.y}}
          hedged: {race: {model: a, delay: 50ms}, inputs: {x: sure.y}}
          refined:
            loop: {body: a, max_iterations: 5, until: iteration == 3, carry: {x: y}}
            inputs: {x: hedged.y}
          seen:
            cache: {body: {name: inner, cache: {body: a}}, ttl: 10m, max_entries: 5, max_bytes: 1MiB}
            inputs: {x: refined.y}
          changed:
            transform: {operations: [{cast: FP32, inputs: x, outputs: y}], keep: y}
            inputs: {x: seen.y}
          near: {model: n, inputs: {x: changed.y}, timeout: 1s}
          last: {graph: h, inputs: {x: near.y}, timeout: 1.5s}
        outputs: {y: last.y}
    """
    assert g.build() == parse_yaml(expected)


def test_a_branch_is_named_after_what_it_calls() -> None:
    """Without a name of its own: the target with its dots replaced, within the length of names, or the kind's word."""
    assert model("a.b_c-1").name == "a-b_c-1"
    assert model("m" * 128).name == "m" * 64
    assert branch(Map(target=GraphCall(name="page"), over=("x",))).name == "page"
    assert branch(Cache(body=model("m"))).name == "cache"
    assert branch(GraphCall(name="page"), name="own").name == "own"


@pytest.mark.parametrize(("model", "graph"), [("", ""), ("m", "g")])
def test_a_map_calls_one_thing(model: str, graph: str) -> None:
    """Neither or both of model and graph is a mistake that is found where it is made."""
    g = GraphBuilder("g")
    with pytest.raises(InvalidGraph, match="node n: a map must call exactly one of model and graph"):
        g.map("n", over={}, model=model, graph=graph)


def test_tensors_are_given_by_name() -> None:
    """Where a mapping belongs, a name, a list or a tensor alone is refused with how to write it."""
    g = GraphBuilder("g")
    text = g.input("text", "TEXT (N,)")
    over = r"node m: `over` must be a mapping, as over={'x': tensor}, got "
    with pytest.raises(InvalidGraph, match=over + "'text'"):
        g.map("m", over=cast("Mapping[str, Source]", "text"), model="small", text=text)
    with pytest.raises(InvalidGraph, match=over + r"\['text'\]"):
        g.map("m", over=cast("Mapping[str, Source]", ["text"]), model="small", text=text)
    inputs = r"must be keywords or a mapping, as x=tensor or {'x': tensor}, got the tensor 'text' alone"
    alone = cast("Mapping[str, Source]", text)
    with pytest.raises(InvalidGraph, match=f"node q: inputs {inputs}"):
        g.model("q", "small", alone)
    with pytest.raises(InvalidGraph, match=f"node q: inputs {inputs}"):
        g.map("q", alone, over={"x": text}, model="small")
    with pytest.raises(InvalidGraph, match=f"node q: inputs {inputs}"):
        g.fallback("q", ["a", "b"], alone)
    assert not g.build().nodes


def test_forgetting_the_outputs_name_is_explained() -> None:
    """A node where one of its outputs belongs is refused with what to write; so is anything else."""
    g = GraphBuilder("g")
    node = g.model("n", "m")
    with pytest.raises(InvalidGraph, match=r"output y: .* got node 'n'; name its output, as n\['output'\]"):
        g.output("y", cast("Source", node))
    with pytest.raises(InvalidGraph, match="k: must read a graph input or a node's output, got image"):
        g.model("k", "m", x=cast("Source", "image"))
