"""Graphs as text: textproto, and YAML (`yaml_form`). Both stand for the same message; errors name the wrong line."""

from __future__ import annotations

from google.protobuf import text_format

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Graph
from graphmesh.graph.wire import check_size, graph_from_wire, graph_to_wire
from graphmesh.graph.yaml_form import dump_yaml, parse_yaml

__all__ = ["dump_textproto", "dump_yaml", "parse_textproto", "parse_yaml"]


def parse_textproto(text: str) -> Graph:
    """Return the graph of a textproto document, the text form of `graphmesh.v1.Graph`.

    Raises:
        InvalidGraph: too large, or not such a document; names the line and column (INVALID_ARGUMENT, retry: no).
    """
    check_size(len(text))
    message = graph_to_wire(Graph(name=""))
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        where = f"line {line}, column {column}: " if line else ""
        problem = str(error).removeprefix(f"{line}:{column} : ")
        raise InvalidGraph(f"{where}{problem[:400]}") from error
    return graph_from_wire(message)


def dump_textproto(graph: Graph) -> str:
    """Return the textproto document of a graph; `parse_textproto` reads it back."""
    return text_format.MessageToString(graph_to_wire(graph), as_utf8=True)
