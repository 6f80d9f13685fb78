"""What commands print: a table for people, JSON or YAML for programs, one line for an error."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import click

from graphmesh.cli.table import table_lines, terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from graphmesh.core.signature import Signature

__all__ = ["emit", "is_table", "output_option", "said_if_slow", "signature_rows"]

output_option: Callable[[Any], Any] = click.option(
    "-o",
    "--output",
    "output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print the answer; a table is cut to the terminal's width, unless it is to be wide.",
)


def is_table(output: str) -> bool:
    """Return whether an answer is for people: what a table cannot say is said beside it then."""
    return output in {"table", "wide"}


def emit(
    output: str,
    document: object,
    *,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    least: Collection[str] = (),
) -> None:
    """Print ``document`` as JSON or YAML, or ``rows`` as a table.

    A table fits the terminal, by what is in ``least``: columns that may be left out, first to last. `wide` leaves
    nothing out and wraps nothing, nor is anything left out or wrapped that goes into a pipe or file.
    """
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    elif output == "yaml":
        import yaml  # noqa: PLC0415 - takes longer to load than most commands to run

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    elif not rows:
        click.echo(f"no {columns[0].lower()}s")
    else:
        width = None if output == "wide" else terminal_width()
        click.echo("\n".join(table_lines(columns, rows, least=least, width=width)))


def signature_rows(signature: Signature) -> list[tuple[str, str, str]]:
    """Return table rows of a signature: what it is, its name, its type."""
    inputs = [("input", spec.name, spec.type) for spec in signature.inputs]
    return inputs + [("output", spec.name, spec.type) for spec in signature.outputs]


@contextlib.contextmanager
def said_if_slow(what: str, *, after_s: float = 1.0) -> Iterator[None]:
    """Say on standard error what is being done if the block takes longer than so many seconds."""
    timer = threading.Timer(after_s, click.echo, (what,), {"err": True})
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
