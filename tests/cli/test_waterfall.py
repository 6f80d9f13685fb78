"""The waterfall of one call in a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from graphmesh.cli.waterfall import draw_waterfall

if TYPE_CHECKING:
    import pytest


def entry(node: str, start_ms: float, duration_ms: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """Return a step's entry in a document."""
    return {"node": node, "kind": "model", "start_ms": start_ms, "duration_ms": duration_ms, **more}


def called(node: str, start_ms: float, duration_ms: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """Return the entry of a step that made one call."""
    facts = {"target": "m", "worker": "w", "fused": True, "calls": 1, "calls_ms": duration_ms}
    return entry(node, start_ms, duration_ms, **facts, **more)


DOCUMENT = {
    "duration_ms": 44.0,
    "critical_path": ["route", "route/b"],
    "nodes": [
        entry(
            "route",
            0.0,
            22.0,
            kind="switch",
            notes={"chosen": "b"},
            branches=[
                called(
                    "route/b", 2.0, 20.0, queue_ms=4.0, batch_ms=2.0, compute_ms=8.0, serialise_ms=2.0, network_ms=2.0
                )
            ],
        ),
        called("late", 43.99, 0.001, outcome="INTERNAL"),
    ],
}


def test_each_step_is_a_bar_where_it_stood(capsys: pytest.CaptureFixture[str]) -> None:
    """Parts have their share of a bar, in characters of their own; what took any time can be seen."""
    draw_waterfall(DOCUMENT)
    head, route, branch, late, legend = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    begin = head.index("0 to 44.0 ms")
    assert route[begin:].split("  ")[0] == "·" * 22
    assert branch[begin:] == "  ░░░░▒▒████████▓▓==--"
    assert (late[begin:].split()[0], late.index("-")) == ("-", begin + 43)
    assert route.startswith("route*  switch")
    assert branch.startswith("  b*    model m  fused w      1  20.0  ")
    assert (route.endswith("chosen: b"), late.endswith("INTERNAL")) == (True, True)
    assert legend == "░░ queue  ▒▒ batch  ██ compute  ▓▓ serialise  == network  -- other  * critical path"


def test_bars_have_what_a_terminal_leaves_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a wide terminal bars are long, in a narrow one short; rows stay single lines where they fit."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for columns, width in ((100, 57), (200, 80), (40, 16)):
        monkeypatch.setenv("COLUMNS", str(columns))
        draw_waterfall(DOCUMENT | {"nodes": [called("long", 0, 44)]})
        assert max(map(len, re.findall("-+", capsys.readouterr().out))) == width


def test_notes_are_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is wider than the terminal; into a pipe a row is one line without blanks at its end."""
    nodes = [called("step", 0, 44, notes={"why": "one reason after the other " * 5})]
    draw_waterfall(DOCUMENT | {"nodes": nodes})
    piped = capsys.readouterr().out.splitlines()
    assert (len(piped), [line for line in piped if line != line.rstrip()]) == (3, [])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    draw_waterfall(DOCUMENT | {"nodes": nodes})
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert sum(line.count("reason") for line in lines) == 5


def test_nothing_to_draw(capsys: pytest.CaptureFixture[str]) -> None:
    """A document without steps, or without times, is a table without bars."""
    draw_waterfall({"nodes": []})
    draw_waterfall({})
    assert "0 to 0.0 ms" in capsys.readouterr().out
