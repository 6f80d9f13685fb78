"""Versions that a live graph can work with, and those that are held out of service for it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks import validate
from graphmesh.graph.gate import choose as gate_module
from graphmesh.graph.gate.choices import Gate
from graphmesh.graph.gate.choose import breaks, choose
from graphmesh.graph.gate.search import Found
from graphmesh.graph.spec import Binding, Fallback, Graph, GraphCall, Map, ModelCall, Transform
from graphmesh.graph.transforms.operations import Cast, Operation
from tests.graph.typing_help import graph, model, signed, step, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.gate.choose import Choice
    from graphmesh.graph.spec import Node

DETECT = signed({"image": "UINT8 (H, W, 3)"}, {"boxes": "FP32 (N, 4)"})
DETECT_FLOAT = signed({"image": "FP32 (3, H, W)"}, {"boxes": "FP32 (N, 4)"})
DETECT_ROTATED = signed({"image": "UINT8 (H, W, 3)"}, {"boxes": "FP32 (N, 5)"})
CROP = signed({"boxes": "FP32 (N, 4)"}, {"crops": "UINT8 (N, 48)"})
CROP_ROTATED = signed({"boxes": "FP32 (N, 5)"}, {"crops": "UINT8 (N, 48)"})
CROP_WIDE = signed({"boxes": "FP32 (N, 4)"}, {"crops": "UINT8 (N, 96)"})

OCR = graph(
    {"image": "UINT8 (H, W, 3)"},
    (model("detect", "image"), model("crop", {"boxes": "detect.boxes"})),
    {"crops": "crop.crops"},
)
PROMISE = typed(OCR, {"detect": DETECT, "crop": CROP}).signature
ROTATED = "edge detect.boxes -> crop.boxes: FP32 (N, 5) does not fit FP32 (N, 4): axis 1 is 5, but must be 4"


def _choice(versions: Mapping[str, Mapping[str, Signature]], source: Graph = OCR) -> tuple[dict[str, str], list[str]]:
    """Return the chosen versions, and those that are held with why."""
    choice = choose(source, versions, {"g": PROMISE}.get, {"g": source}.get)
    assert choice.error is None
    return dict(choice.versions), [f"{held.model}@{held.version}: {held.reason}" for held in choice.held]


def test_the_newest_versions_are_chosen_if_they_work() -> None:
    """Versions are numbers, and nothing is held."""
    assert _choice({"detect": {"9": DETECT, "10": DETECT}, "crop": {"1": CROP}}) == ({"detect": "10", "crop": "1"}, [])


def test_a_version_that_breaks_is_held_and_the_old_one_serves() -> None:
    """With the edge that would break, both types and the fix."""
    versions = {"detect": {"1": DETECT, "2": DETECT_ROTATED, "3": DETECT_ROTATED}, "crop": {"1": CROP}}
    assert _choice(versions) == (
        {"detect": "1", "crop": "1"},
        [f"detect@3: {ROTATED}", f"detect@2: {ROTATED}"],
    )
    assert choose(OCR, versions, {"g": PROMISE}.get, {"g": OCR}.get).pins == {"detect": "1"}


def test_two_that_changed_together_are_chosen_together() -> None:
    """What works with what is decided for all models at once; the older ones are then those that would break."""
    versions = {
        "detect": {"1": DETECT, "2": DETECT_ROTATED},
        "crop": {"1": CROP, "2": CROP_ROTATED},
    }
    chosen, held = _choice(versions)
    assert chosen == {"detect": "2", "crop": "2"}
    assert [entry.partition(":")[0] for entry in held] == ["crop@1", "detect@1"]


def test_a_version_that_would_break_callers_is_held() -> None:
    """What the graph itself gives and takes is a promise."""
    chosen, held = _choice({"detect": {"1": DETECT}, "crop": {"1": CROP, "2": CROP_WIDE}})
    assert chosen == {"detect": "1", "crop": "1"}
    assert held == [
        (
            "crop@2: edge crop.crops -> output crops: callers get UINT8 (N, 48), but would get UINT8 (N, 96); convert "
            "it in a transform before the output, or apply the graph anew to change it"
        )
    ]


def test_a_fixed_version_is_checked_alone() -> None:
    """A node that fixes a version is not concerned by others, and never moved."""
    detect = step("detect", ModelCall(name="detect", version="1"), "image")
    fixed = Graph(name="g", inputs=OCR.inputs, nodes=(detect, OCR.nodes[1]), outputs=OCR.outputs)
    versions = {"detect": {"1": DETECT, "2": DETECT_ROTATED}, "crop": {"1": CROP, "2": CROP_ROTATED}}
    chosen, held = _choice(versions, fixed)
    assert chosen == {"crop": "1"}
    assert [entry.partition(":")[0] for entry in held] == ["crop@2"]
    gone = choose(fixed, {"detect": {"2": DETECT}, "crop": {"1": CROP}}, {"g": PROMISE}.get, {"g": fixed}.get)
    assert gone.error is not None
    assert gone.error.message == "node detect: model 'detect' has no version 1; load it, or leave the version out"


def test_nothing_works() -> None:
    """The newest versions and why they do not work; nothing is held, as nothing would serve instead."""
    choice = choose(OCR, {"detect": {"2": DETECT_ROTATED}, "crop": {"1": CROP}}, {"g": PROMISE}.get, {"g": OCR}.get)
    assert (choice.versions, choice.held) == ({"detect": "2", "crop": "1"}, ())
    assert isinstance(choice.error, InvalidGraph)
    assert choice.error.message == ROTATED


def test_versions_in_branches_count() -> None:
    """A branch that would break holds its version too."""
    kind = Fallback(branches=(model("detect"), model("spare")))
    source = graph({"image": ""}, (step("safe", kind, "image"),), {"boxes": "safe.boxes"})
    versions = {"detect": {"1": DETECT}, "spare": {"1": DETECT, "2": DETECT_FLOAT}}
    choice = choose(source, versions, lambda _: None, {"g": source}.get)
    assert choice.versions == {"detect": "1", "spare": "1"}
    assert [held.reason for held in choice.held] == [
        (
            "node safe/spare: edge image -> spare.image: UINT8 (H, W, 3) (which node safe/detect: edge image -> "
            "detect.image made it) does not fit FP32 (3, H, W): the datatypes differ; cast it in a transform between "
            "them"
        )
    ]


def test_a_graph_that_does_not_call_a_model_holds_none_of_its_versions() -> None:
    """What would break one graph is free for another."""
    boxes = (Binding(name="boxes", source="detect.boxes"),)
    alone = Graph(name="alone", inputs=OCR.inputs, nodes=OCR.nodes[:1], outputs=boxes)
    versions = {"detect": {"1": DETECT, "2": DETECT_ROTATED}, "crop": {"1": CROP}}
    assert _choice(versions, alone) == ({"detect": "2"}, [])


def test_the_search_for_versions_ends() -> None:
    """Seven models of three signatures each, none of which fit: the newest, and why they break, in a few passes."""
    kinds = [signed({"x": f"FP32 ({size},)"}, {"x": "FP32 (9,)"}) for size in (2, 3, 4)]
    names, source = _chain(7, "")
    versions = {name: {str(version): kind for version, kind in enumerate(kinds)} for name in names}
    choice, passes = _counted(source, versions)
    assert choice.versions == dict.fromkeys(names, "2")
    assert choice.error is not None
    assert choice.error.message.startswith("edge m0.x -> m1.x: FP32 (9,) does not fit FP32 (4,)")
    assert passes <= 6 * len(names)


def _chain(length: int, takes: str) -> tuple[list[str], Graph]:
    """Return models that each read the one before, and their graph."""
    names = [f"m{index:02}" if length > 10 else f"m{index}" for index in range(length)]
    nodes = tuple(model(name, {"x": f"{before}.x" if before else "x"}) for before, name in pairwise(["", *names]))
    return names, graph({"x": takes}, nodes, {"y": f"{names[-1]}.x"})


def _counted(source: Graph, versions: Mapping[str, Mapping[str, Signature]]) -> tuple[Choice, int]:
    """Return what is chosen, and how many times types went through the graph, or a part of it, for it."""
    with pytest.MonkeyPatch.context() as patch:
        passes = Mock(wraps=validate.infer_types)
        patch.setattr(validate, "infer_types", passes)
        patch.setattr(gate_module, "infer_types", passes)
        return choose(source, versions, lambda _: None, lambda _: None), passes.call_count


SAME = signed({"x": "FP32 (N,)"}, {"x": "FP32 (N,)"})
RENAMED = signed({"x": "FP32 (M,)"}, {"x": "FP32 (M,)"})


@pytest.mark.parametrize("broken", [{1, 7}, {4, 5}, {0, 3, 6, 9, 11}, set(range(12))])
@pytest.mark.parametrize(
    ("takes", "bad"),
    [
        ("FP32 (N,)", signed({"x": "FP32 (M,)"}, {"x": "FP64 (M,)"})),
        ("FP32 (N,)", signed({"z": "FP32 (M,)"}, {"x": "FP32 (M,)"})),
        ("FP32 (4,)", signed({"x": "FP32 (8,)"}, {"x": "FP32 (8,)"})),
    ],
)
def test_several_models_that_break_on_their_own(takes: str, bad: Signature, broken: set[int]) -> None:
    """Each one's old version is found, however many they are, in a few passes for each version there is."""
    names, source = _chain(13, takes)
    end = names.pop()
    versions = {name: {"1": SAME, "2": bad if index in broken else RENAMED} for index, name in enumerate(names)}
    choice, passes = _counted(source, {**versions, end: {"1": SAME}})
    assert choice.error is None
    assert {name: choice.versions[name] for name in names} == {
        name: "1" if index in broken else "2" for index, name in enumerate(names)
    }
    assert [held.model for held in choice.held] == [names[index] for index in sorted(broken)]
    assert passes <= 4 * 2 * len(names)


