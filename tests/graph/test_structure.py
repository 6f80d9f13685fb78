"""What is wrong with a graph whatever it calls."""

from __future__ import annotations

import time

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node
from graphmesh.graph.structure import check_structure, did_you_mean, edge_name
from graphmesh.graph.yaml_form import parse_yaml

GOOD = """
name: g
inputs: [x]
nodes:
  b: {model: m, inputs: {x: a.y}}
  a: {model: m, inputs: {x: x}}
  c: {map: {model: m, over: x}, inputs: {x: b.y}}
outputs: {y: c.y}
"""


def test_a_sound_graph_gives_its_nodes_in_running_order() -> None:
    """Nodes come back, each after what it reads, whatever order they were written in."""
    assert [node.name for node in check_structure(parse_yaml(GOOD))] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: g", "name: G", "graph: a model or graph name must match"),
        ("inputs: [x]", "inputs: [x, x]", "graph input 'x' is there twice; each must be given once"),
        ("inputs: [x]", "inputs: ['1x']", "graph input '1x': a tensor name must match"),
        (
            "inputs: [x]",
            "inputs: [x.y]",
            "graph input 'x.y': must not contain a dot, which would read as a node's output",
        ),
        ("inputs: [x]", "inputs: [x, z]", "graph input 'z': nothing reads it; bind it to a node, or remove it"),
        ("inputs: [x]", "inputs: {x: {shape: [3]}}", "graph input 'x': a shape or `text` needs a datatype"),
        ("inputs: [x]", "inputs: {x: {text: true}}", "graph input 'x': a shape or `text` needs a datatype"),
        ("inputs: [x]", "inputs: {x: FP99 ()}", "line 3: a type must look like FP32 (N, 3)"),
        ("inputs: [x]", "inputs: {x: {datatype: FP32, text: true}}", "graph input 'x': tensor 'x': only BYTES can be"),
        ("  b: {", "  a.b: {", "node a.b: a node name must match"),
        ("  b: {model: m,", "  b: {model: M,", "node b: a model or graph name must match"),
        ("  b: {model: m,", "  b: {model: {name: m, version: v1},", "node b: a version must match"),
        ("{x: a.y}", "{x x: a.y}", "node b: a tensor name must match"),
        ("{x: a.y}", "[{name: x, source: a.y}, {name: x, source: x}]", "node b: input 'x' is there twice"),
        ("{x: a.y}", "{x: " + "a" * 200 + "}", "node b: a source has at most 193 characters, got 'aaa"),
        ("{x: a.y}", "{x: .y}", "edge .y -> b.x: there is no node ''"),
        ("{x: a.y}", "{x: a}", "edge a -> b.x: 'a' is a node; say which output: `a.output`"),
        ("{x: a.y}", "{x: xx}", "edge xx -> b.x: there is no graph input 'xx'; did you mean 'x'?"),
        ("{x: a.y}", "{x: aa.y}", "edge aa.y -> b.x: there is no node 'aa'; did you mean 'a'?"),
        ("{x: a.y}", "{x: b.y}", "edge b.y -> b.x: a node must not read its own output"),
        ("{x: a.y}", "{x: c.y}", "nodes must not read from one another in a cycle, got b -> c -> b"),
        ("  b: {", "  d: {model: m, inputs: {x: a.y}}\n  b: {", "node d: nothing it gives reaches a graph output"),
        (
            "{y: c.y}",
            "{y: b.y}",
            "node c: nothing it gives reaches a graph output; bind one of its outputs or remove it",
        ),
        ("{y: c.y}", "{}", "a graph must have a node and an output, got 3 and 0"),
        ("{y: c.y}", "[{name: y, source: c.y}, {name: y, source: b.y}]", "graph output 'y' is there twice"),
        ("{y: c.y}", "{'': c.y}", "graph output '': a tensor name must match"),
        ("{y: c.y}", "{y: d.y}", "edge d.y -> output y: there is no node 'd'"),
        ("over: x", "over: []", "node c: `over` must name at least one input to divide, got none"),
        ("over: x", "over: [x, x]", "node c: `over` entry 'x' is there twice"),
        ("over: x", "over: xx", "node c: `over` names 'xx', which is not bound; did you mean 'x'?"),
        ("over: x", "over: x, max_concurrency: 257", "node c: max_concurrency must be from 0 to 256, got 257"),
    ],
)
def test_each_mistake_is_named_where_it_is(old: str, new: str, expected: str) -> None:
    """One change to a sound graph, one message that names node, input or edge and what to do."""
    with pytest.raises(InvalidGraph) as caught:
        check_structure(parse_yaml(GOOD.replace(old, new)))
    assert caught.value.message.startswith(expected)


def test_nodes_of_one_name_are_refused() -> None:
    """Two nodes of one name would be one edge's ambiguity."""
    node = Node(name="n", kind=ModelCall(name="m"))
    with pytest.raises(InvalidGraph, match="node 'n' is there twice"):
        check_structure(Graph(name="g", nodes=(node, node), outputs=(Binding(name="y", source="n.y"),)))


@pytest.mark.parametrize("dimension", [-1, True, "N M"])
def test_dimensions_from_python_are_checked_as_those_from_text(dimension: int | str) -> None:
    """What no text form can say is refused when a program says it."""
    graph = Graph(
        name="g",
        inputs=(GraphInput(name="x", datatype="FP32", shape=(dimension,)),),
        nodes=(Node(name="n", kind=ModelCall(name="m"), inputs=(Binding(name="x", source="x"),)),),
        outputs=(Binding(name="y", source="n.y"),),
    )
    with pytest.raises(InvalidGraph, match="graph input 'x': a dimension must be"):
        check_structure(graph)


@pytest.mark.parametrize("batch_size", [-1, 2**32])
def test_batch_sizes_are_32_bits_wide(batch_size: int) -> None:
    """A size that no message can carry is refused."""
    kind = Map(target=GraphCall(name="h"), over=("x",), batch_size=batch_size)
    graph = Graph(
        name="g",
        inputs=(GraphInput(name="x"),),
        nodes=(Node(name="n", kind=kind, inputs=(Binding(name="x", source="x"),)),),
        outputs=(Binding(name="y", source="n.y"),),
    )
    with pytest.raises(InvalidGraph, match="node n: batch_size must be from 0 to 4294967295"):
        check_structure(graph)


def test_a_million_nodes_are_refused_at_once() -> None:
    """Nodes are counted before any of them is looked at."""
    graph = Graph(name="g", nodes=(Node(name="n", kind=ModelCall(name="m")),) * 1_000_000)
    start = time.perf_counter()
    with pytest.raises(InvalidGraph, match="at most 1000 nodes, got 1000000; nest graphs instead"):
        check_structure(graph)
    assert time.perf_counter() - start < 1


def test_edges_have_one_way_to_be_named() -> None:
    """Edges to nodes and to outputs read alike everywhere."""
    assert edge_name("detect", Binding(name="image", source="decode.image")) == "edge decode.image -> detect.image"
    assert edge_name("", Binding(name="lines", source="read.text")) == "edge read.text -> output lines"


def test_close_names_are_offered_only_when_there_are_some() -> None:
    """A hint appears when a known name comes close, and lists the closest first."""
    assert did_you_mean("detct", ["detect", "direct", "zzz"]) == "; did you mean 'detect' or 'direct'?"
    assert did_you_mean("q", ["detect"]) == ""
