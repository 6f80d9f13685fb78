"""Whole graphs against the signatures of what they call."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.findings import told
from graphmesh.graph.checks.validate import type_graph, validate
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.spec import Binding, Graph, GraphInput, Loop, ModelCall, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]

OCR = """
name: ocr
inputs: [image]
nodes:
  decode: {model: decode, inputs: {data: image}}
  detect: {model: detect, inputs: {image: decode.image}}
  crop: {model: crop, inputs: {image: decode.image, boxes: detect.boxes}}
  read: {map: {model: read, over: crop, batch_size: 8}, inputs: {crop: crop.crops}}
  order: {graph: order, inputs: {boxes: detect.boxes, text: read.text}}
outputs: {lines: order.lines, boxes: detect.boxes, crops: crop.crops}
"""
ORDER = """
name: order
inputs: [boxes, text]
nodes: {s: {model: sort, inputs: {b: boxes, t: text}}}
outputs: {lines: s.o}
"""


@pytest.fixture
def catalog(sign: Sign) -> dict[str, Signature]:
    """The signatures of the demo's models."""
    return {
        "decode": sign({"data": "BYTES ()"}, {"image": "UINT8 (H, W, 3)"}),
        "detect": sign({"image": "UINT8 (H, W, 3)"}, {"boxes": "FP32 (N, 4, 2)"}),
        "crop": sign({"image": "UINT8 (H, W, 3)", "boxes": "FP32 (N, 4, 2)"}, {"crops": "FP32 (N, 3, 48, K)"}),
        "read": sign({"crop": "FP32 (N, 3, 48, W)"}, {"text": "TEXT (N,)"}),
        "order": sign({"boxes": "FP32 (N, 4, 2)", "text": "TEXT (N,)"}, {"lines": "TEXT (N,)"}),
        "sort": sign({"b": "FP32 (N, 4, 2)", "t": "TEXT (N,)"}, {"o": "TEXT (N,)"}),
    }


GRAPHS = {"order": parse_yaml(ORDER)}


def test_a_graph_gets_its_own_signature(catalog: dict[str, Signature]) -> None:
    """Inputs take the types of their readers, outputs those of their producers; equal sizes have one name."""
    typed = type_graph(parse_yaml(OCR), catalog.get, graphs=GRAPHS.get)
    assert [str(spec) for spec in typed.signature.inputs] == ["image: BYTES ()"]
    assert [str(spec) for spec in typed.signature.outputs] == [
        "lines: TEXT (N,)",
        "boxes: FP32 (N, 4, 2)",
        "crops: FP32 (N, 3, 48, K)",
    ]
    assert typed.tensors["crop.crops"].type == "FP32 (N, 3, 48, K)"
    assert typed.tensors["decode.image"].type == "UINT8 (H, W, 3)"
    assert typed.signature.inputs[0].description == "the data"
    assert validate(parse_yaml(OCR), catalog.get, graphs=GRAPHS.get) == typed.signature


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "crop: crop.crops}}",
            "crop: decode.image}}",
            "edge decode.image -> read.crop: UINT8 (H, W, 3) does not fit FP32 (N, 3, 48, W), up to 8 items a call: ",
        ),
        (
            "model: detect",
            "model: detekt",
            "node detect: there is no model 'detekt'; did you mean 'detect' or 'decode'?",
        ),
        (
            "graph: order",
            "graph: ordr",
            "node order: there is no graph 'ordr'; did you mean 'order'?",
        ),
        ("graph: order", "model: order", "node order: 'order' is a graph; name it as `graph`, not as `model`"),
        ("model: detect", "graph: detect", "node detect: 'detect' is a model; name it as `model`, not as `graph`"),
        ("graph: order", "graph: ocr", "node order: graphs must not call one another in a cycle, got ocr -> ocr"),
        (
            "boxes: detect.boxes}}\n  read",
            "boxs: detect.boxes}}\n  read",
            "edge detect.boxes -> crop.boxs: model crop has no",
        ),
        ("lines: order.lines", "lines: order.line", "edge order.line -> output lines: node order gives no 'line'"),
        (
            "{data: image}",
            "{data: decode.image}",
            "edge decode.image -> decode.data: a node must not read its own output",
        ),
        ("[image]", "{image: 'TEXT (N,)'}", "edge image -> decode.data: TEXT (N,) does not fit BYTES ()"),
    ],
)
def test_what_cannot_work_is_refused_at_its_place(
    catalog: dict[str, Signature], old: str, new: str, expected: str
) -> None:
    """One change to a graph that works, one message that names node or edge."""
    with pytest.raises(InvalidGraph) as caught:
        validate(parse_yaml(OCR.replace(old, new, 1)), catalog.get, graphs=GRAPHS.get, known=dict.fromkeys(catalog, ""))
    assert caught.value.message.startswith(expected)


