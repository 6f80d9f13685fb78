"""Calls, and errors with their place in front."""

from __future__ import annotations

import pytest

from graphmesh.core.clock import NO_DEADLINE
from graphmesh.core.errors import Code, GraphmeshError, ModelFailed, SignatureMismatch, from_code
from graphmesh.graph.running.call import Call, locate
from graphmesh.graph.spec import GraphCall, ModelCall
from tests.graph.host import FakeHost, run_of, virtual


def test_a_call_says_whom_to_call_with_what() -> None:
    """Everything a host needs is on the call."""

    async def work() -> None:
        run = run_of(FakeHost({}))
        a = Call(ModelCall(name="m", version="3"), {}, ("y",), "a", NO_DEADLINE, run)
        b = Call(GraphCall(name="h"), {}, (), "b[3]/c", NO_DEADLINE, run)
        assert (a.node, a.is_graph, a.version) == ("a", False, "3")
        assert (b.node, b.is_graph, b.version) == ("b", True, "")
        assert a != Call(a.target, {}, ("y",), "a", NO_DEADLINE, run)
        assert len({a, b, a}) == 2

    virtual(work())


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


def test_an_error_is_located_once_in_a_graph() -> None:
    """The innermost place counts: a step does not put itself in front of its branch."""
    inner = locate(ModelFailed("boom"), graph="g", path="route/cheap")
    assert locate(inner, graph="g", path="route") is inner


def test_metadata_is_shared_with_no_one() -> None:
    """Adding metadata to the located error leaves the original alone."""
    error = ModelFailed("boom")
    locate(error, graph="g", path="n").metadata["k"] = "v"
    assert error.metadata == {}
    assert error.code is Code.INTERNAL
