"""Graphs in files, as commands are given them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest
from graphmesh.graph.callees import callees_first
from graphmesh.graph.forms.text import parse_textproto, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.graph.spec import Graph

__all__ = ["load_graph", "load_graphs", "read_graphs", "read_text"]


def load_graph(path: Path) -> Graph:
    """Read a graph from a `.yaml`/`.yml`/`.json` or `.textproto`/`.pbtxt` file.

    Raises:
        InvalidRequest: the file cannot be read or parsed; names the file.
    """
    text = read_text(path)
    try:
        return parse_textproto(text) if path.suffix in {".textproto", ".pbtxt", ".txtpb"} else parse_yaml(text)
    except InvalidRequest as error:
        raise error.reworded(f"{path}: {error.message}") from None


def read_text(path: Path) -> str:
    """Return what a file says.

    Raises:
        InvalidRequest: it cannot be read, or is no text; names the file.
    """
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path}: cannot be read: it is not UTF-8 text") from None


def load_graphs(paths: Iterable[str]) -> dict[str, Graph]:
    """Read graphs as above; return them by their files, each after those that it calls."""
    graphs, errors = read_graphs(paths)
    if errors:
        raise errors[0]
    return graphs


def read_graphs(paths: Iterable[str]) -> tuple[dict[str, Graph], list[InvalidRequest]]:
    """Return the graphs that can be read, as above, and for each of the other files why it cannot."""
    read: list[tuple[str, Graph]] = []
    errors = []
    for path in dict.fromkeys(paths):
        try:
            read.append((path, load_graph(Path(path))))
        except InvalidRequest as error:
            errors.append(error)
    return dict(read[at] for at in callees_first([graph for _, graph in read])), errors
