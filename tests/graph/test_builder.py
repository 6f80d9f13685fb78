"""Graphs written in Python."""

from __future__ import annotations

from typing import cast

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.builder import GraphBuilder, Source
from graphmesh.graph.yaml_form import parse_yaml


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


@pytest.mark.parametrize(("model", "graph"), [("", ""), ("m", "g")])
def test_a_map_calls_one_thing(model: str, graph: str) -> None:
    """Neither or both of model and graph is a mistake that is found where it is made."""
    g = GraphBuilder("g")
    with pytest.raises(InvalidGraph, match="node n: a map must call exactly one of model and graph"):
        g.map("n", over={}, model=model, graph=graph)


def test_forgetting_the_outputs_name_is_explained() -> None:
    """A node where one of its outputs belongs is refused with what to write; so is anything else."""
    g = GraphBuilder("g")
    node = g.model("n", "m")
    with pytest.raises(InvalidGraph, match=r"output y: .* got node 'n'; name its output, as n\['output'\]"):
        g.output("y", cast("Source", node))
    with pytest.raises(InvalidGraph, match="k: must read a graph input or a node's output, got image"):
        g.model("k", "m", x=cast("Source", "image"))
