"""Graph inputs without a type."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Binding, Cache, Case, Fallback, Loop, Map, ModelCall, Switch, Transform
from graphmesh.graph.transforms.operations import Cast, Operation
from tests.graph.typing_help import graph, model, signed, step, typed

CATALOG = {
    "embed": signed({"text": "TEXT (N,)"}, {"vector": "FP32 (N, 8)"}),
    "tag": signed({"text": "BYTES (N,)"}, {"vector": "FP32 (N, 8)"}),
    "one": signed({"x": "FP32 (D,)"}, {"y": "FP32 (D,)"}),
    "ints": signed({"x": "INT64 (N,)"}, {"y": "INT64 (N,)"}),
    "end": signed({"x": "FP64 (N, 8)"}, {"y": "FP64 (N,)"}),
    "keep": signed({"x": "FP32 (4,)"}, {"x": "FP32 (4,)"}),
}
HALF = Transform(operations=(Operation(what=Cast(datatype="FP64"), inputs=("x",), outputs=("wide",)),))


def test_a_reader_deep_inside_tells() -> None:
    """Through branches of branches, by their bindings and by name."""
    inner = step("inner", Cache(body=step("deep", ModelCall(name="embed"), {"text": "words"})), {"words": "said"})
    found = typed(
        graph(
            {"x": ""},
            (step("safe", Fallback(branches=(inner, step("b", inner.kind, {"words": "said"}))), {"said": "x"}),),
            {"y": "safe.vector"},
        ),
        CATALOG,
    )
    assert found.signature.inputs[0].type == "TEXT (N,)"


def test_a_map_tells_with_its_axis() -> None:
    """What it divides has one axis more than its target takes."""
    kind = Map(target=ModelCall(name="one"), over=("x",))
    found = typed(graph({"x": ""}, (step("each", kind, "x"),), {"y": "each.y"}), CATALOG)
    assert found.signature.inputs[0].type == "FP32 (N, D)"


def test_a_loop_tells() -> None:
    """What its body takes, the first time as well."""
    kind = Loop(body=model("keep"), max_iterations=2, carry=(Binding(name="x", source="x"),))
    found = typed(graph({"x": ""}, (step("again", kind, "x"),), {"y": "again.x"}), CATALOG)
    assert found.signature.inputs[0].type == "FP32 (4,)"


def test_the_first_by_name_tells_and_the_others_must_agree() -> None:
    """First in the order of running, then by name, wherever it is written."""
    nodes = (step("b", ModelCall(name="embed"), {"text": "x"}), step("a", ModelCall(name="tag"), {"text": "x"}))
    for order in (nodes, nodes[::-1]):
        found = typed(graph({"x": ""}, order, {"y": "a.vector", "z": "b.vector"}), CATALOG)
        assert found.signature.inputs[0].type == "TEXT (N,)"
        with pytest.raises(InvalidGraph) as caught:
            typed(
                graph(
                    {"x": ""},
                    (*order, step("c", ModelCall(name="ints"), "x")),
                    {"y": "a.vector", "z": "b.vector", "w": "c.y"},
                ),
                CATALOG,
            )
        assert caught.value.message == (
            "edge x -> c.x: TEXT (N,) (which edge x -> a.text made it) does not fit INT64 (N,): the datatypes differ; "
            "convert it in a transform between them"
        )


def test_a_transform_takes_what_a_model_beside_it_says() -> None:
    """Also when it comes before that model by name."""
    nodes = (step("a", HALF, "x"), step("b", ModelCall(name="ints"), "x"))
    found = typed(graph({"x": ""}, nodes, {"y": "a.wide", "z": "b.y"}), CATALOG)
    assert [spec.type for spec in found.signature.outputs] == ["FP64 (N,)", "INT64 (N,)"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            HALF,
            (
                "node n: the type of input 'x' is unknown: nothing but transforms reads that graph input, and these "
                "take any; declare it, as `inputs: {x: TEXT}` in YAML or g.input('x', 'TEXT') in Python (TEXT is one "
                "text, TEXT (N,) a list of texts, FP32 (N, 3) numbers)"
            ),
        ),
        (
            Switch(cases=(Case(when="inputs.x == 1", then=step("a", ModelCall(name="none"))),)),
            (
                "graph input 'x': no model or graph reads it, so its type is unknown; declare it, as `inputs: {x: "
                "TEXT}` in YAML or g.input('x', 'TEXT') in Python (TEXT is one text, TEXT (N,) a list of texts, "
                "FP32 (N, 3) numbers)"
            ),
        ),
        (
            Loop(
                body=step("a", ModelCall(name="none")),
                max_iterations=2,
                until="inputs.x == 1",
                carry=(Binding(name="x", source="wide"),),
            ),
            (
                "node n: the type of input 'x' is unknown: no model or graph reads that graph input; declare "
                "it, as `inputs: {x: TEXT}` in YAML or g.input('x', 'TEXT') in Python (TEXT is one text, TEXT (N,) a "
                "list of texts, FP32 (N, 3) numbers)"
            ),
        ),
    ],
)
def test_nothing_tells(kind: Switch | Transform | Loop, expected: str) -> None:
    """Transforms and conditions take any type, so that the author must say it."""
    catalog = {"none": signed({}, {"wide": "FP32 ()"})}
    with pytest.raises(InvalidGraph) as caught:
        typed(graph({"x": ""}, (step("n", kind, "x"),), {"y": "n.wide"}), catalog)
    assert caught.value.message == expected


def test_an_input_that_only_outputs_read_needs_a_type() -> None:
    """Nothing tells the type of an input that passes straight through."""
    nodes = (step("b", ModelCall(name="ints"), "x"),)
    with pytest.raises(
        InvalidGraph, match=r"^graph input 'through': no model or graph reads it, so its type is unknown"
    ):
        typed(graph({"x": "", "through": ""}, nodes, {"y": "b.y", "z": "through"}), CATALOG)
