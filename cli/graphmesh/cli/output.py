"""What commands print: a table for people, JSON or YAML for programs, one line for an error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphmesh.core.signature import Signature

__all__ = ["emit", "output_option", "signature_rows"]

_PIPE_WIDTH = 10_000
"""Into a pipe or file a row is one line, however long."""

output_option: Callable[[Any], Any] = click.option(
    "-o",
    "--output",
    "output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print the answer.",
)


def emit(output: str, document: object, *, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print ``document`` as JSON or YAML, or ``rows`` as a table."""
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    elif not rows:
        click.echo(f"no {columns[0].lower()}s")
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(str, row))
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        # what models answer is shown as it is: no markup, no emoji codes
        Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width).print(table)


def signature_rows(signature: Signature) -> list[tuple[str, str, str]]:
    """Return table rows of a signature: what it is, its name, its type."""
    inputs = [("input", spec.name, spec.type) for spec in signature.inputs]
    return inputs + [("output", spec.name, spec.type) for spec in signature.outputs]
