"""`graphmesh graph revisions`, `diff` and `rollback`: what a graph was, and how to get back to it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from graphmesh.cli.control import as_document, ask
from graphmesh.cli.gateway import gateway_option
from graphmesh.cli.graph_calls import get_revision
from graphmesh.cli.output import emit, output_option
from graphmesh.core.errors import FailedPrecondition
from graphmesh.graph.forms.text import dump_yaml
from graphmesh.graph.forms.wire import graph_from_wire
from graphmesh.v1 import graph_pb2, graph_service_pb2

if TYPE_CHECKING:
    from graphmesh.graph.spec import Graph

__all__ = ["changes", "commands", "difference"]

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}

_HEAD = 2
"""Lines of a diff that name its two sides."""

_name = click.argument("name")


@click.command(short_help="List the revisions of a graph that are kept.")
@_name
@gateway_option
@output_option
def revisions(name: str, gateway: str, output: str) -> None:
    """List the revisions of a graph that are kept, newest first: which is live, and what each one changed.

    \b
    graphmesh graph revisions ocr
    """  # noqa: D301 - click reads the backspace as: keep these lines
    request = graph_service_pb2.ListGraphRevisionsRequest(name=name)
    answer: graph_service_pb2.ListGraphRevisionsResponse = ask(
        gateway, lambda client: client.graphs.ListGraphRevisions, request
    )
    newest_first = answer.revisions[::-1]
    kept = {one.revision: graph_from_wire(one.graph) for one in newest_first}
    rows = [
        (
            one.revision,
            "live" if one.live else "",
            one.create_time.ToJsonString(),
            one.replaces or "",
            changes(kept.get(one.replaces), kept[one.revision]) if one.replaces in {0, *kept} else "",
        )
        for one in newest_first
    ]
    document = {"revisions": [as_document(one) for one in newest_first]}
    columns = ("Revision", "", "Applied", "Replaced", "Change")
    emit(output, document, columns=columns, rows=rows, least=("Replaced", "Applied"))


@click.command(short_help="Show how two revisions of a graph differ.")
@_name
@click.argument("a", type=click.IntRange(min=1), required=False)
@click.argument("b", type=click.IntRange(min=1), required=False)
@click.option("--exit-code", is_flag=True, help="End with exit code 1 if the revisions differ.")
@gateway_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["diff", "json"]),
    default="diff",
    show_default=True,
    help="The difference as text, or with the revisions around it.",
)
@click.pass_context
def diff(
    context: click.Context, name: str, a: int | None, b: int | None, gateway: str, output: str, *, exit_code: bool
) -> None:
    """Show how revision A of a graph differs from B, as a unified diff of their YAML.

    Without B the live revision is taken, without A the one that it replaced.

    \b
    graphmesh graph diff ocr
    graphmesh graph diff ocr 3
    graphmesh graph diff ocr 3 5 --exit-code
    """  # noqa: D301 - click reads the backspace as: keep these lines
    new = get_revision(gateway, name, b or 0)
    number = a or new.replaces
    if not number:
        raise FailedPrecondition(
            f"graph {name!r}: revision {new.revision} replaced none; name one to compare it with: "
            f"graphmesh graph diff {name} REVISION"
        )
    old = get_revision(gateway, name, number)
    text = _difference(old, new)
    if output == "json":
        emit("json", {"graph": name, "from": old.revision, "to": new.revision, "diff": text}, columns=(), rows=())
    else:
        for number, line in enumerate(text.splitlines()):
            colour = _COLOURS.get(line[:1])
            click.echo(click.style(line, bold=True) if number < _HEAD else click.style(line, fg=colour))
    context.exit(1 if text and exit_code else 0)


@click.command(short_help="Make an older revision of a graph live again.")
@_name
@click.option(
    "--to", type=click.IntRange(min=1), help="The revision; default: the one that the live revision replaced."
)
@click.option("--etag", default="", help="Only if the live revision has this etag (see `graph get`).")
@gateway_option
@output_option
def rollback(name: str, to: int | None, etag: str, gateway: str, output: str) -> None:
    """Make an older revision of a graph live again; calls in flight finish on the one that they began with.

    It is checked against the models as they are served now, as `graph apply` does. One rollback after the other goes
    further back, never to a revision that was rolled back from; name that one to return to it.

    \b
    graphmesh graph rollback ocr
    graphmesh graph rollback ocr --to 3
    """  # noqa: D301 - click reads the backspace as: keep these lines
    before = get_revision(gateway, name, 0)
    request = graph_service_pb2.RollbackGraphRequest(name=name, revision=to or 0, etag=etag)
    after: graph_pb2.GraphRevision = ask(gateway, lambda client: client.graphs.RollbackGraph, request)
    rows = [(name, f"{before.revision} -> {after.revision}", changes(_graph(before), _graph(after)))]
    emit(output, as_document(after), columns=("Graph", "Revision", "Change"), rows=rows)


commands = (revisions, diff, rollback)


def difference(old: Graph, new: Graph, *, names: tuple[str, str]) -> str:
    """Return the unified diff of two graphs' YAML, empty if they are equal; ``names`` are those of its two sides."""
    before, after = (dump_yaml(graph).splitlines() for graph in (old, new))
    return "\n".join(difflib.unified_diff(before, after, *names, lineterm=""))


def changes(old: Graph | None, new: Graph) -> str:
    """Return in a few words what a graph has that another has not: ``added read; changed detect``."""
    if old is None:
        return f"new: {len(new.nodes)} step{'s' if len(new.nodes) != 1 else ''}"
    before, after = ({node.name: node for node in graph.nodes} for graph in (old, new))
    steps = {
        "added": [name for name in after if name not in before],
        "changed": [name for name in after if name in before and after[name] != before[name]],
        "removed": [name for name in before if name not in after],
    }
    words = [f"{word} {', '.join(names)}" for word, names in steps.items() if names]
    around = {
        "inputs": old.inputs != new.inputs,
        "outputs": old.outputs != new.outputs,
        "description": old.description != new.description,
    }
    words += [f"other {word}" for word, differs in around.items() if differs]
    return "; ".join(words) or "the same graph"


def _graph(revision: graph_pb2.GraphRevision) -> Graph:
    return graph_from_wire(revision.graph)


def _difference(old: graph_pb2.GraphRevision, new: graph_pb2.GraphRevision) -> str:
    name = new.graph.name
    return difference(
        _graph(old), _graph(new), names=(f"{name} revision {old.revision}", f"{name} revision {new.revision}")
    )
