"""`graphmesh graph`: apply, list, get and delete composition graphs; its other commands are in `graph_...`."""

from __future__ import annotations

from pathlib import Path

import click

from graphmesh.cli import graph_revisions
from graphmesh.cli.control import as_document, ask
from graphmesh.cli.gateway import gateway_option
from graphmesh.cli.graph_advice import advise
from graphmesh.cli.graph_calls import get_revision, list_revisions
from graphmesh.cli.graph_import import import_
from graphmesh.cli.graph_load import load_graph
from graphmesh.cli.graph_pictures import explain, show
from graphmesh.cli.graph_validate import validate
from graphmesh.cli.output import emit, output_option
from graphmesh.core.errors import NotFound
from graphmesh.graph.forms.text import dump_textproto, dump_yaml
from graphmesh.graph.forms.wire import graph_from_wire, graph_to_wire
from graphmesh.v1 import graph_pb2, graph_service_pb2

__all__ = ["graph"]


@click.group()
def graph() -> None:
    """Compose models into graphs: check and apply them, look at them, go back to what they were."""


for command in (show, explain, advise, import_, validate, *graph_revisions.commands):
    graph.add_command(command)

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@graph.command(short_help="Check a graph and make it live.")
@_file
@click.option("--etag", default="", help="Replace only the live revision that has this etag (see `graph get`).")
@gateway_option
@output_option
def apply(file: Path, etag: str, gateway: str, output: str) -> None:
    """Check the graph in FILE and make it live, as a new revision; what is live already makes none.

    \b
    graphmesh graph apply ocr.yaml
    graphmesh graph apply ocr.yaml --etag '"42"'
    """  # noqa: D301 - click reads the backspace as: keep these lines
    loaded = load_graph(file)
    before = _live(gateway, loaded.name)
    request = graph_service_pb2.ApplyGraphRequest(graph=graph_to_wire(loaded), etag=etag)
    after: graph_pb2.GraphRevision = ask(gateway, lambda client: client.graphs.ApplyGraph, request)
    if before is not None and before.etag == after.etag:
        change = (str(after.revision), "nothing: it is live already")
    elif after.replaces:
        if before is None or before.revision != after.replaces:  # someone else was faster
            before = get_revision(gateway, loaded.name, after.replaces)
        old, new = graph_from_wire(before.graph), graph_from_wire(after.graph)
        models = "" if old != new else ", with other types of its models"
        change = (f"{after.replaces} -> {after.revision}", graph_revisions.changes(old, new) + models)
    else:
        change = (str(after.revision), graph_revisions.changes(None, loaded))
    emit(output, as_document(after), columns=("Graph", "Revision", "Change"), rows=[(loaded.name, *change)])


def _live(gateway: str, name: str) -> graph_pb2.GraphRevision | None:
    """Return the live revision of a graph, None if there is no such graph."""
    try:
        return get_revision(gateway, name, 0)
    except NotFound:
        return None


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
    found = get_revision(gateway, name, revision)
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
    found = list_revisions(gateway)
    rows = [(r.graph.name, r.revision, len(r.graph.nodes), r.create_time.ToJsonString()) for r in found]
    document = {"graphs": [as_document(r) for r in found]}
    emit(output, document, columns=("Graph", "Revision", "Nodes", "Applied"), rows=rows)


@graph.command()
@click.argument("name")
@click.option("--etag", default="", help="Delete only the live revision that has this etag.")
@click.option("--force", is_flag=True, help="Delete it although other graphs call it; they are not ready then.")
@gateway_option
def delete(name: str, etag: str, gateway: str, *, force: bool) -> None:
    """Take a graph out of service; calls in flight finish. One that other graphs call is kept, unless forced."""
    request = graph_service_pb2.DeleteGraphRequest(name=name, etag=etag, force=force)
    ask(gateway, lambda client: client.graphs.DeleteGraph, request)
    click.echo(f"deleted {name}")
