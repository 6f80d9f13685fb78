"""Tensors on their way, and edges that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import TensorSpec
from graphmesh.graph.flows import Flows, own_size
from graphmesh.graph.spec import Binding, GraphInput, Map, ModelCall, Node, parse_type

if TYPE_CHECKING:
    from graphmesh.graph.sizes import Size, Unknown

PLAIN = Node(name="n", kind=ModelCall(name="m"))
EACH = Node(name="n", kind=Map(target=ModelCall(name="m"), over=("x",)))
CHUNKS = Node(name="n", kind=Map(target=ModelCall(name="m"), over=("x",), batch_size=8))


def _spec(written: str, name: str = "x") -> TensorSpec:
    datatype, shape, text = parse_type(written)
    return TensorSpec(name=name, datatype=datatype, shape=shape, text=text, description="the x")


def _flows(**types: str) -> Flows:
    inputs = []
    for name, written in types.items():
        datatype, shape, text = parse_type(written)
        inputs.append(GraphInput(name=name, datatype=datatype, shape=shape, text=text))
    return Flows(inputs)


def _join(flows: Flows, written: str, *, node: Node = PLAIN, name: str = "x", source: str = "a", keep: int = 0) -> None:
    """Let a tensor flow to an input of a type; ``keep`` is how many axes come before the type's own."""
    spec = _spec(written, name)
    local: dict[str, Unknown] = {}
    shape: list[Size | None] = [None if entry is None else own_size(entry, local) for entry in spec.shape]
    flows.join(node, Binding(name=name, source=source), spec, [None] * keep + shape)


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        (
            "UINT8 (H, W, 3)",
            "FP32 (N, 3, H, W)",
            "edge a -> n.x: UINT8 (H, W, 3) does not fit FP32 (N, 3, H, W): the datatypes differ; convert it",
        ),
        (
            "FP32 (N, 3)",
            "FP32 (3,)",
            (
                "edge a -> n.x: FP32 (N, 3) does not fit FP32 (3,): the numbers of dimensions differ; "
                "to call model m for each item along axis 0, make n a map over x"
            ),
        ),
        (
            "FP32 (3,)",
            "FP32 (N, 3)",
            "edge a -> n.x: FP32 (3,) does not fit FP32 (N, 3): the numbers of dimensions differ; reshape it",
        ),
        (
            "FP32 (N, 4)",
            "FP32 (N, 3)",
            "edge a -> n.x: FP32 (N, 4) does not fit FP32 (N, 3): axis 1 is 4, but must be 3",
        ),
    ],
)
def test_a_misfit_names_edge_types_and_fix(have: str, want: str, expected: str) -> None:
    """The message carries the edge, both types, what differs and what to do."""
    with pytest.raises(InvalidGraph) as caught:
        _join(_flows(a=have), want)
    assert caught.value.message.startswith(expected)


@pytest.mark.parametrize(
    ("node", "name", "keep", "have", "want", "expected"),
    [
        (
            EACH,
            "x",
            1,
            "FP32 (N, 3)",
            "FP32 (N, 3)",
            "for each item: .*to hand over items with axis 0 kept, set batch_size",
        ),
        (EACH, "x", 1, "FP32 (N, 3)", "FP32 (N, M, 3)", "for each item: .*reshape it in a model between them"),
        (
            CHUNKS,
            "x",
            0,
            "FP32 (N, 3)",
            "FP32 (3,)",
            "up to 8 items a call: .*to hand over single items .*set batch_size to 0",
        ),
        (CHUNKS, "y", 0, "FP32 (N, 3)", "FP32 (3,)", r"FP32 \(3,\): .*single items along axis 0, add y to `over`"),
    ],
)
def test_a_misfit_of_a_map_says_how_to_divide(
    node: Node, name: str, *, keep: int, have: str, want: str, expected: str
) -> None:
    """Where another way of dividing would fit, the message says which."""
    with pytest.raises(InvalidGraph, match=expected):
        _join(_flows(a=have), want, node=node, name=name, keep=keep)


