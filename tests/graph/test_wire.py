"""Graphs as messages and bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.wire import graph_from_bytes, graph_from_wire, graph_to_bytes, graph_to_wire
from graphmesh.graph.forms.wire_read import branches_of
from graphmesh.graph.limits import MAX_BRANCH_DEPTH, MAX_DOCUMENT_BYTES, MAX_NODES, MAX_TTL_S
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
from graphmesh.v1 import graph_pb2, signature_pb2
from tests.graph.strategies import kinds

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind

SMALL = Node(name="small", kind=ModelCall(name="m"))
LARGE = Node(
    name="large",
    kind=GraphCall(name="h"),
    inputs=(Binding(name="x", source="y"),),
    outputs=(Binding(name="p", source="q"),),
    timeout_s=0.2,
)
KINDS: tuple[Kind, ...] = (
    Switch(cases=(Case(when="inputs.x > 1", then=SMALL), Case(when="true", then=LARGE)), default=SMALL),
    Split(shares=(Share(weight=95, then=SMALL), Share(weight=5, then=LARGE)), key="headers['x-user']"),
    Parallel(branches=(SMALL, LARGE), join=Join.QUORUM, quorum=2, aggregate=Aggregate.MEAN),
    Fallback(branches=(SMALL, LARGE), on=("UNAVAILABLE", "INTERNAL")),
    Cascade(branches=(SMALL, LARGE), confidence="score", threshold=0.9),
    Race(branches=(SMALL,), delay_s=0.05),
    Loop(body=LARGE, until="iteration == 3", max_iterations=20, carry=(Binding(name="y", source="p"),)),
    Cache(body=SMALL, ttl_s=600.5, max_entries=7, max_bytes=2**40),
    Transform(
        operations=(Operation(what=Cast(datatype="FP32"), inputs=("x",), outputs=("y",)),),
        keep=("y",),
    ),
)

GRAPH = Graph(
    name="g",
    description="all there is",
    inputs=(
        GraphInput(name="plain"),
        GraphInput(name="full", datatype="BYTES", shape=(3, "N", None), text=True, description="words"),
    ),
    nodes=(
        Node(name="a", kind=ModelCall(name="m", version="7"), inputs=(Binding(name="x", source="plain"),)),
        Node(name="b", kind=GraphCall(name="h"), inputs=(Binding(name="x", source="a.y"),)),
        Node(
            name="c",
            kind=Map(target=ModelCall(name="m"), over=("x", "z"), batch_size=8, max_concurrency=2),
            inputs=(Binding(name="x", source="b.y"), Binding(name="z", source="full")),
        ),
        Node(name="d", kind=Map(target=GraphCall(name="h"), over=("x",)), inputs=(Binding(name="x", source="c.y"),)),
        *(Node(name=f"k{index}", kind=kind, timeout_s=1.5) for index, kind in enumerate(KINDS)),
    ),
    outputs=(Binding(name="out", source="d.y"),),
)


def test_a_graph_survives_the_wire() -> None:
    """Every field comes back, and equal graphs give equal bytes."""
    assert graph_from_bytes(graph_to_bytes(GRAPH)) == GRAPH
    assert graph_to_bytes(graph_from_bytes(graph_to_bytes(GRAPH))) == graph_to_bytes(GRAPH)


def test_every_field_of_the_messages_is_carried() -> None:
    """The round trip above sets every field there is: a new field in the .proto must be carried too."""

    def paths(message: object, prefix: str) -> set[str]:
        found = set()
        for field, value in message.ListFields():  # type: ignore[attr-defined]
            found.add(f"{prefix}.{field.name}")
            for item in value if field.is_repeated else [value]:
                if field.message_type is not None:
                    found |= paths(item, field.message_type.name)
        return found

    messages = [graph_pb2.Graph.DESCRIPTOR]
    for message in messages:  # grows while it is walked
        for field in message.fields:
            if field.message_type is not None and field.message_type not in messages:
                messages.append(field.message_type)
    declared = {f"{message.name}.{field.name}" for message in messages for field in message.fields}
    operations = {name for name in declared if "." in name and _is_operation(name, messages)}
    assert paths(graph_to_wire(GRAPH), "Graph") >= declared - operations


def _is_operation(field: str, messages: list[Any]) -> bool:
    """Whether a field is one of an operation, which has tests of its own."""
    (message,) = (message for message in messages if message.name == field.partition(".")[0])
    return bool(message.file.name.endswith("/operation.proto"))


def test_too_many_bytes_are_refused_before_they_are_parsed() -> None:
    """A document above the limit costs nothing; a message above it is measured, not converted."""
    with pytest.raises(InvalidGraph, match="at most 524288 bytes, got 524289"):
        graph_from_bytes(b"\xff" * (MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(InvalidGraph, match="at most 524288 bytes"):
        graph_from_wire(graph_pb2.Graph(description="x" * MAX_DOCUMENT_BYTES))


def test_too_many_nodes_are_refused() -> None:
    """Small nodes are counted too, before any of them is converted."""
    nodes = [graph_pb2.Node() for _ in range(MAX_NODES + 1)]
    with pytest.raises(InvalidGraph, match="at most 1000 nodes, branches counted, got 1001"):
        graph_from_wire(graph_pb2.Graph(nodes=nodes))


def test_a_million_nodes_are_refused_at_once() -> None:
    """A message of a million nodes is refused in far less than a second."""
    message = graph_pb2.Graph()
    for _ in range(1_000_000):
        message.nodes.add()
    start = time.perf_counter()
    with pytest.raises(InvalidGraph):
        graph_from_wire(message)
    assert time.perf_counter() - start < 1


def test_bytes_that_are_no_message_are_refused() -> None:
    """Garbage is a bad graph, not a crash."""
    with pytest.raises(InvalidGraph, match="do not parse"):
        graph_from_bytes(b"\xff\xff\xff")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            graph_pb2.Node(name="n"),
            "node 'n': must say what it does, one of model, graph, map, switch, split, parallel, fallback, cascade, ra",
        ),
        (graph_pb2.Node(name="n", map={"over": ["x"]}), "node 'n': `map` must say what it calls"),
        (graph_pb2.Node(name="n", loop={"body": {"name": "b"}}), "node 'n/b': must say what it does"),
        (graph_pb2.Node(name="n", cache={}), "node 'n/number 1': must say what it does"),
        (graph_pb2.Node(name="n", switch={"cases": [{"when": "true"}]}), "node 'n/number 1': must say what it does"),
        (graph_pb2.Node(name="n", switch={"cases": [], "default": {}}), "node 'n/number 1': must say what it does"),
        (graph_pb2.Node(name="n", fallback={"branches": [{"model": {}}, {}]}), "node 'n/number 2': must say what it"),
        (graph_pb2.Node(timeout={"nanos": -1}), "node 'number 1': a duration's nanos must be from 0 to 999999999"),
        (graph_pb2.Node(name="n", transform={"operations": [{"cast": {}}, {}]}), "node 'n': operation 2: "),
    ],
)
def test_a_node_without_a_kind_is_refused(message: graph_pb2.Node, expected: str) -> None:
    """A node must say what it does, and a map what it calls; kinds of a newer version read like none."""
    with pytest.raises(InvalidGraph) as caught:
        graph_from_wire(graph_pb2.Graph(nodes=[message]))
    assert caught.value.message.startswith(expected)


def test_a_malformed_dimension_names_its_input() -> None:
    """A shape's entry that is no dimension is refused with the input it belongs to."""
    spec = signature_pb2.TensorSpec(name="x", datatype="FP32", shape=["1x"])
    with pytest.raises(InvalidGraph, match="graph input 'x': a dimension must be"):
        graph_from_wire(graph_pb2.Graph(inputs=[spec]))


