"""Types through steps of every kind, and through the branches inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import (
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Loop,
    Map,
    ModelCall,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.operations import Cast, Lower, Operation, Softmax, Upper
from tests.graph.typing_help import graph, model, signed, step, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.spec import Kind, Node

CATALOG = {
    "cheap": signed({"text": "TEXT (N,)"}, {"label": "TEXT (N,)", "score": "FP32 (N,)", "cost": "FP32 ()"}),
    "dear": signed({"text": "TEXT (M,)"}, {"label": "TEXT (M,)", "score": "FP32 (M,)", "why": "TEXT (M,)"}),
    "one": signed({"text": "TEXT (N,)"}, {"label": "TEXT (1,)"}),
    "two": signed({"text": "TEXT (N,)"}, {"label": "TEXT (2,)"}),
    "any": signed({"text": "TEXT (N,)"}, {"label": "TEXT (K,)"}),
    "ids": signed({"text": "TEXT (N,)"}, {"label": "INT64 (N,)", "score": "FP32 (N,)"}),
    "deep": signed({"text": "TEXT (N,)"}, {"label": "TEXT (N, 1)"}),
    "odd": signed({"text": "TEXT (N,)"}, {"other": "TEXT (N,)"}),
    "item": signed({"text": "TEXT ()"}, {"label": "TEXT ()"}),
    "page": signed({"image": "UINT8 (H, W, 3)"}, {"label": "TEXT (H,)"}),
    "end": signed({"label": "TEXT (N,)", "text": "TEXT (N,)"}, {"done": "TEXT (N,)"}),
    "five": signed({"label": "TEXT (5,)"}, {"done": "TEXT (5,)"}),
}


def _switch(*branches: Node) -> Switch:
    *cases, default = branches
    return Switch(cases=tuple(Case(when="inputs.text == ''", then=branch) for branch in cases), default=default)


def _split(*branches: Node) -> Split:
    return Split(shares=tuple(Share(weight=1, then=branch) for branch in branches))


def _fallback(*branches: Node) -> Fallback:
    return Fallback(branches=branches)


def _cascade(*branches: Node) -> Cascade:
    return Cascade(branches=branches, confidence="score", threshold=0.5)


def _race(*branches: Node) -> Race:
    return Race(branches=branches)


ALTERNATIVES = [_switch, _split, _fallback, _cascade, _race]


def _through(
    kind: Kind, *outputs: str, catalog: Mapping[str, Signature] = CATALOG, text: str = "TEXT (N,)"
) -> dict[str, str]:
    """Return the types that one step gives, of those of its outputs that are read."""
    found = typed(
        graph({"text": text}, (step("route", kind, "text"),), {name: f"route.{name}" for name in outputs}), catalog
    )
    return {spec.name: spec.type for spec in found.signature.outputs}


@pytest.mark.parametrize("kind", ALTERNATIVES)
def test_alternatives_give_what_all_of_them_give(kind: Callable[..., Kind]) -> None:
    """Outputs that only one branch gives are not there; a size that is the same in all stays that of the input."""
    made = kind(model("cheap"), model("dear"))
    assert _through(made, "label", "score") == {"label": "TEXT (N,)", "score": "FP32 (N,)"}
    with pytest.raises(InvalidGraph) as caught:
        _through(made, "cost")
    assert caught.value.message == "edge route.cost -> output cost: node route gives no 'cost', only label, score"


def test_sizes_that_differ_between_alternatives_are_unknown() -> None:
    """A number is one only if it is the same in all branches; numbers that no branch gives are refused."""
    assert _through(_fallback(model("one"), step("same", ModelCall(name="one"), "text")), "label") == {
        "label": "TEXT (1,)"
    }
    assert _through(_fallback(model("one"), model("two")), "label") == {"label": "TEXT (?,)"}
    nodes = (step("route", _fallback(model("one"), model("two")), "text"), model("five", {"label": "route.label"}))
    with pytest.raises(InvalidGraph) as caught:
        typed(graph({"text": ""}, nodes, {"y": "five.done"}), CATALOG)
    assert caught.value.message == (
        "node route: axis 0 of output 'label' is 1 or 2, but must be 5 (5 because of edge route.label -> five.label)"
    )
    nodes = (step("route", _fallback(model("one"), model("any")), "text"), model("five", {"label": "route.label"}))
    assert typed(graph({"text": ""}, nodes, {"y": "five.done"}), CATALOG).tensors["route.label"].type == "TEXT (5,)"


def test_sizes_that_turn_out_to_be_equal_are_equal_whatever_is_typed_first() -> None:
    """A step that is looked at later may show that the branches' sizes are one; the switch's output is that, too."""
    catalog = {
        "a": signed({"x": "FP32 (N,)", "y": "FP32 (M,)"}, {"z": "FP32 (N,)"}),
        "b": signed({"x": "FP32 (N,)", "y": "FP32 (M,)"}, {"z": "FP32 (M,)"}),
        "pair": signed({"x": "FP32 (N,)", "y": "FP32 (N,)"}, {"w": "FP32 ()"}),
    }
    for name in ("early", "late"):
        nodes = (
            step("middle", _fallback(model("a"), model("b")), "x y"),
            step(name, ModelCall(name="pair"), "x y"),
        )
        source = graph({"x": "FP32 (N,)", "y": "FP32 (M,)"}, nodes, {"z": "middle.z", "w": f"{name}.w"})
        assert [spec.type for spec in typed(source, catalog).signature.outputs] == ["FP32 (M,)", "FP32 ()"]


def test_two_outputs_of_one_branch_have_one_size() -> None:
    """Whichever branch is taken, its outputs are as long as one another, and so are the step's."""
    catalog = {
        "a": signed({"x": "FP32 ()"}, {"y": "FP32 (A,)", "z": "FP32 (A,)"}),
        "b": signed({"x": "FP32 ()"}, {"y": "FP32 (B,)", "z": "FP32 (B,)"}),
        "pair": signed({"y": "FP32 (5,)", "z": "FP32 (6,)"}, {"w": "FP32 ()"}),
    }
    nodes = (
        step("route", _fallback(model("a"), model("b")), "x"),
        model("pair", {"y": "route.y", "z": "route.z"}),
    )
    with pytest.raises(InvalidGraph, match=r"route.z -> pair.z: FP32 \(5,\) does not fit FP32 \(6,\): axis 0 is 5"):
        typed(graph({"x": ""}, nodes, {"w": "pair.w"}), catalog)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            "ids",
            (
                "edge route.label -> output label: node route: output 'label' is TEXT (N,) in cheap and INT64 (N,) in "
                "ids; make it one type by a transform in one of them, or name it apart with `outputs`"
            ),
        ),
        (
            "deep",
            (
                "edge route.label -> output label: node route: output 'label' is TEXT (N,) in cheap and TEXT (N, 1) "
                "in deep; make it one type by a transform in one of them, or name it apart with `outputs`"
            ),
        ),
        (
            "odd",
            (
                "node route: its branches have no output in common: cheap gives label, score, cost; odd gives "
                "other; name one alike in all with `outputs`"
            ),
        ),
    ],
)
def test_alternatives_that_do_not_agree(other: str, expected: str) -> None:
    """Two types of one name are refused where it is read; nothing in common is refused at once."""
    with pytest.raises(InvalidGraph) as caught:
        _through(_fallback(model("cheap"), model(other)), "label")
    assert caught.value.message == expected