def test_unknown_sizes_fit_anything_once() -> None:
    """A named or unknown size becomes the number that its reader needs, and then is that number for all readers."""
    flows = _flows(a="FP32 (N, ?)")
    _join(flows, "FP32 (5, 7)")
    with pytest.raises(InvalidGraph, match=r"edge a -> n.x: FP32 \(5, 7\) does not fit FP32 \(6, \?\): axis 0 is 5"):
        _join(flows, "FP32 (6, ?)")
    assert flows.specs(first=[])["a"].type == "FP32 (5, 7)"


def test_a_contradiction_names_the_edge_that_caused_it() -> None:
    """When a size was made a number by another edge, that edge is in the message."""
    flows = _flows(a="FP32 (N,)", b="FP32 (N,)")
    _join(flows, "FP32 (5,)")
    with pytest.raises(InvalidGraph, match=r"axis 0 is 5, but must be 6 \(5 because of edge a -> n.x\)"):
        _join(flows, "FP32 (6,)", source="b")


def test_an_input_without_a_type_takes_its_first_readers() -> None:
    """The first reader decides; a second that disagrees is told about the first."""
    flows = Flows([GraphInput(name="a", description="mine"), GraphInput(name="b")])
    _join(flows, "FP32 (N, ?, 3)")
    _join(flows, "TEXT ()", source="b")
    specs = flows.specs(first=["a", "b"])
    assert [specs[name].type for name in "ab"] == ["FP32 (N, ?, 3)", "TEXT ()"]
    assert [specs[name].description for name in "ab"] == ["mine", "the x"]
    with pytest.raises(
        InvalidGraph, match=r"FP32 \(N, \?, 3\) \(which edge a -> n.x made it\) does not fit INT64 \(\)"
    ):
        _join(flows, "INT64 ()")


def test_bytes_become_text_when_a_reader_says_so() -> None:
    """Text is a property of BYTES that any reader may add."""
    flows = _flows(a="BYTES (N,)")
    _join(flows, "TEXT (N,)")
    _join(flows, "BYTES (N,)")
    assert flows.specs(first=[])["a"].type == "TEXT (N,)"


def test_an_output_that_a_node_does_not_give_is_refused() -> None:
    """A source names an output that exists; close names are offered."""
    flows = _flows()
    flows.give(PLAIN, _spec("FP32 ()", "boxes"), [])
    with pytest.raises(
        InvalidGraph, match=r"edge n.boxs -> output y: node n gives no 'boxs', but \['boxes'\]; did you mean"
    ):
        flows.end(Binding(name="y", source="n.boxs"))
    flows.end(Binding(name="y", source="n.boxes"))


def test_an_input_that_only_outputs_read_needs_a_type() -> None:
    """Nothing tells the type of an input that passes straight through."""
    with pytest.raises(InvalidGraph, match="graph input 'a': only outputs read it, so its type is unknown"):
        Flows([GraphInput(name="a")]).end(Binding(name="y", source="a"))


def test_different_sizes_of_one_name_are_written_apart() -> None:
    """The sizes named first keep their names; the second that is called N becomes N2, a nameless one stays `?`."""
    flows = _flows(a="FP32 (N, M, 1)")
    flows.give(PLAIN, _spec("FP32 (N, N, ?)", "y"), [own_size(entry, {}) for entry in ("N", "N", None)])
    local: dict[str, Unknown] = {}
    flows.give(EACH, _spec("FP32 (N, M)", "z"), [own_size(entry, local) for entry in ("N", "N")])
    specs = flows.specs(first=["n.z", "a"])
    assert {source: spec.type for source, spec in specs.items()} == {
        "n.z": "FP32 (N, N)",
        "a": "FP32 (N2, M, 1)",
        "n.y": "FP32 (N3, N4, ?)",
    }
    assert specs["n.y"].name == "y"
