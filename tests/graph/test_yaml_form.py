"""Graphs as YAML."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_DOCUMENT_BYTES
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node
from graphmesh.graph.wire import graph_to_wire
from graphmesh.graph.yaml_form import dump_yaml, parse_yaml

SHORT = """
name: ocr
description: reads a page
inputs:
  image: UINT8 (H, W, 3)
  words: TEXT (N,)
  no:
  full: {datatype: FP32, shape: [3, N, "?"], description: weights}
nodes:
  detect: {model: ocr-detect, inputs: {image: image}}
  fixed: {model: {name: m, version: 010}, inputs: {x: detect.boxes}}
  inner: {graph: other, inputs: {x: fixed.y, "no": no}}
  read:
    map: {model: ocr-read, over: crop, batch_size: 8, maxConcurrency: 2}
    inputs: {crop: inner.crops}
  more: {map: {graph: {name: other}, over: [a, b]}, inputs: {a: words, b: full}}
outputs: {lines: read.text, rest: more.z}
"""
GRAPH = Graph(
    name="ocr",
    description="reads a page",
    inputs=(
        GraphInput(name="image", datatype="UINT8", shape=("H", "W", 3)),
        GraphInput(name="words", datatype="BYTES", shape=("N",), text=True),
        GraphInput(name="no"),
        GraphInput(name="full", datatype="FP32", shape=(3, "N", None), description="weights"),
    ),
    nodes=(
        Node(name="detect", kind=ModelCall(name="ocr-detect"), inputs=(Binding(name="image", source="image"),)),
        Node(
            name="fixed",
            kind=ModelCall(name="m", version="010"),
            inputs=(Binding(name="x", source="detect.boxes"),),
        ),
        Node(
            name="inner",
            kind=GraphCall(name="other"),
            inputs=(Binding(name="x", source="fixed.y"), Binding(name="no", source="no")),
        ),
        Node(
            name="read",
            kind=Map(target=ModelCall(name="ocr-read"), over=("crop",), batch_size=8, max_concurrency=2),
            inputs=(Binding(name="crop", source="inner.crops"),),
        ),
        Node(
            name="more",
            kind=Map(target=GraphCall(name="other"), over=("a", "b")),
            inputs=(Binding(name="a", source="words"), Binding(name="b", source="full")),
        ),
    ),
    outputs=(Binding(name="lines", source="read.text"), Binding(name="rest", source="more.z")),
)


def test_short_forms_stand_for_the_whole_graph() -> None:
    """Mappings by name, types as text and bare names mean what their long forms mean."""
    assert parse_yaml(SHORT) == GRAPH


@pytest.mark.parametrize("json_names", [True, False])
def test_the_json_form_of_the_message_is_read(*, json_names: bool) -> None:
    """proto3 JSON is YAML, with its own spelling of names or the .proto's."""
    message = graph_to_wire(GRAPH)
    form = json_format.MessageToDict(message, preserving_proto_field_name=not json_names)
    assert parse_yaml(json.dumps(form)) == GRAPH


def test_dumped_graphs_are_read_back() -> None:
    """What is written is short, and the same graph."""
    dumped = dump_yaml(GRAPH)
    assert parse_yaml(dumped) == GRAPH
    assert "image: UINT8 (H, W, 3)\n" in dumped
    assert "model: ocr-detect\n" in dumped


def test_even_a_graph_with_repeated_names_is_dumped() -> None:
    """Lists take over where a mapping would lose an entry, so that a faulty graph can be shown."""
    twice = Graph(
        name="g",
        inputs=(GraphInput(name="x"), GraphInput(name="x", datatype="odd type", description="d")),
        nodes=(Node(name="n", kind=ModelCall(name="m")),),
        outputs=(Binding(name="y", source="n.y"), Binding(name="y", source="x")),
    )
    assert parse_yaml(dump_yaml(twice)) == twice
    odd = Graph(name="g", inputs=(GraphInput(name="x", datatype="odd-type"),))
    assert parse_yaml(dump_yaml(odd)) == odd


def test_inputs_may_be_a_list_of_names() -> None:
    """An input whose type is inferred needs no more than its name."""
    assert parse_yaml("{name: g, inputs: [x, {name: y, datatype: BYTES, text: true}]}").inputs == (
        GraphInput(name="x"),
        GraphInput(name="y", datatype="BYTES", text=True),
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            "nodes:\n  n: {model: m, graph: g}",
            "line 2: a node must say exactly one of model, graph, map, got model, graph",
        ),
        ("nodes:\n  n: {inputs: {}}", "line 2: a node must say exactly one of model, graph, map, got none"),
        ("nodes:\n  n:\n    map: {over: x}", "line 3: `map` must say exactly one of model, graph, got none"),
        ("nodes:\n- model: {nme: x}", "line 2: `model` has no field 'nme'; did you mean 'name'?"),
        ("nodes:\n- model: [x]", "line 2: `model` must be a mapping, got a list"),
        ("nodes: {n: {name: n, model: m}}", "line 1: a node has no field 'name'"),
        ("outputs:\n  y:", "line 2: the source of 'y' must be text, got nothing"),
        ("inputs:\n  y: FP32 (", "line 2: a type must look like FP32 (N, 3)"),
        ("inputs:\n  y: {shape: [a b]}", "line 2: a dimension must be a number, a name or ?"),
        ("inputs:\n- y: 1", "line 2: a graph input has no field 'y'"),
        ("nodez: 1", "line 1: a graph has no field 'nodez'; did you mean 'nodes'?"),
    ],
)
def test_mistakes_are_named_with_their_line(document: str, expected: str) -> None:
    """Each message says what is wrong, where, and what was expected."""
    with pytest.raises(InvalidGraph) as caught:
        parse_yaml(document)
    assert caught.value.message.startswith(expected)


def test_too_large_a_document_is_refused_unread() -> None:
    """The size is looked at before anything else."""
    with pytest.raises(InvalidGraph, match="at most 524288 bytes"):
        parse_yaml("[" * (MAX_DOCUMENT_BYTES + 1))
