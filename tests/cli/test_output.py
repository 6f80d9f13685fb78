"""What commands print: JSON and YAML that parse, tables that show values as they are."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import click
import pytest
import yaml

from graphmesh.cli.output import emit, said_if_slow

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENT = {"name": "mood", "text": ["gut", "schön"]}


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`-o json` prints the document, not the rows."""
    emit("json", DOCUMENT, columns=("Name",), rows=[("other",)])
    assert json.loads(capsys.readouterr().out) == DOCUMENT


def test_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    """`-o yaml` prints the document in its own order, readable beyond ASCII."""
    emit("yaml", DOCUMENT, columns=("Name",), rows=[])
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == DOCUMENT
    assert text.index("name") < text.index("schön")


def test_a_table_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are aligned under their heads."""
    emit("table", None, columns=("Model", "Ready"), rows=[("mood", "1/1"), ("a", 2)])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "Model  Ready",
        "mood   1/1",
        "a      2",
    ]


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table says what there is none of."""
    emit("table", None, columns=("Model", "Ready"), rows=[])
    assert capsys.readouterr().out == "no models\n"


@pytest.mark.parametrize("value", ["[bold]x", "[/closed]", ":smile:", "[1, 2]", "\\[x]"])
def test_values_are_not_markup(capsys: pytest.CaptureFixture[str], value: str) -> None:
    """Text that looks like the terminal library's markup is printed as it is."""
    emit("table", None, columns=("Value",), rows=[(value,)])
    assert capsys.readouterr().out.splitlines()[1].strip() == value


def test_a_row_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a pipe, long values are neither folded nor cut, whatever the terminal around it."""
    monkeypatch.setenv("COLUMNS", "80")
    emit("table", None, columns=("A", "B"), rows=[("x" * 200, "y" * 200)], least=("A",))
    assert capsys.readouterr().out.splitlines()[1] == f"{'x' * 200}  {'y' * 200}"


def test_a_table_fits_the_terminal(capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]) -> None:
    """The last column is wrapped between words, and what matters least is left out; not if it is to be wide."""
    terminal(40)
    rows = [("mood", "x" * 20, "it cannot be loaded: the file is not there")]
    emit("table", None, columns=("Model", "Where", "Trouble"), rows=rows, least=("Where",))
    assert click.unstyle(capsys.readouterr().out).splitlines() == [
        "Model  Trouble",
        "mood   it cannot be loaded: the file is",
        "       not there",
    ]
    emit("wide", None, columns=("Model", "Where", "Trouble"), rows=rows, least=("Where",))
    assert click.unstyle(capsys.readouterr().out).splitlines()[1].split("  ")[-1] == rows[0][-1]


def test_what_is_slow_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """While it goes on; what is done in time is not."""
    with said_if_slow("never", after_s=600):
        pass
    assert capsys.readouterr().err == ""
    said = threading.Event()
    monkeypatch.setattr("click.echo", lambda text, **_: said.set() if text == "loading m ..." else None)
    with said_if_slow("loading m ...", after_s=0):
        assert said.wait(20)
