"""Graphs as SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from graphmesh.graph.drawing.svg import to_svg
from graphmesh.graph.drawing.text import to_text
from graphmesh.graph.spec import Graph, GraphInput, ModelCall
from graphmesh.v1 import graph_pb2
from tests.graph.pictured import CLAIMS, TYPES, step

SVG = "{http://www.w3.org/2000/svg}"


def _root(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - written by the code under test


def test_it_is_accessible_and_self_contained() -> None:
    """It has a role, a title and a description that tells everything; nothing is loaded and nothing runs."""
    drawn = to_svg(CLAIMS, TYPES)
    root = _root(drawn)
    assert root.get("role") == "img"
    ids = {element.get("id"): element for element in root.iter()}
    title, description = (ids[name] for name in str(root.get("aria-labelledby")).split())
    assert title.text == "graph claims"
    assert description.text == to_text(CLAIMS, TYPES)
    assert "prefers-color-scheme: dark" in drawn
    assert not re.search(r"<script|<image|href|url\(|@import", drawn)
    assert drawn.count("http") == 1, "but the name of the language"


def test_every_node_branch_and_type_is_in_it() -> None:
    """Inputs, nodes, branches, outputs, labels of branches and types are there as text."""
    root = _root(to_svg(CLAIMS, TYPES))
    texts = {"".join(element.itertext()) for element in root.iter(f"{SVG}text")}
    for node in (inner for step_ in CLAIMS.nodes for inner in step_.walk()):
        assert any(node.name in text for text in texts), node.name
    assert {"image", "decision", "first", "if that fails", "otherwise", "90 % of calls"} <= texts
    assert any("UINT8 (N, 48, 320, 3)" in text for text in texts)


def test_what_is_cut_is_told_whole() -> None:
    """A long name is shortened, and its title has all of it."""
    name = "m" * 100
    root = _root(to_svg(Graph(name="g", nodes=(step("a", ModelCall(name=name)),))))
    cut = [text for text in root.iter(f"{SVG}text") if "…" in "".join(text.itertext())]
    assert [text.findtext(f"{SVG}title") for text in cut] == [f"model {name}"]


def test_a_mark_has_the_colour_of_its_own_card() -> None:
    """Cards stand inside one another, so that no colour may reach further than to the card's own mark."""
    style = _root(to_svg(CLAIMS, TYPES)).findtext(f"{SVG}style") or ""
    selectors = [one.strip() for rule in style.split("}") for one in rule.partition("{")[0].split(",")]
    marks = [selector for selector in selectors if selector.endswith(".mark")]
    kinds = {field.name for field in graph_pb2.Node.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert marks == [".mark", *(f".{selector.split()[0][1:]} > .mark" for selector in marks[1:])]
    assert {selector.split()[0][1:] for selector in marks[1:]} == kinds


def test_hostile_names_stay_text() -> None:
    """What a graph says cannot leave its element, control characters included."""
    graph = Graph(
        name="<g>&",
        inputs=(GraphInput(name='"/><script>'),),
        nodes=(step("a", ModelCall(name="</text>\x00\x1b"), x='"/><script>'),),
    )
    root = _root(to_svg(graph))
    assert not list(root.iter(f"{SVG}script"))
    assert root.findtext(f"{SVG}title") == "graph <g>&"


def test_an_empty_graph() -> None:
    """There is a picture of nothing."""
    assert _root(to_svg(Graph(name="g"))).get("viewBox")