def test_a_graph_that_changes_breaks_those_that_call_it() -> None:
    """The same question is asked of a graph's callers when it is applied."""
    page = Graph(
        name="page",
        inputs=OCR.inputs,
        nodes=(step("ocr", GraphCall(name="g"), "image"), model("read", {"crops": "ocr.crops"})),
        outputs=(Binding(name="text", source="read.text"),),
    )
    read = signed({"crops": "UINT8 (N, 48)"}, {"text": "TEXT (N,)"})
    catalog = {"g": PROMISE, "read": read}
    graphs = {"g": OCR, "page": page}
    assert breaks(page, {}, catalog.get, graphs.get) is None
    changed = signed({"image": "UINT8 (H, W, 3)"}, {"crops": "UINT8 (N, 96)"})
    error = breaks(page, {"g": changed}, catalog.get, graphs.get)
    assert error is not None
    assert error.message == (
        "edge ocr.crops -> read.crops: UINT8 (N, 96) does not fit UINT8 (N, 48): axis 1 is 96, but must be 48"
    )


_TYPES = st.sampled_from([*["FP32 (N,)"] * 6, "FP32 (M,)", "FP32 (3,)", "FP32 (4,)", "FP64 (N,)", "FP32 (N, N)"])
_SIGNATURES = st.builds(
    lambda x, y, other, streaming: signed({"x": x}, {"y": y, **other}, streaming=streaming),
    _TYPES,
    _TYPES,
    st.sampled_from([{}, {}, {}, {"z": "FP32 (N,)"}]),
    st.sampled_from([False, False, False, False, True]),
)


