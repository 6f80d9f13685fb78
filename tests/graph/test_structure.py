"""What is wrong with a graph whatever it calls."""

from __future__ import annotations

import contextlib
import math
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from hypothesis import given

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.structure import check_structure, did_you_mean, edge_name
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.graph.spec import (
    Binding,
    Cache,
    Cascade,
    Case,
    Graph,
    GraphCall,
    GraphInput,
    Loop,
    Map,
    ModelCall,
    Node,
    Race,
    Share,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.operations import Cast, Operation
from tests.graph.strategies import graphs, kinds

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind


def _told(error: InvalidGraph) -> list[str]:
    """Return the mistakes that an error tells, one by one."""
    return re.split(r"^- ", error.message, flags=re.MULTILINE)[1:] or [error.message]


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
    assert _told(caught.value)[0].startswith(expected)


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
    with pytest.raises(InvalidGraph, match="at most 1000 nodes, branches counted, got 1000000 or more; nest"):
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


COMPOSED = """
name: g
inputs: [x, y]
nodes:
  route:
    switch:
    - {when: "inputs.x > 1.0", model: cheap, inputs: {a: x}}
    - {when: "shapes.y[0] == 3", model: dear, timeout: 1s}
    - default: {fallback: [{model: big, inputs: {a: y}}, {model: tiny, outputs: {p: q}}]}
    inputs: {x: x, y: y}
  canary:
    split: {shares: [{weight: 9, model: a}, {weight: 1, model: b}], key: "headers['x-user']"}
    inputs: {x: route.p}
  both:
    parallel: {branches: [m, n], join: quorum, quorum: 1, aggregate: mean}
    inputs: {x: canary.p}
    timeout: 5s
  safe: {fallback: {branches: [m, n], on: [UNAVAILABLE, DEADLINE_EXCEEDED]}, inputs: {x: both.p}}
  sure: {cascade: {branches: [m, n], confidence: score, threshold: 0.9}, inputs: {x: safe.p}}
  hedged: {race: {model: m, delay: 50ms}, inputs: {x: sure.p}}
  refine:
    loop:
      body: {model: step, outputs: {x: next, delta: delta}}
      until: outputs.delta < 0.01 || iteration == 9
      max_iterations: 20
      carry: {x: x}
    inputs: {x: hedged.p}
  seen: {cache: {body: {map: {model: embed, over: x}}, ttl: 10m, max_bytes: 1MiB}, inputs: {x: refine.x}}
  changed:
    transform:
      operations:
      - {cast: FP64, inputs: x, outputs: wide}
      - {cast: FP32, inputs: wide, outputs: p}
      keep: wide
    inputs: {x: seen.p}
outputs: {p: changed.p}
"""


def test_sound_steps_of_every_kind_pass() -> None:
    """The graph that the mistakes below are made in has none."""
    assert len(check_structure(parse_yaml(COMPOSED))) == 9


LONG = "a" * 2_001


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # branches
        ("model: cheap,", "model: A,", "node route/A: a node name must match"),
        (
            "model: cheap,",
            "name: c, model: A,",
            "node route/c: a model or graph name must match",
        ),
        (
            "model: dear",
            "model: cheap",
            "node route: branch 'cheap' is there twice; give one of them a `name` of its own",
        ),
        (
            "model: cheap, inputs: {a: x}",
            "model: cheap, inputs: {a: xx}",
            "node route/cheap: input 'a' reads 'xx', which is no input of the step around it; did you mean 'x'?; a br",
        ),
        (
            "{model: big, inputs: {a: y}}",
            "{model: big, inputs: {a: canary.p}}",
            "node route/fallback/big: input 'a' reads 'canary.p', which is no input of the step around it",
        ),
        (
            "default: {fallback:",
            "default: {inputs: {z: y}, fallback:",
            "node route/fallback/big: input 'a' reads 'y', which is no input of the step around it",
        ),
        ("{p: q}", "{p: q q}", "node route/fallback/tiny: a tensor name must match"),
        ("{p: q}", "{1: q}", "node route/fallback/tiny: a tensor name must match"),
        (
            "outputs: {p: q}",
            "outputs: [{name: p, source: q}, {name: p, source: r}]",
            "node route/fallback/tiny: output 'p' is there twice",
        ),
        (
            "    timeout: 5s",
            "    outputs: {p: q}",
            "node both: `outputs` renames what a branch gives; a node's outputs are read as `node.output`: remove it",
        ),
        ("timeout: 1s", "timeout: 61m", "node route/dear: timeout must be from 0 to 3600 s, got 3660 s"),
        ("over: x", "over: z", "node seen/embed: `over` names 'z', which is not bound"),
        # conditions
        (
            "inputs.x > 1.0",
            "inputs.z > 1.0",
            "node route: the case of branch 'cheap' reads inputs.z, which is not there; there",
        ),
        (
            "shapes.y[0]",
            "shapes.yy[0]",
            "node route: the case of branch 'dear' reads shapes.yy, which is not there; did you",
        ),
        ("inputs.x > 1.0", "outputs.x > 1.0", "node route: "),
        ("inputs.x > 1.0", "inputs.x >", "node route: "),
        ("inputs.x > 1.0", "'text'", "node route: "),
        ("inputs.x > 1.0", LONG, "node route: "),
        ("headers['x-user']", "inputs.user", "node canary: `key` reads inputs.user, which is not there; there are x"),
        ("headers['x-user']", "shapes.user[0]", "node canary: `key` reads shapes.user, which is not there"),
        ("headers['x-user']", "((", "node canary: "),
        ("outputs.delta <", "inputs.delta <", "node refine: `until` reads inputs.delta, which is not there"),
        (
            "outputs.delta <",
            "outputs.delt <",
            "node refine: `until` reads 'delt', which branch 'step' does not give; did you",
        ),
        # bounds of kinds
        ("switch:\n    - {when", "switch: []\n    #", "line "),
        (
            "weight: 9",
            "weight: 4294967296",
            "node canary: the weight of branch 'a' must be from 0 to 4294967295, got 42949",
        ),
        (
            "{weight: 9, model: a}, {weight: 1,",
            "{weight: 0, model: a}, {weight: 0,",
            "node canary: a split must have a share with a positive weight, got none of 2",
        ),
        ("[m, n], join", "[m], join", "node both: a parallel step must have at least 2 branches, got 1; add one"),
        ("quorum: 1", "quorum: 3", "node both: quorum must be from 1 to 2, got 3"),
        ("quorum: 1,", "", "node both: quorum must be from 1 to 2, got 0"),
        ("join: quorum, ", "", "node both: quorum is for join quorum, got 1 with join all; remove one of them"),
        (
            "aggregate: mean",
            "aggregate: merge",
            "node both: aggregate merge needs every branch's answer; got join quorum",
        ),
        ("aggregate: mean", "aggregate: one", "node both: join first, and only it, gives one answer"),
        ("join: quorum, quorum: 1, ", "join: first, ", "node both: join first, and only it, gives one answer"),
        ("{branches: [m, n], on:", "{branches: [m], on:", "node safe: a fallback must have at least 2 branches, got 1"),
        (
            "on: [UNAVAILABLE,",
            "on: [UNAVAILABEL,",
            "node safe: `on` must name gRPC codes on which a call may be tried els",
        ),
        (
            "on: [UNAVAILABLE,",
            "on: [OK,",
            "node safe: `on` must name gRPC codes on which a call may be tried elsewhere, got 'OK'",
        ),
        ("on: [UNAVAILABLE,", "on: [CANCELLED,", "node safe: `on` must name gRPC codes"),
        ("on: [UNAVAILABLE,", "on: [DEADLINE_EXCEEDED,", "node safe: `on` entry 'DEADLINE_EXCEEDED' is there twice"),
        ("[m, n], confidence", "[m], confidence", "node sure: a cascade must have at least 2 branches, got 1"),
        (
            "confidence: score",
            "confidence: ''",
            "node sure: `confidence` must name the output that says how sure an answer is",
        ),
        (
            "[m, n], confidence",
            "[{model: m, outputs: {scor: x}}, n], confidence",
            "node sure: `confidence` reads 'score', which branch 'm' does not give; did you mean 'scor'?; add it",
        ),
        ("{model: m, delay: 50ms}", "[]", "node hedged: a race must have at least 1 branch, got 0; add one"),
        ("delay: 50ms", "delay: 2h", "node hedged: delay must be from 0 to 3600 s, got 7200 s"),
        ("max_iterations: 20", "max_iterations: 0", "node refine: max_iterations must be from 1 to 1000, got 0"),
        ("max_iterations: 20", "max_iterations: 1001", "node refine: max_iterations must be from 1 to 1000, got 1001"),
        ("carry: {x: x}", "carry: {z: x}", "node refine: `carry` reads inputs.z, which is not there; there are x"),
        ("carry: {x: x}", "carry: {x: next}", "node refine: `carry` reads 'next', which branch 'step' does not give"),
        ("carry: {x: x}", "carry: {x: ''}", "node refine: a tensor name must match"),
        (
            "carry: {x: x}",
            "carry: [{name: x, source: x}, {name: x, source: x}]",
            "node refine: `carry` entry 'x' is there",
        ),
        ("max_bytes: 1MiB", "max_entries: 100001", "node seen: max_entries must be from 0 to 100000, got 100001"),
        (
            "max_bytes: 1MiB",
            "max_bytes: 1073741825",
            "node seen: max_bytes must be from 0 to 1073741824, got 1073741825",
        ),
        # operations
        (
            "inputs: wide",
            "inputs: wid",
            "node changed: operation 2, cast: reads 'wid', which is neither an input of the st",
        ),
        (
            "outputs: wide",
            "outputs: x",
            "node changed: operation 1, cast: gives 'x', which is there already; give the resu",
        ),
        ("outputs: p}", "outputs: wide}", "node changed: operation 2, cast: gives 'wide', which is there already"),
        ("outputs: p}", "outputs: p p}", "node changed: operation 2, cast: a tensor name must match"),
        ("keep: wide", "keep: wid", "node changed: `keep` names 'wid', which no operation gives; did you mean 'wide'?"),
        ("keep: wide", "keep: [wide, wide]", "node changed: `keep` entry 'wide' is there twice"),
    ],
)
def test_each_mistake_in_a_step_is_named_where_it_is(old: str, new: str, expected: str) -> None:
    """One change to sound steps, one message that names the step by its path and what to do."""
    changed = COMPOSED.replace(old, new, 1)
    assert changed != COMPOSED
    with pytest.raises(InvalidGraph) as caught:
        check_structure(parse_yaml(changed))
    assert _told(caught.value)[0].startswith(expected)


