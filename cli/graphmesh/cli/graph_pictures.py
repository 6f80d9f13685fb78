"""`graphmesh graph show` and `graph explain`: a graph as a picture, and how the mesh would run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphmesh.cli.gateway import gateway_option
from graphmesh.cli.graph_calls import check_worker, get_revision, known
from graphmesh.cli.out_files import check_writable, force_option, write_file
from graphmesh.cli.output import emit, is_table, output_option
from graphmesh.core.errors import FailedPrecondition, InvalidGraph, InvalidRequest, ModelNotReady
from graphmesh.graph.checks.validate import type_graph
from graphmesh.graph.drawing.mermaid import to_mermaid
from graphmesh.graph.drawing.plan_text import plan_to_text
from graphmesh.graph.drawing.svg import to_svg
from graphmesh.graph.drawing.text import to_text
from graphmesh.graph.forms.wire import graph_from_wire
from graphmesh.graph.placing.segments import segment
from graphmesh.graph.placing.usage import fixed
from graphmesh.graph.spec import ModelCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature, TensorSpec
    from graphmesh.graph.placing.segments import Mesh
    from graphmesh.graph.spec import Graph

__all__ = ["explain", "show"]

_FORMS = {"text": to_text, "mermaid": to_mermaid, "svg": to_svg}
_SUFFIXES = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".txt": "text"}

_name = click.argument("name")
_revision = click.option("--revision", type=click.IntRange(min=0), default=0, help="A revision; 0 is the live one.")


@click.command(short_help="Draw a graph with the types of what flows in it.")
@_name
@_revision
@click.option(
    "--as",
    "form",
    type=click.Choice(list(_FORMS)),
    help="The drawing's form; default: by the file's ending, else text.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="A file to write; default: standard output."
)
@force_option("--out")
@gateway_option
def show(name: str, revision: int, form: str | None, out: Path | None, gateway: str, *, force: bool) -> None:
    """Draw a graph: its steps, their branches, and the types of what flows between them.

    \b
    graphmesh graph show ocr
    graphmesh graph show ocr --out ocr.svg
    """  # noqa: D301 - click reads the backspace as: keep these lines
    form = form or _form(out)
    if out is not None:
        check_writable(out, force=force)
    source, mesh, _ = _read(gateway, name, revision)
    drawn = _FORMS[form](source, _types(source, mesh))
    if out is None:
        click.echo(drawn, nl=False)
    else:
        write_file(out, drawn, force=force)


def _form(out: Path | None) -> str:
    """Return the form that a file's ending stands for."""
    if out is None:
        return "text"
    try:
        return _SUFFIXES[out.suffix]
    except KeyError:
        raise InvalidRequest(f"{out}: must end in {', '.join(_SUFFIXES)}; or give its form with --as") from None


@click.command(short_help="Print how and where a graph is run.")
@_name
@_revision
@click.option("--worker", default="", help="The worker that runs the graph; default: one that the mesh sends calls to.")
@gateway_option
@output_option
def explain(name: str, revision: int, worker: str, gateway: str, output: str) -> None:
    """Print how a graph is run: which steps are fused, where each runs, what crosses the network."""
    source, mesh, number = _read(gateway, name, revision)
    if worker:
        check_worker(gateway, worker)
    plan = segment(source, mesh, worker or _executor(source, mesh), tensors=_types(source, mesh))
    if is_table(output):
        click.echo(plan_to_text(plan), nl=False)
    else:
        emit(output, {**plan.to_dict(), "revision": number}, columns=(), rows=())


def _read(gateway: str, name: str, revision: int) -> tuple[Graph, Mesh, int]:
    """Return a graph, what is known of its mesh, and the number of its revision.

    Versions are held for live graphs: which ones another revision would use is not known before it is run.
    """
    found, mesh = get_revision(gateway, name, revision), known(gateway)
    if not found.live:
        mesh = replace(mesh, pins={graph: pins for graph, pins in mesh.pins.items() if graph != name})
    return graph_from_wire(found.graph), mesh, found.revision


def _executor(source: Graph, mesh: Mesh) -> str:
    """Return a worker that the mesh sends this graph's calls to."""
    workers = mesh.runners.get(source.name, ())
    if problem := mesh.problems.get(source.name):
        raise FailedPrecondition(f"graph {source.name!r} is not ready: {problem}")
    if not workers:
        raise ModelNotReady(
            f"no worker can run graph {source.name!r} now; name one with --worker, or see: graphmesh models"
        )
    return workers[0]


def _types(source: Graph, mesh: Mesh) -> Mapping[str, TensorSpec]:
    """Return the types of a graph's tensors; none if it does not fit the mesh's models, as far as they are known."""
    pins = mesh.pins.get(source.name, {})

    def signature(name: str) -> Signature | None:
        return mesh.signatures(fixed(ModelCall(name=name), pins))

    try:
        return type_graph(source, signature, graphs=mesh.graphs, pinned=mesh.signatures).tensors
    except InvalidGraph:
        return {}
