"""Graphs as YAML."""

from __future__ import annotations

import contextlib
import json
import string
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.text import dump_textproto, parse_textproto
from graphmesh.graph.forms.wire import graph_to_wire
from graphmesh.graph.forms.yaml_form import dump_yaml, parse_yaml
from graphmesh.graph.limits import MAX_BRANCH_DEPTH, MAX_DOCUMENT_BYTES
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphCall,
    GraphInput,
    Join,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.operations import Cast, Operation

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind


def _model(model: str, *, name: str = "", timeout_s: float = 0.0) -> Node:
    return Node(name=name or model, kind=ModelCall(name=model), timeout_s=timeout_s)


def _bind(**sources: str) -> tuple[Binding, ...]:
    return tuple(Binding(name=name, source=source) for name, source in sources.items())


_OTHER_KEYS = (
    "then",
    "when",
    "default",
    "weight",
    "branches",
    "body",
    "inputs",
    "delay",
    "ttl",
    "join",
    "timeout",
    "over",
)
KINDS = "model, graph, map, switch, split, parallel, fallback, cascade, race, loop, cache, transform"
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


WRITTEN: list[tuple[str, Kind]] = [
    (
        """
        switch:
        - {when: "inputs.lang == 'en'", model: english}
        - when: size(inputs.text) > 1000
          name: long
          graph: long-text
          inputs: {t: text}
          outputs: {label: l}
          timeout: 1.5s
        - default: multilingual
        """,
        Switch(
            cases=(
                Case(when="inputs.lang == 'en'", then=_model("english")),
                Case(
                    when="size(inputs.text) > 1000",
                    then=Node(
                        name="long",
                        kind=GraphCall(name="long-text"),
                        inputs=_bind(t="text"),
                        outputs=_bind(label="l"),
                        timeout_s=1.5,
                    ),
                ),
            ),
            default=_model("multilingual"),
        ),
    ),
    (
        """
        split:
          shares:
          - {weight: 95, model: a.b}
          - {weight: 0, cache: {body: c}}
          key: headers['x-user']
        """,
        Split(
            shares=(
                Share(weight=95, then=_model("a.b", name="a-b")),
                Share(weight=0, then=Node(name="cache", kind=Cache(body=_model("c")))),
            ),
            key="headers['x-user']",
        ),
    ),
    ("split: [{weight: 1, graph: g}]", Split(shares=(Share(weight=1, then=Node(name="g", kind=GraphCall(name="g"))),))),
    (
        "parallel: {branches: [{name: a, model: m}, {name: b, model: m}], join: quorum, quorum: 1, aggregate: mean}",
        Parallel(
            branches=(_model("m", name="a"), _model("m", name="b")),
            join=Join.QUORUM,
            quorum=1,
            aggregate=Aggregate.MEAN,
        ),
    ),
    ("parallel: [a, b]", Parallel(branches=(_model("a"), _model("b")))),
    (
        "parallel: {branches: [a, b], join: first}",
        Parallel(branches=(_model("a"), _model("b")), join=Join.FIRST, aggregate=Aggregate.ONE),
    ),
    (
        "fallback: [{model: big, timeout: 200ms}, small]",
        Fallback(branches=(_model("big", timeout_s=0.2), _model("small"))),
    ),
    (
        "fallback: {branches: [a, b], 'on': [UNAVAILABLE]}",
        Fallback(branches=(_model("a"), _model("b")), on=("UNAVAILABLE",)),
    ),
    (
        "cascade: {branches: [small, large], confidence: score, threshold: 0.9}",
        Cascade(branches=(_model("small"), _model("large")), confidence="score", threshold=0.9),
    ),
    ("race: {model: m, delay: 50ms}", Race(branches=(_model("m"),), delay_s=0.05)),
    ("race: {branches: [m, n], delay: 50ms}", Race(branches=(_model("m"), _model("n")), delay_s=0.05)),
    ("race: [m, n]", Race(branches=(_model("m"), _model("n")))),
    (
        "loop: {body: {graph: step}, max_iterations: 20, until: outputs.delta < 0.01, carry: {x: y}}",
        Loop(
            body=Node(name="step", kind=GraphCall(name="step")),
            until="outputs.delta < 0.01",
            max_iterations=20,
            carry=_bind(x="y"),
        ),
    ),
    (
        "cache: {body: embed, ttl: 10m, max_entries: 5000, max_bytes: 256MiB}",
        Cache(body=_model("embed"), ttl_s=600.0, max_entries=5000, max_bytes=256 << 20),
    ),
    (
        "cache: {body: {map: {model: embed, over: x}}}",
        Cache(body=Node(name="embed", kind=Map(target=ModelCall(name="embed"), over=("x",)))),
    ),
    ("cache: {body: {cache: {body: m}}}", Cache(body=Node(name="cache", kind=Cache(body=_model("m"))))),
    (
        "transform: {operations: [{cast: {datatype: FP32}, inputs: [x], outputs: [y]}], keep: [y]}",
        Transform(operations=(Operation(what=Cast(datatype="FP32"), inputs=("x",), outputs=("y",)),), keep=("y",)),
    ),
]


