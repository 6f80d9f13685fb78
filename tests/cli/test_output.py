"""What commands print: JSON and YAML that parse, tables that show values as they are."""

from __future__ import annotations

import json

import pytest
import yaml

from graphmesh.cli.output import emit

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


def test_a_row_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe, long values are neither folded nor cut."""
    emit("table", None, columns=("A", "B"), rows=[("x" * 200, "y" * 200)])
    assert capsys.readouterr().out.splitlines()[1] == f"{'x' * 200}  {'y' * 200}"
