"""Tables as text that fits a terminal: what is said last in a row is wrapped, what matters least is left out first.

Without a width every row is one line, however long, and nothing is left out: what a program or `grep` reads.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["table_lines", "terminal_width"]

_GAP = "  "
_CUT = "…"
_LEAST = 8
"""A column that is shortened keeps as much."""
_LEAST_LAST = 24
"""The last column is wrapped into no less, as long as others can be left out or shortened."""
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), " ")


def terminal_width() -> int | None:
    """Return how wide tables may be: the terminal's width, or `COLUMNS` if it is set; None into a pipe or file.

    There `COLUMNS` counts for nothing: Python's readline sets it for all children of a program that merely imports it.
    """
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, least: Collection[str], width: int | None
) -> list[str]:
    """Return the lines of a table.

    Args:
        columns: The heads of its columns.
        rows: As many cells each; what a terminal would take as a command is blanked.
        least: Columns that may be left out where there is no room, first to last.
        width: Cells of the terminal; None takes as much as there is.
    """
    cells = [[[line.translate(_CONTROL) for line in str(cell).splitlines()] or [""] for cell in row] for row in rows]
    kept = list(range(len(columns)))
    if width is None:
        plain = [[[" ".join(lines)] for lines in row] for row in cells]
        return _lines(columns, plain, _natural(columns, plain))
    sizes = _natural(columns, cells)
    for name in least:
        if _needed(sizes, kept) > width:
            kept.remove(columns.index(name))
    fitted = _fitted([sizes[at] for at in kept], width)
    wrapped = [
        [_shortened(row[at], size) for at, size in zip(kept[:-1], fitted, strict=False)]
        + [_wrapped(row[kept[-1]], fitted[-1])]
        for row in cells
    ]
    return _lines([columns[at] for at in kept], wrapped, fitted)


def _natural(columns: Sequence[str], cells: Sequence[Sequence[Sequence[str]]]) -> list[int]:
    """Return how wide columns are if nothing is wrapped."""
    return [max(_size(name), *(_size(line) for row in cells for line in row[at]), 0) for at, name in enumerate(columns)]


def _needed(sizes: Sequence[int], kept: Sequence[int]) -> int:
    last = min(sizes[kept[-1]], _LEAST_LAST)
    return sum(sizes[at] for at in kept[:-1]) + last + len(_GAP) * (len(kept) - 1)


def _fitted(sizes: Sequence[int], width: int) -> list[int]:
    """Return how wide columns are to be: the widest are shortened, and the last gets what is left."""
    others, room = list(sizes[:-1]), width - len(_GAP) * (len(sizes) - 1)
    while sum(others) + min(sizes[-1], _LEAST_LAST) > room and max(others, default=0) > _LEAST:
        others[others.index(max(others))] -= 1
    return [*others, min(sizes[-1], max(_LEAST, room - sum(others)))]


def _shortened(lines: Sequence[str], size: int) -> list[str]:
    return [line if _size(line) <= size else _start(line, size - 1) + _CUT for line in lines]


def _wrapped(lines: Sequence[str], size: int) -> list[str]:
    """Return lines broken between words, and within those that are too long."""
    broken = []
    for line in lines:
        if _size(line) <= size:
            broken.append(line)
            continue
        for part in textwrap.wrap(line, size, break_on_hyphens=False) or [""]:
            rest = part
            while _size(rest) > size:  # characters of two cells
                start = _start(rest, size)
                broken.append(start)
                rest = rest[len(start) :]
            broken.append(rest)
    return broken


def _size(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _start(text: str, size: int) -> str:
    """Return as much of a text as takes so many cells."""
    taken = 0
    for index, character in enumerate(text):
        taken += _cells(character)
        if taken > size:
            return text[:index]
    return text


def _lines(columns: Sequence[str], cells: Sequence[Sequence[Sequence[str]]], sizes: Sequence[int]) -> list[str]:
    head = _line([_shortened([name], size)[0] for name, size in zip(columns, sizes, strict=True)], sizes)
    lines = [click.style(head, bold=True)]
    for row in cells:
        high = max(map(len, row))
        lines.extend(_line([part[at] if at < len(part) else "" for part in row], sizes) for at in range(high))
    return lines


def _line(cells: Sequence[str], sizes: Sequence[int]) -> str:
    padded = [cell + " " * (size - _size(cell)) for cell, size in zip(cells, sizes, strict=True)]
    return _GAP.join(padded).rstrip()