def _alone(kind: Kind) -> Graph:
    return Graph(
        name="g",
        inputs=(GraphInput(name="x"),),
        nodes=(Node(name="n", kind=kind, inputs=(Binding(name="x", source="x"),)),),
        outputs=(Binding(name="y", source="n.y"),),
    )


M = Node(name="m", kind=ModelCall(name="m"))
CAST = Operation(what=Cast(datatype="FP32"), inputs=("x",), outputs=("y",))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            Switch(cases=tuple(Case(when=f"inputs.x.exists(a, a in inputs.x) || {n} > 9", then=M) for n in range(9))),
            "the conditions of a switch could take",
        ),
        (Switch(cases=(), default=M), "a switch must have a case, got none; add one or call the default itself"),
        (Split(shares=()), "a split must have a share with a positive weight, got none of 0"),
        (Split(shares=(Share(weight=-1, then=M),)), "the weight of branch 'm' must be from 0 to 4294967295, got -1"),
        (Cascade(branches=(M, M), confidence="c", threshold=math.inf), "`threshold` must be a finite number, got inf"),
        (Cache(body=M, ttl_s=math.nan), "ttl must be from 0 to 2592000 s, got nan s"),
        (Cache(body=M, ttl_s=-1.0), "ttl must be from 0 to 2592000 s, got -1 s"),
        (Race(branches=(M,), delay_s=math.nan), "delay must be from 0 to 3600 s, got nan s"),
        (Transform(operations=()), "the count of operations must be from 1 to 100, got 0"),
        (Transform(operations=(CAST,) * 101), "the count of operations must be from 1 to 100, got 101"),
    ],
)
def test_values_that_only_a_program_writes_are_checked(kind: Kind, expected: str) -> None:
    """What no text form can say, or says badly, is refused with the node."""
    with pytest.raises(InvalidGraph) as caught:
        check_structure(_alone(kind))
    assert _told(caught.value)[0].startswith(f"node n: {expected}")