@pytest.mark.parametrize(
    "graph",
    [
        Graph(name="\ud800"),
        Graph(name="g", nodes=(Node(name="n", kind=Map(target=GraphCall(name="h"), over=("x",), batch_size=-1)),)),
        Graph(name="g", nodes=(Node(name="n", kind=Cache(body=SMALL, max_bytes=2**64)),)),
    ],
)
def test_values_that_no_message_can_carry_are_refused(graph: Graph) -> None:
    """Text that is not Unicode and numbers outside 32 bits are bad graphs."""
    with pytest.raises(InvalidGraph, match="cannot be written as a message"):
        graph_to_wire(graph)


def test_what_is_not_said_is_what_the_protocol_says() -> None:
    """Unset enums and durations have the documented meaning."""
    plain = graph_pb2.Node(name="n", parallel={})
    first = graph_pb2.Node(name="n", parallel={"join": "JOIN_FIRST"})
    hedge = graph_pb2.Node(name="n", race={})
    graph = graph_from_wire(graph_pb2.Graph(nodes=[plain, first, hedge]))
    assert [node.kind for node in graph.nodes] == [
        Parallel(branches=(), join=Join.ALL, aggregate=Aggregate.MERGE),
        Parallel(branches=(), join=Join.FIRST, aggregate=Aggregate.ONE),
        Race(branches=(), delay_s=0.0),
    ]
    assert graph.nodes[0].timeout_s == 0