@pytest.mark.parametrize(("written", "kind"), WRITTEN)
def test_each_kind_is_read_and_written_short(written: str, kind: Kind) -> None:
    """The short form of each kind means this value, and is what the value is written as."""
    written = textwrap.dedent(written).strip("\n")
    document = "nodes:\n  n:\n" + textwrap.indent(written, "    ")
    graph = Graph(name="", nodes=(Node(name="n", kind=kind),))
    assert parse_yaml(document) == graph
    dumped = yaml.safe_load(dump_yaml(graph))["nodes"]["n"]
    assert list(dumped) == [written.partition(":")[0]]
    if "transform" not in dumped:  # operations have tests of their own
        assert json.loads(json.dumps(dumped)) == yaml.safe_load(written)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{switch: [{when: a, model: m}, {default: n}]}", "{switch: {cases: [{when: a, model: m}], default: n}}"),
        ("{switch: [{when: a, model: m}]}", "{switch: [{when: a, then: m}]}"),
        ("{switch: [{when: a, model: m}]}", "{switch: [{when: a, then: {name: m, model: {name: m}}}]}"),
        ("{split: [{weight: 0, model: m}]}", "{split: {shares: [{then: {model: m}}]}}"),
        ("{parallel: [a, b]}", "{parallel: {branches: {a: a, b: {model: b}}, join: all, aggregate: merge}}"),
        ("{parallel: [a, b]}", "{parallel: {branches: [a, b], join: JOIN_ALL, aggregate: AGGREGATE_MERGE}}"),
        ("{fallback: {branches: [a], on: [INTERNAL]}}", "{fallback: {branches: [a], on: INTERNAL}}"),
        ("{race: {model: m, name: k, delay: 1s}}", "{race: {branches: {k: m}, delay: 1000ms}}"),
        ("{cache: {body: m, ttl: 90s, max_bytes: 1MiB}}", "{cache: {body: m, ttl: 1.5m, maxBytes: 1048576}}"),
        ("{loop: {body: m, carry: {x: y}}}", "{loop: {body: m, carry: [{name: x, source: y}]}}"),
    ],
)
def test_long_forms_mean_the_same(one: str, other: str) -> None:
    """What the message's own form says at length is the short form's value."""
    assert parse_yaml(f"nodes: {{n: {one}}}") == parse_yaml(f"nodes: {{n: {other}}}")


def test_the_deepest_graph_in_full_can_be_read() -> None:
    """Steps as deep as they may be, each in the longest form, are within the nesting of a document."""
    node: dict[str, Any] = {
        "name": "n",
        "transform": {"operations": [{"cast": {"datatype": "FP32"}, "inputs": ["x"], "outputs": ["y"]}]},
    }
    for _ in range(MAX_BRANCH_DEPTH - 1):
        node = {"name": "n", "switch": {"cases": [{"when": "true", "then": node}]}}
    graph = parse_yaml(json.dumps({"name": "g", "nodes": [node]}))
    assert len(list(graph.nodes[0].walk())) == MAX_BRANCH_DEPTH
    assert parse_yaml(dump_yaml(graph)) == graph
    assert parse_textproto(dump_textproto(graph)) == graph