def test_what_branches_do_not_agree_on_and_nobody_reads_is_not_given() -> None:
    """A clash of an output that is not read is no mistake."""
    assert _through(_fallback(model("cheap"), model("ids")), "score") == {"score": "FP32 (N,)"}


def test_branches_rename() -> None:
    """`outputs` of a branch says what the step gives; what it does not name is not given."""
    made = _fallback(model("cheap"), model("odd", outputs={"label": "other"}))
    assert _through(made, "label") == {"label": "TEXT (N,)"}
    with pytest.raises(InvalidGraph) as caught:
        _through(_fallback(model("cheap"), model("odd", outputs={"label": "othr"})), "label")
    assert caught.value.message == (
        "node route/odd: output 'label' is to be 'othr', but it gives other; did you mean 'other'?"
    )


@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        (
            model("page"),
            (
                "node route/page: takes input 'image', but route has text; give route an input 'image', or bind "
                "it with `inputs: {image: ...}`"
            ),
        ),
        (
            model("page", {"image": "text"}),
            (
                "node route/page: edge text -> page.image: TEXT (N,) does not fit UINT8 (H, W, 3): the datatypes "
                "differ; convert it in a transform between them"
            ),
        ),
        (
            model("item"),
            (
                "node route/item: edge text -> item.text: TEXT (N,) does not fit TEXT (): the numbers of dimensions "
                "differ; to call model item for each item along axis 0, make item a map over text"
            ),
        ),
        (
            model("cheap", {"txt": "text"}),
            (
                "node route/cheap: edge text -> cheap.txt: model cheap has no input 'txt', only text; did you mean "
                "'text'?"
            ),
        ),
        (
            step("far", ModelCall(name="end"), {"label": "text"}),
            "node route/far: input text: TEXT (N,) of model end is not bound; say where it comes from",
        ),
    ],
)
def test_a_branch_reads_the_inputs_of_its_step(branch: Node, expected: str) -> None:
    """What it cannot read or does not fit is refused with branch, input and fix."""
    with pytest.raises(InvalidGraph) as caught:
        _through(_fallback(step("first", ModelCall(name="cheap")), branch), "label")
    assert caught.value.message == expected