@st.composite
def _meshes(draw: st.DrawFn) -> tuple[Graph, dict[str, dict[str, Signature]], Signature | None]:
    """Return a graph of up to five steps, versions of its models, and maybe a promise."""
    nodes: list[Node] = []
    for name in "abcd":
        before = ["x", *(f"{node.name}.y" for node in nodes)]
        nodes.append(model(name, {"x": draw(st.sampled_from(before))}))
        if name == "b":
            cast = Operation(what=Cast(datatype="FP32"), inputs=("x",), outputs=("y",))
            kind = Transform(operations=(cast,))
            nodes.append(step("t", kind, {"x": draw(st.sampled_from(["a.y", "b.y"]))}))
    before = ["x", *(f"{node.name}.y" for node in nodes)]
    sure = (
        Fallback(branches=(model("b"), model("d")))
        if draw(st.booleans())
        else Map(target=ModelCall(name="c"), over=("x",))
    )
    nodes.append(step("n", sure, {"x": draw(st.sampled_from(before))}))
    read = {binding.node for node in nodes for binding in node.inputs}
    ends = [f"{node.name}.y" for node in nodes if node.name not in read]
    source = graph(
        {"x": draw(st.sampled_from(["", "FP32 (N,)", "FP32 (4,)"]))},
        tuple(nodes),
        dict(zip("pqrst", ends, strict=False)),
    )
    versions = {
        name: dict(zip("123", draw(st.lists(_SIGNATURES, min_size=1, max_size=3)), strict=False)) for name in "abcd"
    }
    promised = None
    if draw(st.booleans()):
        picks = {name: draw(st.sampled_from(list(found.values()))) for name, found in versions.items()}
        try:
            promised = typed(source, picks).signature
        except InvalidGraph:
            promised = None
    return source, versions, promised


