"""What a branch reads of the step around it."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.flows import Place
from graphmesh.graph.checks.scopes import bindings, reads
from graphmesh.graph.spec import Cache, Node, Transform
from graphmesh.graph.transforms.operations import Concat, Lower, Operation
from tests.graph.typing_help import edges, model, signed, step

JOIN = step(
    "join",
    Transform(
        operations=(
            Operation(what=Lower(), inputs=("a",), outputs=("low",)),
            Operation(what=Concat(), inputs=("low", "b", "a"), outputs=("all",)),
        )
    ),
)
SIGNATURE = signed({"b": "FP32 ()", "a": "FP32 ()"}, {})


def _bound(node: Node, *scope: str, path: str = "outer/inner") -> list[str]:
    signature = None if node.target is None else SIGNATURE
    return [f"{binding.name}<-{binding.source}" for binding in bindings(Place(node, path), scope, signature)]


def test_a_transform_reads_what_it_does_not_make() -> None:
    """Each name once, in the order of reading; other kinds have no operations."""
    assert reads(JOIN) == ("a", "b")
    assert reads(model("m")) == ()


def test_without_bindings_a_branch_reads_by_name() -> None:
    """A call what its target takes, a transform what its operations read, a composed step everything."""
    assert _bound(model("m"), "a", "b", "c") == ["b<-b", "a<-a"]
    assert _bound(JOIN, "a", "b", "c") == ["a<-a", "b<-b"]
    assert _bound(step("kept", Cache(body=model("m"))), "a", "b", "c") == ["a<-a", "b<-b", "c<-c"]


def test_bindings_are_taken_as_they_are() -> None:
    """Those of a branch, and always those of a step of the graph itself, which sees no names."""
    bound = Node(name="m", kind=model("m").kind, inputs=edges({"a": "x"}))
    assert _bound(bound, "x", "b") == ["a<-x"]
    assert _bound(model("m"), "a", "b", path="m") == []


def test_a_name_that_is_not_there() -> None:
    """The message names the branch, the input and both ways out."""
    with pytest.raises(InvalidGraph) as caught:
        _bound(model("m"), "aa", "b")
    assert caught.value.message == (
        "node outer/inner: takes input 'a', but outer has aa, b; did you mean 'aa'?; give outer an input 'a', or "
        "bind it with `inputs: {a: ...}`"
    )