def test_declared_sizes_keep_their_names_and_learn_numbers(sign: Sign) -> None:
    """The author's names for sizes win over the models'; a number that a model demands reaches the graph's input."""
    catalog = {
        "m": sign({"x": "FP32 (A, 224)"}, {"y": "FP32 (A, K)"}),
        "p": sign({"z": "FP32 (B, A)"}, {"y": "FP32 (B,)"}),
    }
    graph = parse_yaml("""
        name: g
        inputs: {u: , v: "FP32 (A, S)", pass: "INT64 (A,)"}
        nodes: {a: {model: m, inputs: {x: v}}, b: {model: p, inputs: {z: u}}}
        outputs: {y: a.y, w: b.y, same: pass}
    """)
    signature = validate(graph, catalog.get, graphs=lambda _: None)
    assert [spec.type for spec in signature.inputs] == ["FP32 (B, A2)", "FP32 (A, 224)", "INT64 (A,)"]
    assert [str(spec) for spec in signature.outputs] == ["y: FP32 (A, K)", "w: FP32 (B,)", "same: INT64 (A,)"]


def test_known_lengths_count_against_the_budget(sign: Sign) -> None:
    """A map over 10,001 items one by one is refused; in chunks it is not."""
    catalog = {"m": sign({"x": "FP32 (N,)"}, {"y": "FP32 (N,)"}), "one": sign({"x": "FP32 ()"}, {"y": "FP32 ()"})}
    written = "{name: g, inputs: {x: 'FP32 (10001,)'}, nodes: {n: {map: %s, inputs: {x: x}}}, outputs: {y: n.y}}"
    with pytest.raises(InvalidGraph, match="more than 10000 calls, got 10001, 10001 of them from node n"):
        validate(parse_yaml(written % "{model: one, over: x}"), catalog.get, graphs=lambda _: None)
    chunked = validate(parse_yaml(written % "{model: m, over: x, batch_size: 2}"), catalog.get, graphs=lambda _: None)
    assert chunked.outputs[0].type == "FP32 (10001,)"


def test_the_largest_graph_is_checked_in_under_a_second(sign: Sign) -> None:
    """A chain of 1,000 nodes is typed from end to end."""
    catalog = {"m": sign({"x": "FP32 (N, D)"}, {"y": "FP32 (N, D)"})}
    nodes = tuple(
        Node(
            name=f"n{i}",
            kind=ModelCall(name="m"),
            inputs=(Binding(name="x", source=f"n{i - 1}.y" if i else "x"),),
        )
        for i in range(1000)
    )
    graph = Graph(
        name="g",
        inputs=(GraphInput(name="x", datatype="FP32", shape=(3, "D")),),
        nodes=nodes,
        outputs=(Binding(name="y", source="n999.y"),),
    )
    start = time.perf_counter()
    assert validate(graph, catalog.get, graphs=lambda _: None).outputs[0].type == "FP32 (3, D)"
    assert time.perf_counter() - start < 1


def test_twenty_levels_of_doubling_are_refused_in_under_a_second(sign: Sign) -> None:
    """As graphs in one another, and as loops in one another: each is refused when it is applied."""
    catalog = {f"g{level}": sign({"x": "FP32 ()"}, {"x": "FP32 ()"}) for level in range(20)}
    catalog["m"] = sign({"x": "FP32 ()"}, {"x": "FP32 ()"})
    double = "{name: %s, inputs: [x], nodes: {a: {%s, inputs: {x: x}}, b: {%s, inputs: {x: a.x}}}, outputs: {x: b.x}}"
    graphs = {"g0": parse_yaml(double % ("g0", "model: m", "model: m"))}
    for level in range(1, 20):
        inner = f"graph: g{level - 1}"
        graphs[f"g{level}"] = parse_yaml(double % (f"g{level}", inner, inner))
    start = time.perf_counter()
    with pytest.raises(InvalidGraph, match="at most 8 graphs may be inside one another"):
        validate(graphs["g19"], catalog.get, graphs=graphs.get)
    body = Node(name="m", kind=ModelCall(name="m"))
    for level in range(7):
        body = Node(name=f"l{level}", kind=Loop(body=body, max_iterations=4))
    nodes = (dataclasses.replace(body, inputs=(Binding(name="x", source="x"),)),)
    graph = Graph(name="g", inputs=(GraphInput(name="x"),), nodes=nodes, outputs=(Binding(name="x", source="l6.x"),))
    with pytest.raises(InvalidGraph, match=f"more than 10000 calls, got {4**7}, {4**7} of them from node l6"):
        validate(graph, catalog.get, graphs=lambda _: None)
    assert time.perf_counter() - start < 1


