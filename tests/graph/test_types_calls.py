"""What calls take and give: models, and maps of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.calls import MapCalled, called, check_bound
from graphmesh.graph.checks.flows import Place, join
from graphmesh.graph.checks.naming import Names
from graphmesh.graph.checks.sizes import resolve
from graphmesh.graph.spec import Binding, Map, ModelCall, Node
from tests.graph.typing_help import graph_inputs, signed

if TYPE_CHECKING:
    from graphmesh.core.signature import Signature


def _through(
    signature: Signature, types: dict[str, str], *, over: tuple[str, ...] = (), batch_size: int = 0
) -> tuple[dict[str, str], object]:
    """Let graph inputs flow into one node's inputs of the same names; return its outputs' types and its length."""
    flows = graph_inputs(types)
    kind = ModelCall(name="m")
    node = Node(
        name="n",
        kind=Map(target=kind, over=over, batch_size=batch_size) if over else kind,
        inputs=tuple(Binding(name=name, source=name) for name in types),
    )
    place = Place(node, "n")
    check_bound(place, node.inputs, signature)
    through = called(place, signature)
    for binding in node.inputs:
        spec = signature.input(binding.name)
        join(flows[binding.source], place, binding, spec, through.takes(spec))
    found = {name: spec.type for name, spec in Names().specs(through.gives()).items()}
    return found, resolve(through.length) if isinstance(through, MapCalled) else None


def test_sizes_flow_through_names() -> None:
    """What an input's name turns out to be, an output of the same name is."""
    signature = signed({"x": "FP32 (N, D)", "y": "FP32 (D,)"}, {"z": "FP32 (N, 1)", "w": "FP32 (D, K, ?)"})
    assert _through(signature, {"x": "FP32 (5, ?)", "y": "FP32 (7,)"}) == (
        {"z": "FP32 (5, 1)", "w": "FP32 (7, K, ?)"},
        None,
    )


def test_one_name_must_be_one_size() -> None:
    """Inputs that share a name cannot be of different sizes."""
    signature = signed({"x": "FP32 (N,)", "y": "FP32 (N,)"}, {})
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
            "edge xx -> n.xx: model m has no input 'xx', only x; did you mean 'x'?",
        ),
    ],
)
def test_every_input_is_bound_and_no_other(types: dict[str, str], expected: str) -> None:
    """A missing and an unknown input are both refused."""
    with pytest.raises(InvalidGraph) as caught:
        _through(signed({"x": "FP32 (N,)"}, {}), types)
    assert caught.value.message == expected


def test_a_map_over_items_takes_axis_0_away_and_gives_it_back() -> None:
    """Single items have one axis less; stacked answers one more; other inputs stay whole."""
    signature = signed({"crop": "UINT8 (H, W, 3)", "page": "UINT8 (P, 3)"}, {"text": "TEXT ()", "p": "FP32 (H, K)"})
    types = {"crop": "UINT8 (9, 48, ?, 3)", "page": "UINT8 (100, 3)"}
    assert _through(signature, types, over=("crop",)) == ({"text": "TEXT (9,)", "p": "FP32 (9, 48, K)"}, 9)


def test_inputs_that_are_divided_have_one_length() -> None:
    """All inputs in `over` have equally many items; known numbers that differ are refused."""
    signature = signed({"x": "FP32 ()", "y": "FP32 ()"}, {"z": "FP32 ()"})
    with pytest.raises(InvalidGraph, match="axis 0 is 4, but must be 3"):
        _through(signature, {"x": "FP32 (3,)", "y": "FP32 (4,)"}, over=("x", "y"))


def test_a_map_over_chunks_keeps_axis_0() -> None:
    """Answers with as many rows as their chunk have as many as there are items; others have as many as they have."""
    signature = signed(
        {"x": "FP32 (N, D)"}, {"y": "FP32 (N, D)", "z": "FP32 (K, D)", "w": "FP32 (?,)", "v": "FP32 (2,)"}
    )
    assert _through(signature, {"x": "FP32 (9, 4)"}, over=("x",), batch_size=4) == (
        {"y": "FP32 (9, 4)", "z": "FP32 (K, 4)", "w": "FP32 (?,)", "v": "FP32 (?,)"},
        9,
    )


def test_a_model_of_a_fixed_batch_takes_chunks_of_that_size() -> None:
    """A fixed axis 0 must be the batch size; its rows add up to the number of items."""
    signature = signed({"x": "FP32 (1, D)"}, {"y": "FP32 (1,)"})
    assert _through(signature, {"x": "FP32 (M, 4)"}, over=("x",), batch_size=1)[0] == {"y": "FP32 (M,)"}
    with pytest.raises(
        InvalidGraph, match=r"up to 8 items a call, but model m takes exactly 1: x: .*set batch_size to 1"
    ):
        _through(signature, {"x": "FP32 (M, 4)"}, over=("x",), batch_size=8)


def test_scalars_cannot_be_joined_along_axis_0() -> None:
    """Chunks need an axis 0 on the way in and on the way out."""
    with pytest.raises(
        InvalidGraph, match=r"hands over items with axis 0 kept, but model m takes x: FP32 \(\); set batch_"
    ):
        _through(signed({"x": "FP32 ()"}, {}), {"x": "FP32 (M,)"}, over=("x",), batch_size=2)
    with pytest.raises(InvalidGraph, match=r"joined along axis 0, but it gives y: FP32 \(\); set batch_size to 0"):
        _through(signed({"x": "FP32 (N,)"}, {"y": "FP32 ()"}), {"x": "FP32 (M,)"}, over=("x",), batch_size=2)


@pytest.mark.parametrize(("batch_size", "takes"), [(0, "TEXT ()"), (4, "TEXT (M,)")])
def test_a_scalar_has_nothing_to_map_over(batch_size: int, takes: str) -> None:
    """Whatever the model takes, the hint is the tensor that the map needs, which fits then."""
    signature = signed({"x": takes}, {})
    with pytest.raises(InvalidGraph, match=r"there is no axis 0 to map over; give x: TEXT \(N,\)$"):
        _through(signature, {"x": "TEXT ()"}, over=("x",), batch_size=batch_size)
    assert _through(signature, {"x": "TEXT (N,)"}, over=("x",), batch_size=batch_size)
