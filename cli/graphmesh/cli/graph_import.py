"""`graphmesh graph import`: graphs of other servers, written as ours."""

from __future__ import annotations

from pathlib import Path

import click

from graphmesh.cli.graph_load import read_text
from graphmesh.cli.out_files import check_writable, force_option, write_file
from graphmesh.cli.output import emit
from graphmesh.core.errors import InvalidRequest
from graphmesh.graph.forms.imports import KINDS, Imported, read
from graphmesh.graph.forms.text import dump_textproto, dump_yaml

__all__ = ["import_"]


@click.command("import", short_help="Print a graph of another server as one of ours.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="What FILE is: an InferenceGraph of KServe, a workflow of TorchServe, an ensemble's config.pbtxt of Triton. "
    "Found out by itself if not given.",
)
@click.option(
    "--as", "form", type=click.Choice(["yaml", "textproto"]), default="yaml", show_default=True, help="Its form."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the graph to this file.")
@force_option("--out")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["graph", "json"]),
    default="graph",
    show_default=True,
    help="The graph with notes beside it, or both as JSON.",
)
def import_(file: Path, kind: str | None, form: str, out: Path | None, output: str, *, force: bool) -> None:
    """Print the graph in FILE, which another server reads, as one of ours, and what could not be carried over.

    Needs no mesh: `graphmesh graph validate` says then whether the graph can work with the models there are.

    \b
    graphmesh graph import config.pbtxt --out ensemble.yaml
    graphmesh graph apply ensemble.yaml
    """  # noqa: D301 - click reads the backspace as: keep these lines
    if out is not None:
        check_writable(out, force=force)
    imported = _read(file, kind)
    document = dump_yaml(imported.graph) if form == "yaml" else dump_textproto(imported.graph)
    if out is not None:
        write_file(out, document, force=force)
    if output == "json":
        emit("json", {"graph": document, "notes": list(imported.notes)}, columns=(), rows=())
        return
    if out is None:
        click.echo(document, nl=False)
    else:
        click.echo(f"wrote {out}", err=True)
    for note in imported.notes:
        click.echo(f"note: {note}", err=True)


def _read(file: Path, kind: str | None) -> Imported:
    text = read_text(file)
    try:
        return read(text, kind=kind or _guess(file, text))
    except InvalidRequest as error:
        raise error.reworded(f"{file}: {error.message}") from None


def _guess(file: Path, text: str) -> str:
    if file.suffix in {".pbtxt", ".textproto", ".txtpb"}:
        return "triton"
    return "kserve" if "InferenceGraph" in text else "torchserve"