@pytest.mark.parametrize("join", Join)
@pytest.mark.parametrize("aggregate", Aggregate)
def test_every_join_and_aggregate_is_carried(join: Join, aggregate: Aggregate) -> None:
    """Whatever goes together or not, what is said comes back."""
    kind = Parallel(branches=(), join=join, aggregate=aggregate)
    graph = Graph(name="g", nodes=(Node(name="n", kind=kind),))
    assert graph_from_bytes(graph_to_bytes(graph)) == graph


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"parallel": {"join": 9}}, "`join` must be one of JOIN_UNSPECIFIED, .* got the number 9"),
        ({"parallel": {"aggregate": -1}}, "`aggregate` must be one of AGGREGATE_UNSPECIFIED, .* got the number -1"),
        ({"model": {}, "timeout": {"seconds": -1}}, "a duration must be from 0 to 30d, got -1 s"),
        ({"model": {}, "timeout": {"seconds": 315_576_000_000}}, "a duration must be from 0 to 30d, got 3.15576e"),
        ({"race": {"delay": {"nanos": -1}}}, "a duration's nanos must be from 0 to 999999999, got -1"),
        ({"cache": {"body": {"model": {}}, "ttl": {"nanos": 10**9}}}, "a duration's nanos must be from 0"),
        ({"cascade": {}}, "`cascade` must have `threshold`, got none; say how sure is sure enough"),
        ({"cascade": {"threshold": float("nan")}}, "`threshold` must be a finite number, got nan"),
        ({"cascade": {"threshold": float("-inf")}}, "`threshold` must be a finite number, got -inf"),
    ],
)
def test_values_that_no_graph_has_are_refused(message: dict[str, Any], expected: str) -> None:
    """Unknown enum numbers, durations out of bounds and numbers that are none are refused with the node they are in."""
    with pytest.raises(InvalidGraph, match=f"node 'n': {expected}"):
        graph_from_wire(graph_pb2.Graph(nodes=[graph_pb2.Node(name="n", **message)]))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), MAX_TTL_S * 1.001, 1e-12])
def test_durations_from_python_are_bounded_too(seconds: float) -> None:
    """A duration that no message can carry, or would carry as none, is refused before it is one."""
    for node in (
        Node(name="n", kind=ModelCall(name="m"), timeout_s=seconds),
        Node(name="n", kind=Race(branches=(SMALL,), delay_s=seconds)),
        Node(name="n", kind=Cache(body=SMALL, ttl_s=seconds)),
    ):
        with pytest.raises(InvalidGraph, match="node 'n': a duration must be"):
            graph_to_wire(Graph(name="g", nodes=(node,)))


def test_a_threshold_from_python_is_finite() -> None:
    """As the wire refuses it, so does what is written to the wire."""
    kind = Cascade(branches=(), confidence="c", threshold=float("nan"))
    with pytest.raises(InvalidGraph, match="node 'n': `threshold` must be a finite number, got nan"):
        graph_to_wire(Graph(name="g", nodes=(Node(name="n", kind=kind),)))