def test_a_nodes_time_is_bounded() -> None:
    """A limit that is negative or not a number is refused."""
    for timeout_s in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidGraph, match="node n: timeout must be from 0 to 3600 s"):
            check_structure(replace(_alone(Cache(body=M)), nodes=(Node(name="n", kind=M.kind, timeout_s=timeout_s),)))


def test_a_transform_inside_a_step_takes_only_what_it_reads() -> None:
    """Without bindings, an input of the step around it that no operation reads leaves its name free."""
    inner = Node(name="t", kind=Transform(operations=(CAST,)))
    graph = _alone(Cache(body=inner))
    (node,) = graph.nodes
    both = (*node.inputs, Binding(name="y", source="x"))
    assert check_structure(replace(graph, nodes=(replace(node, inputs=both),)))
    bound = replace(inner, inputs=(Binding(name="x", source="x"), Binding(name="y", source="x")))
    with pytest.raises(InvalidGraph, match="node n/t: operation 1, cast: gives 'y', which is there already"):
        check_structure(_alone(Cache(body=bound)))


def test_steps_too_deep_or_too_many_are_refused_at_once() -> None:
    """Branches count as nodes do, and no recursion meets a deep graph."""
    node = M
    for _ in range(10_000):
        node = Node(name="n", kind=Cache(body=node))
    with pytest.raises(InvalidGraph, match="at most 8 steps may be inside one another"):
        check_structure(_alone(node.kind))
    with pytest.raises(InvalidGraph, match="at most 1000 nodes, branches counted, got 1001 or more"):
        check_structure(_alone(Race(branches=(M,) * 1_000)))