@pytest.mark.parametrize("json_names", [True, False])
@pytest.mark.parametrize("kind", [None, *(kind for _, kind in WRITTEN if not isinstance(kind, Transform))])
def test_the_json_form_of_the_message_is_read(kind: Kind | None, *, json_names: bool) -> None:
    """proto3 JSON is YAML, with its own spelling of names, enums, durations and 64-bit numbers, or the .proto's."""
    graph = GRAPH if kind is None else Graph(name="g", nodes=(Node(name="n", kind=kind, timeout_s=0.25),))
    form = json_format.MessageToDict(graph_to_wire(graph), preserving_proto_field_name=not json_names)
    assert parse_yaml(json.dumps(form)) == graph


def test_dumped_graphs_are_read_back() -> None:
    """What is written is short, and the same graph."""
    dumped = dump_yaml(GRAPH)
    assert parse_yaml(dumped) == GRAPH
    assert "image: UINT8 (H, W, 3)\n" in dumped
    assert "model: ocr-detect\n" in dumped


def test_an_input_of_any_type_is_written_as_its_name_alone() -> None:
    """Nothing stands after it, as an author would write it."""
    graph = Graph(name="g", inputs=(GraphInput(name="x"), GraphInput(name="y")))
    assert "inputs:\n  x:\n  y:\n" in dump_yaml(graph)
    assert parse_yaml(dump_yaml(graph)) == graph


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
            f"line 2: a node must say exactly one of {KINDS}, got model, graph",
        ),
        ("nodes:\n  n: {inputs: {}}", f"line 2: a node must say exactly one of {KINDS}, got none"),
        ("nodes:\n  n:\n    map: {over: x}", "line 3: `map` must say exactly one of model, graph, got none"),
        ("nodes:\n- model: {nme: x}", "line 2: `model` has no field 'nme'; did you mean 'name'?"),
        ("nodes:\n- model: [x]", "line 2: `model` must be a mapping, got a list"),
        ("nodes: {n: {name: n, model: m}}", "line 1: a node has no field 'name'"),
        ("outputs:\n  y:", "line 2: the source of 'y' must be text, got nothing"),
        ("inputs:\n  y: FP32 (", "line 2: a type must look like FP32 (N, 3)"),
        ("inputs:\n  y: {shape: [a b]}", "line 2: a dimension must be a number, a name or ?"),
        ("inputs:\n- y: 1", "line 2: a graph input has no field 'y'"),
        ("nodes:\n  n:\n    timeout: 5\n    model: m", "line 3: timeout: a duration must be a number and its unit, as"),
        ("nodes:\n  n:\n    timeout: [5s]\n    model: m", "line 3: timeout must be text, got a list"),
        ("nodes:\n  n:\n    cache:\n      body: m\n      max_bytes: 5MB", "line 5: max_bytes: a size must be"),
        ("nodes:\n  n:\n    cache: {ttl: 1s}", "line 3: `cache` must have `body`, got none"),
        ("nodes:\n  n:\n    loop: {until: x}", "line 3: `loop` must have `body`, got none"),
        ("nodes:\n  n:\n    fallback: a", "line 3: `fallback` must be a mapping, got 'a'"),
        ("nodes:\n  n:\n    fallback:\n    - [a]", "line 4: a branch must be a mapping, got a list"),
        ("nodes:\n  n:\n    fallback: [~]", "line 3: a branch must be text, got nothing"),
        (
            "nodes:\n  n:\n    fallback:\n    - {modle: a}",
            "line 4: a branch has no field 'modle'; did you mean 'model'",
        ),
        ("nodes:\n  n:\n    fallback:\n    - {name: a}", f"line 4: a branch must say exactly one of {KINDS}, got none"),
        ("nodes:\n  n:\n    fallback: {branches: {a: {name: a}}}", "line 3: a branch has no field 'name'"),
        ("nodes:\n  n:\n    switch:\n    - {model: a}", "line 4: a case must have `when`, got none"),
        ("nodes:\n  n:\n    switch:\n    - {when: a}", "line 4: a case must say exactly one of model, graph"),
        (
            "nodes:\n  n:\n    switch:\n    - {when: a, then: m, model: m}",
            "line 4: a case must have its branch in `then`",
        ),
        (
            "nodes:\n  n:\n    switch:\n    - default: a\n    - {when: b, model: b}",
            "line 4: a case has no field 'default'",
        ),
        ("nodes:\n  n:\n    split:\n    - {model: a}", "line 4: a share must have `weight`, got none"),
        ("nodes:\n  n:\n    split:\n    - {weight: -1, model: a}", "line 4: weight must be a whole number, 0 or more"),
        (
            "nodes:\n  n:\n    race: {model: m, branches: [m]}",
            "line 3: `race` must have `branches` or one branch beside",
        ),
        (
            "nodes:\n  n:\n    parallel:\n      join: frist",
            "line 4: join must be one of all, any, quorum, first, got 'frist'; did you mean 'first'",
        ),
        (
            "nodes:\n  n:\n    parallel:\n      aggregate: JOIN_ALL",
            "line 4: aggregate must be one of merge, concat, mean",
        ),
        ("nodes:\n  n:\n    cascade: {confidence: p}", "line 3: `cascade` must have `threshold`, got none"),
        ("nodes:\n  n:\n    cascade: {threshold: }", "line 3: `cascade` must have `threshold`, got none"),
        (
            "nodes:\n  n:\n    cascade:\n      threshold: high",
            "line 4: threshold must be a finite number, as `threshold: 0.9`, got 'high'",
        ),
        (
            "nodes:\n  n:\n    cascade:\n      threshold: 1e999",
            "line 4: threshold must be a finite number, as `threshold: 0.9`, got '1e999'",
        ),
        (
            "nodes:\n  n:\n    cascade:\n      threshold: .nan",
            "line 4: threshold must be a finite number, as `threshold: 0.9`, got '.nan'",
        ),
        ("nodez: 1", "line 1: a graph has no field 'nodez'; did you mean 'nodes'?"),
    ],
)
def test_mistakes_are_named_with_their_line(document: str, expected: str) -> None:
    """Each message says what is wrong, where, and what was expected."""
    with pytest.raises(InvalidGraph) as caught:
        parse_yaml(document)
    step = "node n: " if "n:\n" in document or "{n:" in document or " n: {" in document else ""
    line, _, what = expected.partition(": ")
    assert caught.value.message.startswith(f"{line}: {step}{what}")


