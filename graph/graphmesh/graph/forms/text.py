"""Graphs as text: textproto, and YAML (`yaml_form`). Both stand for the same message; errors name the wrong line."""

from __future__ import annotations

import re

from google.protobuf import text_format

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.wire import check_size, graph_from_wire, graph_to_wire
from graphmesh.graph.forms.yaml_form import dump_yaml, parse_yaml
from graphmesh.graph.limits import MAX_TEXTPROTO_DEPTH
from graphmesh.graph.spec import Graph

__all__ = ["dump_textproto", "dump_yaml", "parse_textproto", "parse_yaml"]

_STEP = re.compile(
    r"""(?P<skip>\#[^\n]*|"(?:\\.|[^"\\\n])*|'(?:\\.|[^'\\\n])*)|(?P<down>[{<\[])|(?P<up>[}>\]])|(?P<line>\n)"""
)


def parse_textproto(text: str) -> Graph:
    """Return the graph of a textproto document, the text form of `graphmesh.v1.Graph`.

    Raises:
        InvalidGraph: too large, too deep, or not such a document; names the line and column (INVALID_ARGUMENT, retry:
            no).
    """
    check_size(len(text))
    _check_depth(text)
    message = graph_to_wire(Graph(name=""))
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        where = f"line {line}, column {column}: " if line else ""
        problem = str(error).removeprefix(f"{line}:{column} : ")
        raise InvalidGraph(f"{where}{problem[:400]}") from error
    return graph_from_wire(message)


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser, which is recursive, meets it."""
    depth, line = 0, 1
    for step in _STEP.finditer(text):
        depth += (step.lastgroup == "down") - (step.lastgroup == "up")
        line += step.lastgroup == "line"
        if depth > MAX_TEXTPROTO_DEPTH:
            raise InvalidGraph(f"line {line}: at most {MAX_TEXTPROTO_DEPTH} levels of nesting are allowed")


def dump_textproto(graph: Graph) -> str:
    """Return the textproto document of a graph; `parse_textproto` reads it back."""
    return text_format.MessageToString(graph_to_wire(graph), as_utf8=True)