def test_branches_of_branches_pass_inputs_on_by_name() -> None:
    """A composed branch without bindings has all inputs of the step around it."""
    inner = step("inner", _switch(model("cheap"), model("dear")))
    found = typed(graph({"text": ""}, (step("route", _race(inner), "text"),), {"y": "route.score"}), CATALOG)
    assert found.signature.inputs[0].type == "TEXT (N,)"
    assert {source: spec.type for source, spec in found.tensors.items()} == {
        "text": "TEXT (N,)",
        "route/inner/cheap.label": "TEXT (N,)",
        "route/inner/cheap.score": "FP32 (N,)",
        "route/inner/cheap.cost": "FP32 ()",
        "route/inner/dear.label": "TEXT (N,)",
        "route/inner/dear.score": "FP32 (N,)",
        "route/inner/dear.why": "TEXT (N,)",
        "route/inner.label": "TEXT (N,)",
        "route/inner.score": "FP32 (N,)",
        "route.label": "TEXT (N,)",
        "route.score": "FP32 (N,)",
    }
    assert {source: spec.type for source, spec in found.takes.items()} == dict.fromkeys(
        ["route.text", "route/inner.text", "route/inner/cheap.text", "route/inner/dear.text"], "TEXT (N,)"
    )


def test_a_map_in_a_branch() -> None:
    """A map divides what the branch reads, as it does in the graph itself."""
    mapped = step("each", Map(target=ModelCall(name="item"), over=("text",)))
    assert _through(_fallback(model("cheap"), mapped), "label", text="TEXT (7,)") == {"label": "TEXT (7,)"}


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (
            "odd",
            (
                "node route: odd gives no 'score', which says how sure an answer is and all branches but the last must "
                "give, only other"
            ),
        ),
        ("words", "node route: words gives 'score' as TEXT (N,), but what says how sure an answer is must be numbers"),
    ],
)
def test_a_cascade_needs_to_know_how_sure_answers_are(first: str, expected: str) -> None:
    """Every branch but the last gives the confidence, as numbers; the last need not."""
    catalog = CATALOG | {"words": signed({"text": "TEXT (N,)"}, {"score": "TEXT (N,)", "label": "TEXT (N,)"})}
    assert _through(_cascade(model("cheap"), model("one")), "label") == {"label": "TEXT (?,)"}
    with pytest.raises(InvalidGraph) as caught:
        _through(_cascade(model(first), step("last", ModelCall(name="odd"))), "other", catalog=catalog)
    assert caught.value.message == expected


