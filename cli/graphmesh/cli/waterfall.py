"""The waterfall of one call in a terminal: a row for each step, with a bar where it stood in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphmesh.cli.out_files import write_file
from graphmesh.cli.table import terminal_width
from graphmesh.graph.drawing.waterfall import waterfall
from graphmesh.graph.drawing.waterfall_html import waterfall_to_html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from graphmesh.graph.drawing.waterfall import Row

__all__ = ["draw_waterfall", "write_waterfall"]

_LOOKS = {
    "queue": ("░", "yellow"),
    "batch": ("▒", "red"),
    "compute": ("█", "blue"),
    "serialise": ("▓", "magenta"),
    "network": ("=", "cyan"),
}
_OTHER = ("-", "dim")
_AROUND = ("·", "dim")
_CRITICAL = ("*", "bold red")
_NESTED = 1
_BAR, _LEAST, _MOST = 44, 16, 80
_NUMBERS = 24
"""Columns of numbers, and the gaps between columns."""
_LEAST_TEXT = 6
"""A column of text that is shortened keeps as much."""
_LEAST_NOTES = 12
_NARROWEST = 70
"""Less has no room for the least of all columns; a terminal that is narrower breaks the lines itself."""
_WIDTH = 10_000
"""Into a pipe or file, where a row is one line."""


def draw_waterfall(document: Mapping[str, Any]) -> None:
    """Print an `explain` document; of the graphs that a map called, the longest."""
    rows = waterfall(document, nested=_NESTED)
    bar = _bar_width(rows)
    total = max([float(document.get("duration_ms", 0.0)), *(row.start_ms + row.duration_ms for row in rows)])
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("Step", "What", "Where"):
        table.add_column(column, no_wrap=True, overflow="ellipsis", min_width=_LEAST_TEXT)
    for column in ("Calls", "ms"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    table.add_column(f"0 to {total:.1f} ms", no_wrap=True, min_width=bar)
    notes = [_notes(row) for row in rows]
    if any(notes):
        table.add_column("Notes", overflow="fold", min_width=_LEAST_NOTES)
    for row, note in zip(rows, notes, strict=True):
        name = Text("  " * row.depth + row.name)
        name.append(_CRITICAL[0] if row.critical else "", _CRITICAL[1])
        calls, took = str(row.calls or ""), f"{row.duration_ms:.1f}"
        table.add_row(name, row.target, row.where, calls, took, _bar(row, total, bar), *([note] if any(notes) else []))
    console = Console(highlight=False, markup=False, emoji=False, width=max(_NARROWEST, terminal_width() or _WIDTH))
    with console.capture() as drawn:
        console.print(table)
        console.print(_legend())
    click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def _bar_width(rows: Sequence[Row]) -> int:
    """Return how many characters bars have: what the other columns leave of the terminal."""
    columns = terminal_width()
    if columns is None:
        return _BAR
    texts = [(row.depth * 2 + len(row.name) + 1, len(row.target), len(row.where), len(_notes(row))) for row in rows]
    others = sum(max(column) for column in zip(*texts, strict=True)) if texts else 0
    return min(_MOST, max(_LEAST, columns - others - _NUMBERS))


def _notes(row: Row) -> str:
    return "; ".join([*([row.outcome] if row.outcome != "ok" else []), *row.notes])


def _bar(row: Row, total: float, width: int) -> Text:
    """Return a row's bar; each part has its share of the columns, and a step that took any time has one at least."""
    scale = width / total if total else 0.0
    begin = min(width - 1, round(row.start_ms * scale))
    end = min(width, max(begin + 1, round((row.start_ms + row.duration_ms) * scale)))
    bar = Text(" " * begin)
    if not row.calls:
        return bar.append(_AROUND[0] * (end - begin), _AROUND[1])
    share, done = 0.0, 0
    for name, part in row.shares:
        share += part
        upto = round(share * (end - begin))
        bar.append(_LOOKS[name][0] * (upto - done), _LOOKS[name][1])
        done = upto
    return bar.append(_OTHER[0] * (end - begin - done), _OTHER[1])


def _legend() -> Text:
    legend = Text("")
    for name, (character, style) in _LOOKS.items():
        legend.append(character * 2, style).append(f" {name}  ")
    legend.append(_OTHER[0] * 2, _OTHER[1]).append(" other  ")
    return legend.append(_CRITICAL[0], _CRITICAL[1]).append(" critical path")


def write_waterfall(document: Mapping[str, Any], path: Path, *, force: bool) -> None:
    """Write an `explain` document as a web page; raises as `write_file`."""
    write_file(path, waterfall_to_html(document), force=force)
    click.echo(f"waterfall: {path}", err=True)
