"""Calls, and errors with their place in front."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import Code, GraphmeshError, ModelFailed, SignatureMismatch, from_code
from graphmesh.graph.call import Call, locate
from graphmesh.graph.plan import make_plan
from graphmesh.graph.yaml_form import parse_yaml


def test_a_call_says_whom_to_call_with_what() -> None:
    """Everything a driver needs is on the call; a map's calls carry their chunk in the path."""
    graph = parse_yaml("""
        {name: g, inputs: [x], outputs: {y: b.y, z: b.z}, nodes: {
          a: {model: {name: m, version: 3}, inputs: {x: x}},
          b: {map: {graph: h, over: x}, inputs: {x: a.y}}}}
    """)
    steps = make_plan(graph, lambda _: None).steps
    a, b = Call(steps[0], 0, {}), Call(steps[1], 3, {})
    assert (a.node, a.path, a.target, a.target_is_graph, a.version, a.outputs) == ("a", "a", "m", False, "3", ("y",))
    assert (b.node, b.path, b.target, b.target_is_graph, b.version, b.outputs) == (
        "b",
        "b[3]",
        "h",
        True,
        "",
        ("y", "z"),
    )
    assert a != Call(steps[0], 0, {})
    assert len({a, b, a}) == 2


@pytest.mark.parametrize(
    "error",
    [
        SignatureMismatch("boom", metadata={"input": "x"}),
        ModelFailed("boom"),
        from_code(5, "boom"),
        from_code(15, "boom"),
    ],
)
def test_place_goes_in_front_and_everything_else_stays(error: GraphmeshError) -> None:
    """Class, code, reason and metadata of an error survive, also of one that came over the wire; nesting adds up."""
    inner = locate(error, graph="inner", path="x")
    outer = locate(inner, graph="outer", path="read[3]")
    assert outer.message == str(outer) == "graph outer, node read[3]: graph inner, node x: boom"
    assert (type(outer), outer.code, outer.reason, outer.metadata) == (
        type(error),
        error.code,
        error.reason,
        error.metadata,
    )
    assert error.message == "boom"
    assert outer.__cause__ is inner


def test_metadata_is_shared_with_no_one() -> None:
    """Adding metadata to the located error leaves the original alone."""
    error = ModelFailed("boom")
    locate(error, graph="g", path="n").metadata["k"] = "v"
    assert error.metadata == {}
    assert error.code is Code.INTERNAL