def test_a_confidence_that_branches_of_a_branch_do_not_agree_on() -> None:
    """A clash is a mistake for a cascade that needs the output, whoever else reads it."""
    inner = step("inner", _fallback(model("cheap"), step("odd", ModelCall(name="odd"), "text", {"score": "other"})))
    with pytest.raises(InvalidGraph, match=r"node route: confidence: node route/inner: output 'score' is FP32 \(N,\)"):
        _through(_cascade(inner, model("dear")), "score")


def test_a_clash_is_passed_on_to_whoever_reads_it() -> None:
    """Through composed steps and loops: the message names the step whose branches do not agree."""
    inner = step("inner", _fallback(model("cheap"), model("ids")))
    with pytest.raises(InvalidGraph, match=r"^edge route.label -> output label: node route/inner: output 'label' is"):
        _through(_fallback(inner, model("dear")), "label")
    carry = (Binding(name="text", source="label"),)
    with pytest.raises(InvalidGraph, match=r"^node route: edge inner.label -> route.text: node route/inner: output"):
        _through(Loop(body=inner, max_iterations=2, carry=carry), "score")


def test_a_cache_is_as_what_it_remembers() -> None:
    """All outputs of the body, under its names."""
    assert _through(Cache(body=model("cheap", outputs={"sure": "score"})), "sure") == {"sure": "FP32 (N,)"}


def test_parallel_branches_are_joined_in_types_too() -> None:
    """Merged outputs stand side by side."""
    made = Parallel(branches=(model("cheap"), model("dear", outputs={"reason": "why"})))
    assert _through(made, "label", "reason") == {"label": "TEXT (N,)", "reason": "TEXT (N,)"}


def test_a_loop_gives_what_its_body_gives() -> None:
    """What is carried fits the input, and conditions read outputs that are there."""
    body = model("cheap")
    carry = (Binding(name="text", source="label"),)
    assert _through(Loop(body=body, max_iterations=3, carry=carry, until="outputs.cost < 1.0"), "label") == {
        "label": "TEXT (N,)"
    }
    with pytest.raises(InvalidGraph) as caught:
        _through(Loop(body=body, max_iterations=3, until="outputs.costs < 1.0"), "label")
    assert caught.value.message == (
        "node route: until reads outputs.costs, but cheap gives label, score, cost; did you mean 'cost'?"
    )


def test_transforms_give_what_their_operations_give() -> None:
    """What no operation reads, and what is kept; errors name the step, the operation and the fix."""
    operations = (
        Operation(what=Cast(datatype="FP64"), inputs=("score",), outputs=("wide",)),
        Operation(what=Softmax(axis=-1), inputs=("wide",), outputs=("sure",)),
    )
    nodes = (model("cheap", "text"), step("prep", Transform(operations=operations), {"score": "cheap.score"}))
    found = typed(graph({"text": ""}, nodes, {"y": "prep.sure"}), CATALOG)
    assert found.signature.outputs[0].type == "FP64 (N,)"
    with pytest.raises(InvalidGraph, match="node prep gives no 'wide', only sure"):
        typed(graph({"text": ""}, nodes, {"y": "prep.wide"}), CATALOG)
    kept = step("prep", Transform(operations=operations, keep=("wide",)), {"score": "cheap.score"})
    assert (
        typed(graph({"text": ""}, (nodes[0], kept), {"y": "prep.wide"}), CATALOG).tensors["prep.sure"].type
        == "FP64 (N,)"
    )
    wrong = step("prep", Transform(operations=operations[1:]), {"wide": "cheap.label"})
    with pytest.raises(InvalidGraph, match=r"^node prep: operation softmax of wide \(TEXT \(N,\)\): "):
        typed(graph({"text": ""}, (nodes[0], wrong), {"y": "prep.sure"}), CATALOG)


def test_a_transform_as_a_branch_reads_by_name() -> None:
    """Without bindings it takes what its operations read and do not make themselves."""
    lower = Operation(what=Lower(), inputs=("text",), outputs=("low",))
    upper = Operation(what=Upper(), inputs=("low",), outputs=("label",))
    plain = step("plain", Transform(operations=(lower, upper)))
    assert _through(_fallback(model("cheap"), plain), "label") == {"label": "TEXT (N,)"}
