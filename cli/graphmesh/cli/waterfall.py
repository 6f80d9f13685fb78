"""The waterfall of one call in a terminal: a row for each step, with a bar where it stood in time."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphmesh.core.errors import InvalidRequest
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
_WIDTH = 10_000


def draw_waterfall(document: Mapping[str, Any]) -> None:
    """Print an `explain` document; of the graphs that a map called, the longest."""
    rows = waterfall(document, nested=_NESTED)
    bar = _bar_width(rows)
    total = max([float(document.get("duration_ms", 0.0)), *(row.start_ms + row.duration_ms for row in rows)])
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("Step", "What", "Where", "Calls", "ms"):
        table.add_column(column, justify="right" if column in {"Calls", "ms"} else "left", no_wrap=True)
    table.add_column(f"0 to {total:.1f} ms", no_wrap=True)
    table.add_column("Notes")
    for row in rows:
        name = Text("  " * row.depth + row.name)
        name.append(_CRITICAL[0] if row.critical else "", _CRITICAL[1])
        calls, took = str(row.calls or ""), f"{row.duration_ms:.1f}"
        table.add_row(name, row.target, row.where, calls, took, _bar(row, total, bar), _notes(row))
    # a row is one line, however long: what is too much for a terminal is continued below, not left out
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=_WIDTH)
    console.print(table)
    console.print(_legend())


def _bar_width(rows: Sequence[Row]) -> int:
    """Return how many characters bars have: what the other columns leave of the terminal."""
    if not sys.stdout.isatty():
        return _BAR
    texts = [(row.depth * 2 + len(row.name) + 1, len(row.target), len(row.where), len(_notes(row))) for row in rows]
    others = sum(max(column) for column in zip(*texts, strict=True)) if texts else 0
    return min(_MOST, max(_LEAST, shutil.get_terminal_size().columns - others - _NUMBERS))


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


def write_waterfall(document: Mapping[str, Any], path: Path) -> None:
    """Write an `explain` document as a web page.

    Raises:
        InvalidRequest: the file cannot be written.
    """
    try:
        path.write_text(waterfall_to_html(document), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be written: {error.strerror}") from None
    click.echo(f"waterfall: {path}", err=True)