def test_a_fixed_version_has_its_own_signature(sign: Sign) -> None:
    """A node that fixes a version is checked against that one; without a way to ask, against that of the name."""
    catalog = {"m": sign({"x": "FP32 (N,)"}, {"y": "FP32 (N,)"})}
    graph = parse_yaml(
        "{name: g, inputs: [x], nodes: {n: {model: {name: m, version: 3}, inputs: {x: x}}}, outputs: {y: n.y}}"
    )
    old = {"3": sign({"x": "FP64 (N,)"}, {"y": "FP64 (N,)"})}
    assert validate(graph, catalog.get, graphs=lambda _: None).outputs[0].datatype == "FP32"
    found = validate(graph, catalog.get, graphs=lambda _: None, pinned=lambda call: old.get(call.version))
    assert found.outputs[0].datatype == "FP64"
    with pytest.raises(InvalidGraph, match=r"^node n: model 'm' has no version 3; load it, or leave the version out$"):
        validate(graph, catalog.get, graphs=lambda _: None, pinned=lambda _: None)


def test_what_branches_call_must_exist(sign: Sign) -> None:
    """A model that only a branch calls is looked for as well, and named with the branch's path."""
    graph = parse_yaml("""
        name: g
        inputs: [x]
        nodes: {safe: {fallback: {branches: [m, spare]}, inputs: {x: x}}}
        outputs: {y: safe.y}
    """)
    catalog = {"m": sign({"x": "FP32 (N,)"}, {"y": "FP32 (N,)"})}
    with pytest.raises(InvalidGraph, match=r"^node safe/spare: there is no model 'spare'"):
        validate(graph, catalog.get, graphs=lambda _: None)


MANY = """
name: g
inputs: {x: FP32, lang: TEXT}
nodes:
  zed: {fallback: [flakky, qick], inputs: {x: x}}
  seen: {cache: {body: quick}, inputs: {x: x}}
  sure: {cascade: {branches: [quick, slow], confidence: scroe, threshold: 0.5}, inputs: {x: x}}
  after: {model: quick, inputs: {x: zed.score}}
  bad: {model: quick, inputs: {x: seen.label}}
  atop: {model: slow, inputs: {x: seen.score, y: seen.score}}
  again: {model: slow, inputs: {x: seen.score, z: route.label}}
  route: {switch: [{when: inputs.lang > 5, model: quick}, {when: size(inputs.lang), model: slow}], inputs: %s}
outputs: {a: seen.lable, b: sure.label, c: after.label, d: bad.label, e: atop.label, f: again.label}
"""


def _mistakes(written: str, sign: Sign) -> list[str]:
    signature = sign({"x": "FP32 ()"}, {"label": "TEXT ()", "score": "FP32 ()"})
    catalog = {"quick": signature, "slow": signature}
    with pytest.raises(InvalidGraph) as caught:
        validate(parse_yaml(written), catalog.get, graphs=lambda _: None)
    return [mistake.partition("\n")[0] for mistake in told(caught.value)]


def test_all_that_is_wrong_with_calls_types_and_conditions_is_told_together(sign: Sign) -> None:
    """In the order of the document; but for steps that read from one that is wrong."""
    assert _mistakes(MANY.replace("size(inputs.lang)", "inputs.lang") % "{x: x, lang: lang}", sign) == [
        "node zed/flakky: there is no model 'flakky'",
        "node zed/qick: there is no model 'qick'",
        (
            "node sure: quick gives no 'scroe', which says how sure an answer is and all branches but the last must "
            "give, only label, score; did you mean 'score'?"
        ),
        (
            "edge seen.label -> bad.x: TEXT () does not fit FP32 (): the datatypes differ; convert it in a transform "
            "between them"
        ),
        "edge seen.score -> atop.y: model slow has no input 'y', only x",
        "edge route.label -> again.z: model slow has no input 'z', only x",
        (
            "node route: the case of branch 'quick': this expression does not fit the tensors that it reads, "
            "character 13:"
        ),
        ("node route: the case of branch 'slow': this expression does not fit the tensors that it reads, character 1:"),
        "edge seen.lable -> output a: node seen gives no 'lable', only label, score; did you mean 'label'?",
    ]


def test_all_that_is_wrong_with_structure_is_told_first(sign: Sign) -> None:
    """What is called is looked at once that is mended."""
    assert _mistakes(MANY % "{y: x, word: wrods.y}", sign) == [
        ("node route: the case of branch 'quick' reads inputs.lang, which is not there; there are word, y"),
        "node route: the case of branch 'slow': this expression cannot work, character 1:",
        "edge wrods.y -> route.word: there is no node 'wrods'",
    ]


def test_every_name_that_an_expression_and_a_loop_lack_is_told(sign: Sign) -> None:
    """One does not hide another."""
    assert _mistakes(
        """
        name: g
        inputs: [x]
        nodes:
          again:
            loop: {body: quick, carry: {x: score, q: score}, until: inputs.p > inputs.r, max_iterations: 0}
            inputs: {y: x}
        outputs: {y: again.label}
        """,
        sign,
    ) == [
        "node again: max_iterations must be from 1 to 1000, got 0",
        "node again: `until` reads inputs.p, which is not there; there are y",
        "node again: `until` reads inputs.r, which is not there; there are y",
        "node again: `carry` reads inputs.x, which is not there; there are y",
        "node again: `carry` reads inputs.q, which is not there; there are y",
    ]
