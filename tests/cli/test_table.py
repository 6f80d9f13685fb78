"""Tables fit the terminal, whatever is in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.cli.table import _size, table_lines, terminal_width
from graphmesh.v1 import mesh_service_pb2, model_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import FakeGateway

    Run = Callable[..., tuple[int, str, str]]

LONG = "node detect calls model text-detection, of which no version fits: edge decode.image -> detect.image: " * 3


def shown(lines: list[str]) -> list[str]:
    """Return lines without the head's bold."""
    return [line.removeprefix("\x1b[1m").removesuffix("\x1b[0m") for line in lines]


@given(
    st.lists(st.tuples(st.text(max_size=60), st.text(max_size=20), st.text(max_size=300)), min_size=1, max_size=5),
    st.integers(min_value=40, max_value=120),
)
def test_no_line_is_too_wide(rows: list[tuple[str, str, str]], width: int) -> None:
    """Of any text, also of characters that take two cells; and nothing in it is a command to the terminal."""
    lines = shown(table_lines(("A", "B", "C"), rows, least=("B",), width=width))
    assert max(map(_size, lines)) <= width
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for line in lines for character in line)


@given(st.lists(st.text(alphabet="ab 漢\n", max_size=100), min_size=1, max_size=3), st.integers(40, 80))
def test_nothing_of_the_last_column_is_lost(cells: list[str], width: int) -> None:
    """It is wrapped, not cut: all its characters but blanks are there."""
    lines = table_lines(("", ""), [("", cell) for cell in cells], least=(), width=width)
    assert "".join("".join(shown(lines)).split()) == "".join("".join(cells).split())


def test_what_is_left_out() -> None:
    """Columns go one by one, only as far as it takes; then the widest is shortened, and says so."""
    row, heads = ("m" * 20, "k" * 10, "v" * 10, "t" * 30), ("Model", "Kind", "Versions", "Trouble")
    for width, head in ((76, "Model Kind Versions Trouble"), (69, "Model Versions Trouble"), (47, "Model Trouble")):
        lines = shown(table_lines(heads, [row], least=("Kind", "Versions"), width=width))
        assert lines[0].split() == head.split()
    lines = shown(table_lines(heads, [row], least=("Kind", "Versions"), width=40))
    assert lines[1] == f"{'m' * 13}…  {'t' * 24}"
    lines = table_lines(heads, [row], least=("Kind", "Versions"), width=None)
    assert lines[1].split() == list(row)


def test_how_wide_it_may_be(monkeypatch: pytest.MonkeyPatch, terminal: Callable[[int], None]) -> None:
    """As wide as a terminal; into a pipe as wide as it takes, whatever `COLUMNS` says."""
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal_width() is None
    terminal(72)
    assert terminal_width() == 72


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[mesh_service_pb2.Model]:
    """Return the models and graphs of a mesh in trouble, which commands get for an answer."""
    hosted = model_pb2.HostedModel(version="1", state=model_pb2.MODEL_STATE_FAILED, message=LONG, memory_bytes=1 << 30)
    found = [
        mesh_service_pb2.Model(name="text-detection-of-scanned-pages"),
        mesh_service_pb2.Model(name="ocr", graph=True, problem=LONG, revision=12),
    ]
    for model in found:
        for number in range(8):
            model.replicas.add(worker_id=f"detection-{number}", model=hosted)
    status = mesh_service_pb2.MeshStatus(mesh="default", held_workers=[f"w-{number}" for number in range(40)])
    status.held_versions.add(model="text-detection", version="2", graph="ocr", reason=LONG, used_version="1")
    for module in ("mesh", "models"):
        monkeypatch.setattr(f"graphmesh.cli.{module}.ask_for_all", lambda *_: found)
    monkeypatch.setattr("graphmesh.cli.mesh.ask", lambda *_: status)
    return found


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("command", ["status", "models"])
def test_commands_fit_80_columns(graphmesh: Run, terminal: Callable[[int], None], command: str) -> None:
    """With reasons of any length; `-o wide` and a pipe have a line for each row."""
    _, piped, _ = graphmesh(command)
    assert LONG.strip() in piped
    terminal(80)
    code, out, _ = graphmesh(command)
    assert code == 0
    assert max(map(len, click.unstyle(out).splitlines())) <= 80
    assert "no version fits: edge" in " ".join(out.split())
    assert click.unstyle(graphmesh(command, "-o", "wide")[1]) == piped


def test_doctor_fits_80_columns(graphmesh: Run, fake_gateway: FakeGateway, terminal: Callable[[int], None]) -> None:
    """What it advises is wrapped."""
    fake_gateway.answers({"mesh": "default", "etcd_connected": True})
    listed = {"models": [{"name": "ocr", "graph": True, "problem": LONG}]}
    fake_gateway.elsewhere["page_size=1000"] = (200, json.dumps(listed).encode())
    terminal(80)
    code, out, _ = graphmesh("doctor", "--gateway", fake_gateway.address)
    assert code == 1
    assert max(map(len, click.unstyle(out).splitlines())) <= 80
    assert LONG.rsplit(maxsplit=1)[-1] in out


def test_a_cell_of_several_lines() -> None:
    """Lines stay lines in a terminal, and are one in a pipe."""
    assert shown(table_lines(("A", "B"), [("x", "one\ntwo")], least=(), width=80)) == ["A  B", "x  one", "   two"]
    assert shown(table_lines(("A", "B"), [("x", "one\ntwo")], least=(), width=None)) == ["A  B", "x  one two"]