@settings(max_examples=400, deadline=None)
@given(_meshes())
def test_it_is_the_best_set_of_all(mesh: tuple[Graph, dict[str, dict[str, Signature]], Signature | None]) -> None:
    """What is chosen works and has the fewest steps back; an error is one only if no set at all works."""
    source, versions, promised = mesh
    known = {} if promised is None else {"g": promised}
    options: list[list[tuple[str, Signature]]] = []
    for found in versions.values():
        distinct = {found[version].digest: (version, found[version]) for version in sorted(found)}
        options.append(sorted(distinct.values(), reverse=True, key=lambda one: one[0]))
    best = None
    for picks in sorted(product(*(range(len(found)) for found in options)), key=lambda picks: (sum(picks), picks)):
        chosen = {name: options[at][index] for at, (name, index) in enumerate(zip(versions, picks, strict=True))}
        if breaks(source, {name: one for name, (_, one) in chosen.items()}, known.get, lambda _: None) is None:
            best = {name: version for name, (version, _) in chosen.items()}
            break
    choice = choose(source, versions, known.get, lambda _: None)
    event(f"works {best is not None}, newest {best is not None and sum(picks) == 0}")
    assert (choice.error is None) is (best is not None)
    if best is not None:
        assert choice.versions == best


def test_a_graph_inside_that_changes_its_signature_is_noticed() -> None:
    """A choice depends on the graphs that the graph calls, too."""
    page = Graph(
        name="page",
        inputs=OCR.inputs,
        nodes=(step("ocr", GraphCall(name="g"), "image"), model("crop", {"boxes": "ocr.boxes"})),
        outputs=(Binding(name="crops", source="crop.crops"),),
    )
    gate = Gate()
    for inside, version in ((DETECT, "1"), (DETECT_ROTATED, "2"), (DETECT, "1")):
        signatures = {"g": inside}
        choice = gate.choose(
            page, {"crop": {"1": CROP, "2": CROP_ROTATED}}, signatures.get, {"g": OCR, "page": page}.get, revision=1
        )
        assert choice.versions == {"crop": version}