def test_a_loop_may_run_to_its_limit() -> None:
    """`until` may be left out."""
    assert check_structure(_alone(Loop(body=M, max_iterations=1)))


@given(graphs())
def test_whatever_is_written_is_sound_or_an_invalid_graph(graph: Graph) -> None:
    """No graph, however odd, makes the checks fail in another way."""
    with contextlib.suppress(InvalidGraph):
        check_structure(graph)


@given(kinds())
def test_whatever_a_step_does_is_sound_or_an_invalid_graph(kind: Kind) -> None:
    """As above, past the checks of names around the step."""
    with contextlib.suppress(InvalidGraph):
        check_structure(_alone(kind))


def test_all_mistakes_that_do_not_follow_from_one_another_are_told() -> None:
    """In the order of the document: inputs, steps with their conditions and edges, outputs."""
    document = """
name: g
inputs: {x: TEXT, 1y: TEXT}
nodes:
  route:
    switch:
      - {when: inputs.x = 'a', model: a}
      - {when: inputs.z == 'a', model: b}
      - {when: inputs.x == 'b', model: C}
    inputs: {x: x}
  last:
    cascade: {branches: [a, b], confidence: small 0.55, threshold: 0.5}
    timeout: 2h
    inputs: {x: nowhere.y}
outputs: {y: last.y, z: gone.y}
"""
    with pytest.raises(InvalidGraph) as caught:
        check_structure(parse_yaml(document))
    starts = [
        "graph input '1y': a tensor name must match",
        "node route: the case of branch 'a': this expression cannot be read, character 10:",
        "node route: the case of branch 'b' reads inputs.z, which is not there",
        "node route/C: a node name must match",
        "node route/C: a model or graph name must match",
        "node last: timeout must be from 0 to 3600 s, got 7200 s",
        "node last: `confidence` must name the output that says how sure an answer is, and `threshold` be the number",
        "edge nowhere.y -> last.x: there is no node 'nowhere'",
        "edge gone.y -> output z: there is no node 'gone'",
    ]
    assert [told[: len(start)] for told, start in zip(_told(caught.value), starts, strict=True)] == starts
    assert "    inputs.x = 'a'\n               ^\n" in caught.value.message


def test_dead_ends_are_told_together() -> None:
    """Once all names are right."""
    with pytest.raises(InvalidGraph) as caught:
        check_structure(
            parse_yaml(
                "{name: g, inputs: [x, z], nodes: {a: {model: m, inputs: {x: x}}, b: {model: m}, c: {model: m}}, "
                "outputs: {y: a.y}}"
            )
        )
    assert [told.partition(":")[0] for told in _told(caught.value)] == ["graph input 'z'", "node b", "node c"]


def test_a_graph_that_is_wrong_everywhere_is_refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that come close are looked for a bounded number of times, which takes milliseconds each."""
    hint = Mock(wraps=did_you_mean)
    monkeypatch.setattr("graphmesh.graph.checks.structure.did_you_mean", hint)
    inputs = tuple(Binding(name=f"x{at}", source=f"lost{at}.y") for at in range(50))
    nodes = tuple(Node(name=f"n{number}", kind=ModelCall(name="m"), inputs=inputs) for number in range(200))
    wrong = Graph(name="g", nodes=nodes, outputs=(Binding(name="y", source="n0.y"),))
    with pytest.raises(InvalidGraph, match=r"^more than 50 mistakes"):
        check_structure(wrong)
    assert hint.call_count == 51
