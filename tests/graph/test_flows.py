"""Tensors on their way, and edges that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import TensorSpec
from graphmesh.graph.checks.flows import Clash, Flow, Place, declared, join, misfit, own_size, read
from graphmesh.graph.spec import Binding, Cache, GraphInput, Map, ModelCall, Node, parse_type

if TYPE_CHECKING:
    from graphmesh.graph.checks.sizes import Size, Unknown

PLAIN = Node(name="n", kind=ModelCall(name="m"))
EACH = Node(name="n", kind=Map(target=ModelCall(name="m"), over=("x",)))
CHUNKS = Node(name="n", kind=Map(target=ModelCall(name="m"), over=("x",), batch_size=8))


def _spec(written: str, name: str = "x") -> TensorSpec:
    datatype, shape, text = parse_type(written)
    return TensorSpec(name=name, datatype=datatype, shape=shape, text=text, description="the x")


def _flows(**types: str) -> dict[str, Flow]:
    inputs = []
    for name, written in types.items():
        datatype, shape, text = parse_type(written)
        inputs.append(GraphInput(name=name, datatype=datatype, shape=shape, text=text))
    return declared(inputs)


def _join(flow: Flow, written: str, *, node: Node = PLAIN, name: str = "x", source: str = "a", keep: int = 0) -> None:
    """Let a tensor flow to an input of a type; ``keep`` is how many axes come before the type's own."""
    spec = _spec(written, name)
    local: dict[str, Unknown] = {}
    shape: list[Size | None] = [None if entry is None else own_size(entry, local) for entry in spec.shape]
    join(flow, Place(node, node.name), Binding(name=name, source=source), spec, [None] * keep + shape)


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        (
            "UINT8 (H, W, 3)",
            "FP32 (N, 3, H, W)",
            (
                "edge a -> n.x: UINT8 (H, W, 3) does not fit FP32 (N, 3, H, W): the datatypes differ; "
                "cast it in a transform between them"
            ),
        ),
        (
            "TEXT (N,)",
            "FP32 (N,)",
            (
                "edge a -> n.x: TEXT (N,) does not fit FP32 (N,): the datatypes differ; "
                "convert it in a transform between them"
            ),
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
            (
                "edge a -> n.x: FP32 (3,) does not fit FP32 (N, 3): the numbers of dimensions differ; "
                "reshape it in a transform between them"
            ),
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
        _join(_flows(a=have)["a"], want)
    assert caught.value.message == expected


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
        (EACH, "x", 1, "FP32 (N, 3)", "FP32 (N, M, 3)", "for each item: .*reshape it in a transform between them"),
        (
            CHUNKS,
            "x",
            0,
            "FP32 (N, 3)",
            "FP32 (3,)",
            "up to 8 items a call: .*to hand over single items .*set batch_size to 0",
        ),
        (EACH, "x", 1, "TEXT ()", "TEXT ()", r"there is no axis 0 to map over; give a: TEXT \(\?,\)$"),
        (EACH, "x", 1, "FP32 ()", "FP32 (3,)", r"there is no axis 0 to map over; give a: FP32 \(\?, 3\)$"),
        (CHUNKS, "x", 0, "TEXT ()", "TEXT (N,)", r"there is no axis 0 to map over; give a: TEXT \(N,\)$"),
        (CHUNKS, "y", 0, "FP32 (N, 3)", "FP32 (3,)", r"FP32 \(3,\): .*single items along axis 0, add y to `over`"),
    ],
)
def test_a_misfit_of_a_map_says_how_to_divide(
    node: Node, name: str, *, keep: int, have: str, want: str, expected: str
) -> None:
    """Where another way of dividing would fit, the message says which."""
    with pytest.raises(InvalidGraph, match=expected):
        _join(_flows(a=have)["a"], want, node=node, name=name, keep=keep)