class _Counted:
    """The graph itself, and how often a choice asked for it."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, name: str) -> Graph | None:
        self.asked += 1
        return OCR if name == "g" else None


def test_a_choice_is_made_once_for_what_does_not_change() -> None:
    """A signature, a version that comes or goes, a new revision: only these make it anew."""
    gate, graphs = Gate(), _Counted()
    versions = {"detect": {"1": DETECT}, "crop": {"1": CROP}, "other": {"1": CROP_WIDE}}

    def made(versions: Mapping[str, Mapping[str, Signature]], *, revision: int = 1) -> bool:
        before = graphs.asked
        gate.choose(OCR, versions, {"g": PROMISE}.get, graphs.get, revision=revision)
        return graphs.asked > before

    assert made(versions)
    assert not made(versions)
    assert not made({**versions, "other": {"2": DETECT}})
    assert made({**versions, "detect": {"1": DETECT, "2": DETECT_ROTATED}})
    assert made({**versions, "detect": {"1": DETECT, "2": DETECT}})
    assert not made(versions)
    assert made(versions, revision=2)
    assert not made(versions)
    gate.forget("g")
    gate.forget("g")
    assert made(versions, revision=2)


def test_only_a_few_choices_are_remembered() -> None:
    """Those of the same graph that were asked for last; a graph that was deleted and made again is another one."""
    gate, graphs = Gate(), _Counted()

    def made(revision: int, source: Graph = OCR) -> bool:
        before = graphs.asked
        versions = {"detect": {"1": DETECT}, "crop": {"1": CROP}}
        gate.choose(source, versions, {"g": PROMISE}.get, graphs.get, revision=revision)
        return graphs.asked > before

    assert [made(revision) for revision in range(1, 9)] == [True] * 8
    assert not made(1)
    assert made(9)
    assert [made(1), made(2)] == [False, True]
    assert made(1, replace(OCR, nodes=(replace(OCR.nodes[0], timeout_s=1.0), OCR.nodes[1])))


def test_what_was_chosen_is_kept_when_the_search_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it still works; else those that are as far back for all models; else the newest, with what breaks."""
    versions = {"detect": {"1": DETECT, "2": DETECT_ROTATED}, "crop": {"1": CROP}}
    last = choose(OCR, versions, {"g": PROMISE}.get, {"g": OCR}.get)
    monkeypatch.setattr(gate_module, "search", lambda *_: Found(None, gave_up=True))

    def chosen(versions: Mapping[str, Mapping[str, Signature]], last: Choice | None) -> Choice:
        return choose(OCR, versions, {"g": PROMISE}.get, {"g": OCR}.get, last=last)

    kept = chosen({**versions, "detect": {**versions["detect"], "3": DETECT_FLOAT}}, last)
    assert (kept.versions, kept.error) == ({"detect": "1", "crop": "1"}, None)
    assert [held.version for held in kept.held] == ["3", "2"]
    assert chosen(versions, None).versions == {"detect": "1", "crop": "1"}, "one back, and the only one"
    lost = chosen({"detect": {"2": DETECT_ROTATED, "3": DETECT_FLOAT}, "crop": {"2": CROP}}, last)
    assert lost.error is not None
    assert lost.versions == {"detect": "3", "crop": "2"}
    assert lost.error.message.endswith(
        "too many do not to find out which; unload versions that are not needed, or fix the versions in the graph"
    )


def test_a_model_that_is_gone_for_a_while_changes_no_other_choice() -> None:
    """What is held stays held while another model of the graph has no replica; a version that is gone is not chosen."""
    gate = Gate()
    versions = {"detect": {"1": DETECT, "2": DETECT_ROTATED}, "crop": {"1": CROP}}

    def chosen(versions: Mapping[str, Mapping[str, Signature]]) -> tuple[Mapping[str, str], int, bool]:
        choice = gate.choose(OCR, versions, {"g": PROMISE}.get, {"g": OCR}.get, revision=1)
        return choice.versions, len(choice.held), choice.error is None

    assert chosen(versions) == ({"detect": "1", "crop": "1"}, 1, True)
    assert chosen({"detect": versions["detect"]}) == ({"detect": "1", "crop": "1"}, 1, False)
    assert chosen({"detect": {"2": DETECT_ROTATED}}) == ({"detect": "2"}, 0, False)
    assert chosen(versions) == ({"detect": "1", "crop": "1"}, 1, True)
