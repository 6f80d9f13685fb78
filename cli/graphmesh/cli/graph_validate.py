"""`graphmesh graph validate`: whether graphs can work, asked of the mesh or found out from files."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphmesh.cli.control import as_document, ask
from graphmesh.cli.gateway import gateway_option, is_named
from graphmesh.cli.graph_load import read_graphs
from graphmesh.cli.output import emit, is_table, output_option, signature_rows
from graphmesh.core.errors import InvalidRequest, Unavailable
from graphmesh.core.signature import Signature
from graphmesh.core.wire import signature_from_wire, signature_to_wire
from graphmesh.graph.forms.wire import graph_to_wire
from graphmesh.v1 import graph_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from graphmesh.cli.graph_files import Checked

__all__ = ["validate"]

_MESH_FILE = Path("mesh.yaml")
_UNKNOWN = "not known"


@click.command(short_help="Check graphs against models, without storing them.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--mesh-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Ask no mesh: check against the models and graphs of this mesh.yaml, whose Python classes are imported.",
)
@click.option(
    "--models",
    "models_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Ask no mesh: check against what `graphmesh models -o json` printed into this file; together with --mesh-file "
    "it goes first.",
)
@gateway_option
@output_option
@click.pass_context
def validate(
    context: click.Context,
    files: tuple[Path, ...],
    mesh_file: Path | None,
    models_file: Path | None,
    gateway: str,
    output: str,
) -> None:
    """Check the graphs in FILEs against the mesh's models, without storing them; exit code 2 if one has a mistake.

    The mesh is asked. If none answers, and no --gateway is named, they are checked against ./mesh.yaml, if there is
    one: models are opened as `graphmesh up` would, and Python classes are imported, but not made; one that cannot be
    imported is a mistake. What calls a model whose types are not known then is left unchecked, with a note.

    \b
    graphmesh graph validate ocr.yaml
    graphmesh graph validate graphs/*.yaml --mesh-file mesh.yaml
    graphmesh graph validate ocr.yaml --models contracts.json
    """  # noqa: D301 - click reads the backspace as: keep these lines
    if mesh_file is None and models_file is None:
        try:
            found = _ask(files, gateway)
        except Unavailable as error:
            if is_named(context) or not _MESH_FILE.is_file():
                advice = "or check against files with --mesh-file or --models"
                raise error.reworded(f"{error.message}; {advice}") from None
            click.echo(f"no mesh answers at {gateway}", err=True)
            mesh_file = _MESH_FILE
        else:
            _show(found, output)
            context.exit(2 if found.mistakes else 0)
    found = _check(files, mesh_file, models_file)
    _show(found, output)
    context.exit(2 if found.mistakes else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    against: str
    """What graphs were checked against; empty if none could be read."""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    notes: Sequence[str] = ()


def _ask(files: Iterable[Path], gateway: str) -> _Found:
    graphs, errors = read_graphs(map(str, files))
    found = _Found(against=f"the mesh at {gateway}" if graphs else "", mistakes=[error.message for error in errors])
    for path, graph in graphs.items():
        request = graph_service_pb2.ValidateGraphRequest(graph=graph_to_wire(graph))
        try:
            answer: graph_service_pb2.ValidateGraphResponse = ask(
                gateway, lambda client: client.graphs.ValidateGraph, request
            )
        except InvalidRequest as error:
            found.mistakes.append(f"{path}: {error.message}")
            continue
        found.rows.extend((graph.name, *row) for row in signature_rows(signature_from_wire(answer.signature)))
        found.documents.append({"file": path, "graph": graph.name, **as_document(answer), "unchecked": {}})
    return found


def _check(files: Iterable[Path], mesh_file: Path | None, models_file: Path | None) -> _Found:
    from graphmesh.cli.graph_files import check_against_files  # noqa: PLC0415 - loads the gateway and the worker
    from graphmesh.cli.mesh_file import MeshFile, load_mesh_file  # noqa: PLC0415 - as above
    from graphmesh.cli.model_types import saved_types  # noqa: PLC0415 - as above

    mesh = MeshFile() if mesh_file is None else load_mesh_file(mesh_file)
    saved = [] if models_file is None else saved_types(models_file)
    logging.getLogger("graphmesh").addHandler(logging.NullHandler())  # else a model's traceback is printed, too
    outcome = check_against_files([str(file) for file in files], mesh, saved)
    return _Found(
        against=" and ".join(str(path) for path in (models_file, mesh_file) if path is not None),
        rows=[(one.graph.name, *row) for one in outcome.checked for row in _rows(one)],
        documents=[_document(one) for one in outcome.checked],
        mistakes=[*outcome.mistakes, *(f"{mesh_file}: {fault}" for fault in outcome.faults)],
        notes=outcome.notes,
    )


def _rows(checked: Checked) -> Iterator[tuple[str, str, str]]:
    signature = checked.signature or Signature(inputs=(), outputs=())
    known = {(what, name): kind for what, name, kind in signature_rows(signature)}
    for spec in checked.graph.inputs:
        yield "input", spec.name, known.get(("input", spec.name), _UNKNOWN)
    for binding in checked.graph.outputs:
        yield "output", binding.name, known.get(("output", binding.name), _UNKNOWN)
    for step, reason in checked.unchecked.items():
        yield "unchecked", step, reason


def _document(checked: Checked) -> dict[str, Any]:
    signature = None if checked.signature is None else as_document(signature_to_wire(checked.signature))
    return {
        "file": checked.file,
        "graph": checked.graph.name,
        "signature": signature,
        "unchecked": dict(checked.unchecked),
    }


def _show(found: _Found, output: str) -> None:
    document = {
        "against": found.against,
        "graphs": found.documents,
        "mistakes": found.mistakes,
        "notes": list(found.notes),
    }
    if found.rows or not found.mistakes or not is_table(output):
        emit(output, document, columns=("Graph", "What", "Name", "Type"), rows=found.rows)
    for mistake in found.mistakes:
        click.echo(f"graphmesh: {mistake}", err=True)
    if is_table(output):
        for note in found.notes:
            click.echo(f"types not known for certain: model {note}", err=True)
    if found.against and (is_table(output) or found.mistakes):
        click.echo(f"checked against {found.against}", err=True)
