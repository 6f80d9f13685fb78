"""Textproto documents, and that all three forms are the same graph."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_DOCUMENT_BYTES
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node
from graphmesh.graph.text import dump_textproto, dump_yaml, parse_textproto, parse_yaml
from graphmesh.graph.wire import graph_from_bytes, graph_to_bytes


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('name: "g"\nnodez { }', 'line 2, column 1: Message type "graphmesh.v1.Graph" has no field named "nodez"'),
        ('name: "g"\nname: "h"', "line 2, column 7: Message type"),
        ('name: "g', "line 1, column 7: "),
        ('nodes { name: "n" }', "node 'n': must say one of"),
        ("nodes {" * 10_000, "line 1, column 8: "),
    ],
)
def test_mistakes_are_named_with_line_and_column(document: str, expected: str) -> None:
    """The parser's own message is kept, with its place in front."""
    with pytest.raises(InvalidGraph) as caught:
        parse_textproto(document)
    assert caught.value.message.startswith(expected)


def test_too_large_a_document_is_refused_unread() -> None:
    """The size is looked at before anything else."""
    with pytest.raises(InvalidGraph, match="at most 524288 bytes"):
        parse_textproto("x" * (MAX_DOCUMENT_BYTES + 1))


_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_tokens = st.text(string.ascii_letters + string.digits + "._- :#'\"", max_size=8) | st.sampled_from(
    ["no", "~", "1", "on"]
)
_dimensions = st.none() | st.integers(0, 10**6) | st.sampled_from(["N", "H", "W"])
_targets = st.builds(ModelCall, name=_tokens, version=_tokens) | st.builds(GraphCall, name=_tokens)
_numbers = st.integers(0, 2**32 - 1)
_kinds = _targets | st.builds(
    Map,
    target=_targets,
    over=st.lists(_tokens, max_size=3).map(tuple),
    batch_size=_numbers,
    max_concurrency=_numbers,
)
_bindings = st.lists(st.builds(Binding, name=_tokens, source=_tokens), max_size=3).map(tuple)
_inputs = st.builds(
    GraphInput,
    name=_tokens,
    datatype=st.sampled_from(["", "FP32", "BYTES", "x y"]),
    shape=st.lists(_dimensions, max_size=3).map(tuple),
    text=st.booleans(),
    description=_words,
)
_graphs = st.builds(
    Graph,
    name=_tokens,
    description=_words,
    inputs=st.lists(_inputs, max_size=3).map(tuple),
    nodes=st.lists(st.builds(Node, name=_tokens, kind=_kinds, inputs=_bindings), max_size=3).map(tuple),
    outputs=_bindings,
)


@given(_graphs)
def test_all_forms_read_back_as_the_same_graph(graph: Graph) -> None:
    """Whatever a graph holds, valid or not, bytes, textproto and YAML give it back unchanged."""
    assert graph_from_bytes(graph_to_bytes(graph)) == graph
    assert parse_textproto(dump_textproto(graph)) == graph
    assert parse_yaml(dump_yaml(graph)) == graph
