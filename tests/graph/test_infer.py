"""Types through one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.flows import Flows
from graphmesh.graph.infer import infer_node
from graphmesh.graph.sizes import resolve
from graphmesh.graph.spec import Binding, GraphInput, Map, ModelCall, Node, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]


def _through(
    signature: Signature, types: dict[str, str], *, over: tuple[str, ...] = (), batch_size: int = 0
) -> tuple[dict[str, str], object]:
    """Infer one node that reads graph inputs of the same names; return its outputs' types and its length."""
    specs = [(name, *parse_type(written)) for name, written in types.items()]
    flows = Flows([GraphInput(name=name, datatype=kind, shape=shape, text=text) for name, kind, shape, text in specs])
    kind = ModelCall(name="m")
    node = Node(
        name="n",
        kind=Map(target=kind, over=over, batch_size=batch_size) if over else kind,
        inputs=tuple(Binding(name=name, source=name) for name in types),
    )
    length = infer_node(flows, node, signature)
    found = {source: spec.type for source, spec in flows.specs(first=[]).items() if "." in source}
    return found, None if length is None else resolve(length)


def test_sizes_flow_through_names(sign: Sign) -> None:
    """What an input's name turns out to be, an output of the same name is."""
    signature = sign({"x": "FP32 (N, D)", "y": "FP32 (D,)"}, {"z": "FP32 (N, 1)", "w": "FP32 (D, K, ?)"})
    assert _through(signature, {"x": "FP32 (5, ?)", "y": "FP32 (7,)"}) == (
        {"n.z": "FP32 (5, 1)", "n.w": "FP32 (7, K, ?)"},
        None,
    )


def test_one_name_must_be_one_size(sign: Sign) -> None:
    """Inputs that share a name cannot be of different sizes."""
    signature = sign({"x": "FP32 (N,)", "y": "FP32 (N,)"}, {})
    with pytest.raises(
        InvalidGraph, match=r"edge y -> n.y: FP32 \(6,\) .* axis 0 is 6, but must be 5 \(5 because of edge x"
    ):
        _through(signature, {"x": "FP32 (5,)", "y": "FP32 (6,)"})


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ({}, "node n: input x: FP32 (N,) of model m is not bound; say where it comes from"),
        (
            {"x": "FP32 (N,)", "xx": "FP32 ()"},
            "edge xx -> n.xx: model m has no input 'xx', but ['x']; did you mean 'x'?",
        ),
    ],
)
def test_every_input_is_bound_and_no_other(sign: Sign, types: dict[str, str], expected: str) -> None:
    """A missing and an unknown input are both refused."""
    with pytest.raises(InvalidGraph) as caught:
        _through(sign({"x": "FP32 (N,)"}, {}), types)
    assert caught.value.message == expected


def test_a_map_over_items_takes_axis_0_away_and_gives_it_back(sign: Sign) -> None:
    """Single items have one axis less; stacked answers one more; other inputs stay whole."""
    signature = sign({"crop": "UINT8 (H, W, 3)", "page": "UINT8 (P, 3)"}, {"text": "TEXT ()", "p": "FP32 (H, K)"})
    types = {"crop": "UINT8 (9, 48, ?, 3)", "page": "UINT8 (100, 3)"}
    assert _through(signature, types, over=("crop",)) == ({"n.text": "TEXT (9,)", "n.p": "FP32 (9, 48, K)"}, 9)


def test_inputs_that_are_divided_have_one_length(sign: Sign) -> None:
    """All inputs in `over` have equally many items; known numbers that differ are refused."""
    signature = sign({"x": "FP32 ()", "y": "FP32 ()"}, {"z": "FP32 ()"})
    with pytest.raises(InvalidGraph, match="axis 0 is 4, but must be 3"):
        _through(signature, {"x": "FP32 (3,)", "y": "FP32 (4,)"}, over=("x", "y"))


def test_a_map_over_chunks_keeps_axis_0(sign: Sign) -> None:
    """Answers with as many rows as their chunk have as many as there are items; others have as many as they have."""
    signature = sign({"x": "FP32 (N, D)"}, {"y": "FP32 (N, D)", "z": "FP32 (K, D)", "w": "FP32 (?,)", "v": "FP32 (2,)"})
    assert _through(signature, {"x": "FP32 (9, 4)"}, over=("x",), batch_size=4) == (
        {"n.y": "FP32 (9, 4)", "n.z": "FP32 (K, 4)", "n.w": "FP32 (?,)", "n.v": "FP32 (?,)"},
        9,
    )


def test_a_model_of_a_fixed_batch_takes_chunks_of_that_size(sign: Sign) -> None:
    """A fixed axis 0 must be the batch size; its rows add up to the number of items."""
    signature = sign({"x": "FP32 (1, D)"}, {"y": "FP32 (1,)"})
    assert _through(signature, {"x": "FP32 (M, 4)"}, over=("x",), batch_size=1) == ({"n.y": "FP32 (M,)"}, _Any())
    with pytest.raises(
        InvalidGraph, match=r"up to 8 items a call, but model m takes exactly 1: x: .*set batch_size to 1"
    ):
        _through(signature, {"x": "FP32 (M, 4)"}, over=("x",), batch_size=8)


class _Any:
    """Equal to everything: a length that is not known."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


def test_scalars_cannot_be_joined_along_axis_0(sign: Sign) -> None:
    """Chunks need an axis 0 on the way in and on the way out."""
    with pytest.raises(
        InvalidGraph, match=r"hands over items with axis 0 kept, but model m takes x: FP32 \(\); set batch_"
    ):
        _through(sign({"x": "FP32 ()"}, {}), {"x": "FP32 (M,)"}, over=("x",), batch_size=2)
    with pytest.raises(InvalidGraph, match=r"joined along axis 0, but it gives y: FP32 \(\); set batch_size to 0"):
        _through(sign({"x": "FP32 (N,)"}, {"y": "FP32 ()"}), {"x": "FP32 (M,)"}, over=("x",), batch_size=2)
