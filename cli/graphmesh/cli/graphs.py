"""`graphmesh graph`: apply, list, show and delete composition graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from google.protobuf.json_format import MessageToDict

from graphmesh.cli.control import as_document, ask, ask_for_all, gateway_option
from graphmesh.cli.output import emit, output_option, signature_rows
from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.wire import signature_from_wire
from graphmesh.graph.explain import to_mermaid, to_text
from graphmesh.graph.text import dump_textproto, dump_yaml, parse_textproto, parse_yaml
from graphmesh.graph.validate import type_graph
from graphmesh.graph.wire import graph_from_wire, graph_to_wire
from graphmesh.v1 import graph_pb2, graph_service_pb2, mesh_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.spec import Graph

__all__ = ["graph", "load_graph"]


def load_graph(path: Path) -> Graph:
    """Read a graph from a `.yaml`/`.yml`/`.json` or `.textproto`/`.pbtxt` file.

    Raises:
        InvalidRequest: the file cannot be read or parsed; names the file.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: cannot be read: {error}") from None
    try:
        return parse_textproto(text) if path.suffix in {".textproto", ".pbtxt", ".txtpb"} else parse_yaml(text)
    except InvalidRequest as error:
        raise type(error)(f"{path}: {error.message}") from None


@click.group()
def graph() -> None:
    """Apply, list, show and delete composition graphs."""


_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@graph.command()
@_file
@click.option("--etag", default="", help="Replace only the live revision that has this etag (see `graph get`).")
@gateway_option
@output_option
def apply(file: Path, etag: str, gateway: str, output: str) -> None:
    """Check the graph in FILE and make it live."""
    loaded = load_graph(file)
    request = graph_service_pb2.ApplyGraphRequest(graph=graph_to_wire(loaded), etag=etag)
    revision: graph_pb2.GraphRevision = ask(gateway, lambda client: client.graphs.ApplyGraph, request)
    rows = [(loaded.name, revision.revision, len(loaded.nodes))]
    emit(output, as_document(revision), columns=("Graph", "Revision", "Nodes"), rows=rows)


@graph.command()
@_file
@gateway_option
@output_option
def validate(file: Path, gateway: str, output: str) -> None:
    """Check the graph in FILE against the mesh's models, without storing it."""
    loaded = load_graph(file)
    request = graph_service_pb2.ValidateGraphRequest(graph=graph_to_wire(loaded))
    answer: graph_service_pb2.ValidateGraphResponse = ask(gateway, lambda client: client.graphs.ValidateGraph, request)
    rows = signature_rows(signature_from_wire(answer.signature))
    emit(output, as_document(answer), columns=("What", "Name", "Type"), rows=rows)


def _get(gateway: str, name: str, revision: int) -> graph_pb2.GraphRevision:
    request = graph_service_pb2.GetGraphRequest(name=name, revision=revision)
    found: graph_pb2.GraphRevision = ask(gateway, lambda client: client.graphs.GetGraph, request)
    return found


def _list(gateway: str) -> list[graph_pb2.GraphRevision]:
    request = graph_service_pb2.ListGraphsRequest(page_size=1000)
    return ask_for_all(gateway, lambda client: client.graphs.ListGraphs, request, "graphs")


@graph.command()
@click.argument("name")
@click.option("--revision", type=click.IntRange(min=0), default=0, help="A revision; 0 is the live one.")
@click.option(
    "--as", "form", type=click.Choice(["yaml", "textproto"]), default="yaml", show_default=True, help="The file's form."
)
@gateway_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["graph", "json"]),
    default="graph",
    show_default=True,
    help="The graph's source, or the whole revision.",
)
def get(name: str, revision: int, form: str, gateway: str, output: str) -> None:
    """Print a graph as it was applied, ready to edit and apply again."""
    found = _get(gateway, name, revision)
    if output == "json":
        emit("json", as_document(found), columns=(), rows=())
        return
    source = graph_from_wire(found.graph)
    click.echo(f"# revision {found.revision}, etag {found.etag}")
    click.echo(dump_yaml(source) if form == "yaml" else dump_textproto(source), nl=False)


@graph.command("list")
@gateway_option
@output_option
def list_(gateway: str, output: str) -> None:
    """List the graphs with their live revisions."""
    found = _list(gateway)
    rows = [(r.graph.name, r.revision, len(r.graph.nodes), r.create_time.ToJsonString()) for r in found]
    document = {"graphs": [MessageToDict(r, preserving_proto_field_name=True) for r in found]}
    emit(output, document, columns=("Graph", "Revision", "Nodes", "Applied"), rows=rows)


@graph.command()
@click.argument("name")
@click.option("--revision", type=click.IntRange(min=0), default=0, help="A revision; 0 is the live one.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["text", "mermaid"]),
    default="text",
    show_default=True,
    help="The drawing's form.",
)
@gateway_option
def show(name: str, revision: int, form: str, gateway: str) -> None:
    """Draw a graph."""
    source = graph_from_wire(_get(gateway, name, revision).graph)
    types = _types(gateway, source)
    click.echo(to_mermaid(source, types) if form == "mermaid" else to_text(source, types))


def _types(gateway: str, source: Graph) -> Mapping[str, TensorSpec]:
    """Return the types of a graph's tensors; none if it does not fit the mesh's models any more."""
    request = mesh_service_pb2.ListModelsRequest(page_size=1000)
    models = ask_for_all(gateway, lambda client: client.mesh.ListModels, request, "models")
    signatures = {model.name: signature_from_wire(model.signature) for model in models if model.HasField("signature")}
    graphs = {revision.graph.name: graph_from_wire(revision.graph) for revision in _list(gateway)}
    try:
        return type_graph(source, signatures.get, graphs=graphs.get).tensors
    except InvalidGraph:
        return {}


@graph.command()
@click.argument("name")
@click.option("--etag", default="", help="Delete only the live revision that has this etag.")
@gateway_option
def delete(name: str, etag: str, gateway: str) -> None:
    """Take a graph out of service; calls in flight finish."""
    request = graph_service_pb2.DeleteGraphRequest(name=name, etag=etag)
    ask(gateway, lambda client: client.graphs.DeleteGraph, request)
    click.echo(f"deleted {name}")
