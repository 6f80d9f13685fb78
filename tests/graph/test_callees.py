"""The order in which graphs can be applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.graph.callees import callees_first
from graphmesh.graph.forms.text import parse_yaml

if TYPE_CHECKING:
    from graphmesh.graph.spec import Graph


def graph(name: str, *calls: str) -> Graph:
    """Return a graph that calls graphs."""
    nodes = "".join(f"  - {{name: n{at}, graph: {called}, inputs: {{x: x}}}}\n" for at, called in enumerate(calls))
    return parse_yaml(f"name: {name}\ninputs: [{{name: x}}]\nnodes:\n{nodes or '  - {name: n, model: m}'}\n")


@pytest.mark.parametrize(
    ("graphs", "order"),
    [
        ([], []),
        ([("a",), ("b",)], ["a", "b"]),
        ([("outer", "inner"), ("inner",)], ["inner", "outer"]),
        ([("c", "b"), ("d",), ("b", "a", "elsewhere"), ("a",)], ["d", "a", "b", "c"]),
        ([("x", "y"), ("y", "x"), ("z",)], ["z", "x", "y"]),
        ([("own", "own"), ("b",)], ["own", "b"]),
    ],
)
def test_what_is_called_comes_first(graphs: list[tuple[str, ...]], order: list[str]) -> None:
    """Others keep their places; cycles, which cannot be mended by order, come last."""
    made = [graph(*one) for one in graphs]
    assert [made[at].name for at in callees_first(made)] == order