def test_equal_graphs_are_equal_bytes_whatever_the_sign_of_zero() -> None:
    """-0.0 equals 0.0, so their graphs must be one document."""
    zeros = [Cascade(branches=(), confidence="c", threshold=zero) for zero in (0.0, -0.0, 0)]
    assert len({graph_to_bytes(Graph(name="g", nodes=(Node(name="n", kind=kind),))) for kind in zeros}) == 1
    message = graph_pb2.Node(name="n", cascade={"threshold": -0.0})
    assert str(graph_from_wire(graph_pb2.Graph(nodes=[message])).nodes[0].kind) == "cascade,  at least 0"


def test_a_threshold_of_zero_is_said() -> None:
    """0 is a threshold like any other, and is written, since a cascade without one is refused."""
    graph = Graph(name="g", nodes=(Node(name="n", kind=Cascade(branches=(), confidence="c", threshold=0)),))
    assert graph_to_wire(graph).nodes[0].cascade.HasField("threshold")
    assert graph_from_bytes(graph_to_bytes(graph)) == graph


def _nested(levels: int) -> graph_pb2.Graph:
    message = graph_pb2.Graph(nodes=[graph_pb2.Node(name="n")])
    node = message.nodes[0]
    for _ in range(levels - 1):
        node = node.loop.body
        node.name = "n"
    node.model.name = "m"
    return message


def test_steps_inside_one_another_are_bounded() -> None:
    """The deepest graph there may be is carried both ways; one level more is refused, however it comes."""
    deepest = graph_from_wire(_nested(MAX_BRANCH_DEPTH))
    assert graph_from_bytes(graph_to_bytes(deepest)) == deepest
    expected = "at most 8 steps may be inside one another, got more; make the inner ones a graph"
    with pytest.raises(InvalidGraph, match=expected):
        graph_from_wire(_nested(MAX_BRANCH_DEPTH + 1))
    with pytest.raises(InvalidGraph, match=expected):
        graph_to_wire(Graph(name="g", nodes=(Node(name="n", kind=Loop(body=deepest.nodes[0], max_iterations=1)),)))


def test_depth_costs_nothing_to_refuse() -> None:
    """Far more levels than the interpreter may recurse are a bad graph, as message, bytes and value."""
    message = _nested(5_000)
    with pytest.raises(InvalidGraph, match="inside one another"):
        graph_from_wire(message)
    with pytest.raises(InvalidGraph, match="do not parse"):
        graph_from_bytes(_nested(200).SerializeToString())
    node = SMALL
    for _ in range(5_000):
        node = Node(name="n", kind=Cache(body=node))
    with pytest.raises(InvalidGraph, match="inside one another"):
        graph_to_wire(Graph(name="g", nodes=(node,)))


def test_branches_are_counted_as_nodes() -> None:
    """Steps inside steps count, in messages and in values, before any is converted."""
    branches = (SMALL,) * 500
    nodes = tuple(Node(name=name, kind=Fallback(branches=branches)) for name in ("a", "b"))
    with pytest.raises(InvalidGraph, match="at most 1000 nodes, branches counted, got 1002"):
        graph_to_wire(Graph(name="g", nodes=nodes))
    message = graph_pb2.Node(fallback={"branches": [graph_pb2.Node() for _ in range(MAX_NODES)]})
    with pytest.raises(InvalidGraph, match="at most 1000 nodes, branches counted, got 1001"):
        graph_from_wire(graph_pb2.Graph(nodes=[message]))


@given(kinds())
def test_both_forms_have_the_same_branches(kind: Kind) -> None:
    """What is measured before a message is converted are the branches that the value has."""
    node = Node(name="n", kind=kind)
    message = graph_to_wire(Graph(name="g", nodes=(node,))).nodes[0]
    assert [branch.name for branch in branches_of(message)] == [branch.name for branch in node.branches]
