"""Textproto documents, and that all three forms are the same graph."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.text import dump_textproto, dump_yaml, parse_textproto, parse_yaml
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes
from graphmesh.graph.limits import MAX_DOCUMENT_BYTES, MAX_TEXTPROTO_DEPTH
from tests.graph.strategies import graphs

if TYPE_CHECKING:
    from graphmesh.graph.spec import Graph


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('name: "g"\nnodez { }', 'line 2, column 1: Message type "graphmesh.v1.Graph" has no field named "nodez"'),
        ('name: "g"\nname: "h"', "line 2, column 7: Message type"),
        ('name: "g', "line 1, column 7: "),
        ('nodes { name: "n" }', "node 'n': must say what it does, one of model, graph, map, switch"),
        ("\n\nnodes { loop { " * 10_000, f"line 43: at most {MAX_TEXTPROTO_DEPTH} levels of nesting are allowed"),
        ("nodes { loop { body { " * 9 + "model { }" + "} } }" * 9, "line 1, column 23: "),
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


@given(graphs())
def test_all_forms_read_back_as_the_same_graph(graph: Graph) -> None:
    """Whatever a graph holds, valid or not, bytes, textproto and YAML give it back unchanged."""
    assert graph_from_bytes(graph_to_bytes(graph)) == graph
    assert parse_textproto(dump_textproto(graph)) == graph
    assert parse_yaml(dump_yaml(graph)) == graph


@pytest.mark.parametrize("opening", ["nodes { loop { body { ", "nodes < loop < body < ", "[" * 3])
def test_deep_nesting_is_refused_at_once(opening: str) -> None:
    """The recursive parser never sees a document that is deeper than any graph, whatever its brackets."""
    start = time.perf_counter()
    with pytest.raises(InvalidGraph, match="levels of nesting"):
        parse_textproto(opening * (MAX_DOCUMENT_BYTES // len(opening)))
    assert time.perf_counter() - start < 5


def test_brackets_in_text_and_comments_are_no_nesting() -> None:
    """What is quoted or commented is not counted, whatever its quotes and escapes."""
    brackets = "{" * 100
    document = f"""name: "g" # {brackets} it's " a comment
    description: "{brackets} \\" {brackets} '"
    nodes {{ name: '{brackets} " \\' ' model {{ name: "m" }} }}"""
    graph = parse_textproto(document)
    assert graph.description == f"{brackets} \" {brackets} '"
    assert graph.nodes[0].name == f"{brackets} \" ' "