def test_unknown_sizes_fit_anything_once() -> None:
    """A named or unknown size becomes the number that its reader needs, and then is that number for all readers."""
    flow = _flows(a="FP32 (N, ?)")["a"]
    _join(flow, "FP32 (5, 7)")
    with pytest.raises(InvalidGraph, match=r"edge a -> n.x: FP32 \(5, 7\) does not fit FP32 \(6, \?\): axis 0 is 5"):
        _join(flow, "FP32 (6, ?)")
    assert flow.type == "FP32 (5, 7)"


def test_a_contradiction_names_the_edge_that_caused_it() -> None:
    """When a size was made a number by another edge, that edge is in the message."""
    flows = _flows(a="FP32 (N,)", b="FP32 (N,)")
    _join(flows["a"], "FP32 (5,)")
    with pytest.raises(InvalidGraph, match=r"axis 0 is 5, but must be 6 \(5 because of edge a -> n.x\)"):
        _join(flows["b"], "FP32 (6,)", source="b")


def test_a_tensor_without_a_type_takes_its_first_readers() -> None:
    """The first reader decides; a second that disagrees is told about the first."""
    flows = declared([GraphInput(name="a", description="mine"), GraphInput(name="b")])
    _join(flows["a"], "FP32 (N, ?, 3)")
    _join(flows["b"], "TEXT ()", source="b")
    assert [flow.type for flow in flows.values()] == ["FP32 (N, ?, 3)", "TEXT ()"]
    assert [flow.description for flow in flows.values()] == ["mine", "the x"]
    with pytest.raises(
        InvalidGraph, match=r"FP32 \(N, \?, 3\) \(which edge a -> n.x made it\) does not fit INT64 \(\)"
    ):
        _join(flows["a"], "INT64 ()")


def test_bytes_become_text_when_a_reader_says_so() -> None:
    """Text is a property of BYTES that any reader may add."""
    flow = _flows(a="BYTES (N,)")["a"]
    _join(flow, "TEXT (N,)")
    _join(flow, "BYTES (N,)")
    assert flow.type == "TEXT (N,)"


def test_what_is_read_must_be_there() -> None:
    """A source names an output that exists; close names are offered, a clash is told."""
    flow = Flow("FP32", [], text=False)
    boxs = Binding(name="y", source="n.boxs")
    with pytest.raises(InvalidGraph) as caught:
        read({"n.boxes": flow}, boxs, "edge n.boxs -> output y")
    assert caught.value.message == (
        "edge n.boxs -> output y: node n gives no 'boxs', only boxes; did you mean 'boxes'?"
    )
    with pytest.raises(InvalidGraph, match=r"edge n.boxs -> output y: they differ"):
        read({"n.boxs": Clash("they differ")}, boxs, "edge n.boxs -> output y")
    assert read({"n.boxs": flow}, boxs, "edge") is flow


def test_places_are_paths() -> None:
    """A branch is named by its step and itself, in errors of edges too."""
    outer = Place(Node(name="route", kind=Cache(body=PLAIN)), "route")
    inner = outer.inside(PLAIN)
    binding = Binding(name="x", source="text")
    assert (outer.within, inner.within, inner.path) == ("", "route", "route/n")
    assert outer.edge(binding) == "edge text -> route.x"
    assert inner.edge(binding) == "node route/n: edge text -> n.x"
    assert inner.wrong("no").message == "node route/n: no"


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("FP32 (N,)", "FP64 (N,)", "the datatypes differ"),
        ("FP32 (N,)", "FP32 ()", "the numbers of dimensions differ"),
        ("FP32 (N, 3)", "FP32 (5, 4)", "axis 1 is 3, but must be 4"),
        ("FP32 (N, 3)", "FP32 (5, 3)", ""),
    ],
)
def test_two_flows_become_one_type(left: str, right: str, expected: str) -> None:
    """Where they can be; else why not."""
    have, want = _flows(a=left)["a"], _flows(a=right)["a"]
    assert misfit(have, want, edge="here") == expected
    assert expected or have.type == want.type