def test_all_mistakes_are_told_in_their_order() -> None:
    """One refusal for a document, with the line and the node of each."""
    document = """\
nodes:
  a: {modl: x}
  b: {cascade: {branches: [m, n], confidence: p, threshold: high}}
  c:
    switch:
    - {when: inputs.x, then: m, timeout: 1s}
    - {model: m}
inputs: {x: FP32 (}
outputs: {y: [a]}
"""
    with pytest.raises(InvalidGraph) as caught:
        parse_yaml(document)
    lead, *mistakes = caught.value.message.split("\n- ")
    starts = [
        "line 2: node a: a node has no field 'modl'; did you mean 'model'?",
        "line 3: node b: threshold must be a finite number, as `threshold: 0.9`, got 'high'",
        "line 6: node c: a case must have its branch in `then` or beside it",
        "line 8: a type must look like",
        "line 9: the source of 'y' must be text, got a list",
    ]
    assert lead == "5 mistakes"
    assert [told[: len(start)] for told, start in zip(mistakes, starts, strict=True)] == starts


def test_too_large_a_document_is_refused_unread() -> None:
    """The size is looked at before anything else."""
    with pytest.raises(InvalidGraph, match="at most 524288 bytes"):
        parse_yaml("[" * (MAX_DOCUMENT_BYTES + 1))


_TREES = st.recursive(
    st.sampled_from(["m", "", "5", "1.5s", "64MiB", "all", "true", "x: y"]) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KINDS.split(", "), *_OTHER_KEYS]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(string.ascii_lowercase, max_size=2), _TREES, max_size=3))
def test_whatever_a_node_says_is_a_graph_or_an_invalid_one(nodes: dict[str, object]) -> None:
    """No document with fields in wrong places makes the reader fail in another way; what it reads it can write."""
    graph = Graph(name="")
    with contextlib.suppress(InvalidGraph):
        graph = parse_yaml(json.dumps({"nodes": nodes}))
    assert parse_yaml(dump_yaml(graph)) == graph
