"""One call as rows in time, and as a web page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from graphmesh.graph.drawing.waterfall import Row, waterfall
from graphmesh.graph.drawing.waterfall_html import waterfall_to_html


def entry(node: str, start_ms: float, duration_ms: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """Return a step's entry in a document."""
    return {"node": node, "kind": "model", "outcome": "ok", "start_ms": start_ms, "duration_ms": duration_ms, **more}


def called(node: str, start_ms: float, duration_ms: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """Return the entry of a step that called something."""
    facts = {"target": node.rpartition("/")[2], "worker": "w1", "fused": True, "calls": 1, "calls_ms": duration_ms}
    return entry(node, start_ms, duration_ms, **(facts | more))


LINE = {
    "call": "read[0]",
    "start_ms": 5.0,
    "graph": "line",
    "revision": 4,
    "worker": "w2",
    "duration_ms": 3.0,
    "critical_path": ["ocr"],
    "nodes": [called("ocr", 0.5, 2.0, worker="w2")],
}
DOCUMENT = {
    "graph": "page",
    "revision": 7,
    "worker": "w1",
    "duration_ms": 10.0,
    "critical_path": ["route", "route/big", "read"],
    "nodes": [
        entry(
            "route",
            0.0,
            4.0,
            kind="switch",
            notes={"chosen": ["big", "small"], "sure": True},
            branches=[
                called("route/big", 0.0, 4.0, queue_ms=1.0, compute_ms=2.0, version="3", batch_rows=8),
                called("route/small", 0.0, 3.0, outcome="CANCELLED", fused=False),
            ],
        ),
        called("read", 4.5, 5.0, kind="map", target="line", calls=2, calls_ms=8.0, network_ms=4.0, retries=1)
        | {"nested": [LINE, LINE | {"call": "read[1]", "start_ms": 6.0, "duration_ms": 3.5}]},
    ],
}


def row(rows: list[Row], name: str) -> Row:
    """Return the only row of a name."""
    (found,) = (row for row in rows if row.name == name)
    return found


def test_rows_stand_in_order_and_inside_one_another() -> None:
    """Branches and called graphs follow their step, one deeper; of several graphs each is under its call."""
    rows = waterfall(DOCUMENT, nested=16)
    assert [(row.depth, row.name) for row in rows] == [
        (0, "route"),
        (1, "big"),
        (1, "small"),
        (0, "read"),
        (1, "read[0]"),
        (2, "ocr"),
        (1, "read[1]"),
        (2, "ocr"),
    ]
    assert [row.start_ms for row in rows] == [0.0, 0.0, 0.0, 4.5, 5.0, 5.5, 6.0, 6.5]


def test_only_the_longest_graphs_are_shown() -> None:
    """A map's called graphs are many; as many as are asked for are shown, none if none."""
    assert [row.name for row in waterfall(DOCUMENT, nested=1)][3:] == ["read", "read[1]", "ocr"]
    assert [row.name for row in waterfall(DOCUMENT, nested=0)][3:] == ["read"]
    assert row(waterfall(DOCUMENT, nested=1), "read").notes == ("sent again 1 time", "1 more call not shown")
    assert row(waterfall(DOCUMENT, nested=0), "read").notes == ("sent again 1 time", "2 more calls not shown")


def test_what_was_waited_for() -> None:
    """The critical path is that of the document; in called graphs theirs, under the call that ended last."""
    assert [row.critical for row in waterfall(DOCUMENT, nested=16)] == [
        True,
        True,
        False,
        True,
        False,
        False,
        True,
        True,
    ]


def test_what_a_row_says() -> None:
    """It says what was called, where, how it ended, what was decided, and what its time went on."""
    rows = waterfall(DOCUMENT, nested=16)
    route, big, small, read = (row(rows, name) for name in ("route", "big", "small", "read"))
    assert (route.target, route.where, route.calls) == ("switch", "", 0)
    assert route.notes == ("chosen: big, small", "sure: yes")
    assert (big.target, big.where, big.notes) == ("model big@3", "fused w1", ("batch of 8 rows",))
    assert big.parts == (("queue", 1.0), ("compute", 2.0))
    assert big.shares == [("queue", 0.25), ("compute", 0.5)]
    assert (small.where, small.outcome) == ("remote w1", "CANCELLED")
    assert (read.target, read.calls, read.notes) == ("map line", 2, ("sent again 1 time",))
    assert read.shares == [("network", 0.5)]


def test_parts_are_to_the_scale_of_the_bar() -> None:
    """What is between calls is none of them; of calls side by side each part has its share."""
    loop = called("again", 0, 200, calls=3, calls_ms=2.0, compute_ms=1.0)
    beside = called("map", 0, 200, calls=4, calls_ms=800.0, compute_ms=400.0)
    document = {"graph": "g", "duration_ms": 200.0, "nodes": [loop, beside]}
    assert [one.shares for one in waterfall(document, nested=1)] == [[("compute", 0.005)], [("compute", 0.5)]]
    page = waterfall_to_html(document)
    assert '<span class="compute" style="flex:0 0 0.50%">' in page
    assert "anything else, and the time between calls" in page


def test_why_it_ended_and_how_far_a_stream_is() -> None:
    """What was cut off says by whom, before anything else; a stream that goes on is no failure."""
    stream = called("stream", 0, 5, outcome="running", answers=3, first_answer_ms=1.5)
    late = called(
        "late", 0, 5, outcome="DEADLINE_EXCEEDED", reason="cut off after 5 ms by the limit of late", retries=1
    )
    document = {"graph": "g", "duration_ms": 5.0, "nodes": [stream, late]}
    rows = waterfall(document, nested=1)
    assert (rows[0].outcome, rows[0].notes) == ("ok", ("3 answers so far, the first after 1.5 ms",))
    assert rows[1].notes == ("cut off after 5 ms by the limit of late", "sent again 1 time")
    page = waterfall_to_html(document)
    assert page.count('class="failed"') == 1
    assert "running" not in page.partition("<details>")[0]
    assert "cut off after 5 ms by the limit of late" in page


def test_one_called_graph_needs_no_row_of_its_own() -> None:
    """Its steps follow the step that called it, placed in the whole call's time."""
    document = DOCUMENT | {"nodes": [called("read", 4.5, 5.0, kind="graph", nested=[LINE])]}
    assert [(row.depth, row.name, row.start_ms) for row in waterfall(document, nested=1)] == [
        (0, "read", 4.5),
        (1, "ocr", 5.5),
    ]


def test_a_call_of_a_model_alone() -> None:
    """It is one row, of what the model says."""
    document = {"model": "m", "version": "1", "worker": "w1", "queue_ms": 1.0, "compute_ms": 3.0, "batch_rows": 1}
    (only,) = waterfall(document, nested=1)
    assert (only.name, only.target, only.where, only.duration_ms) == ("m", "model m@1", "w1", 4.0)
    assert only.shares == [("queue", 0.25), ("compute", 0.75)]
    assert only.notes == ()


def test_a_stream_of_a_model_alone() -> None:
    """It is one row as long as the stream was when its answer came."""
    document = {"model": "m", "version": "1", "worker": "w1", "duration_ms": 300.0, "answers": 3}
    (only,) = waterfall(document | {"first_answer_ms": 1.5}, nested=1)
    assert (only.duration_ms, only.shares) == (300.0, [])
    assert only.notes == ("3 answers so far, the first after 1.5 ms",)
    assert "<title>m: 300.0 ms</title>" in waterfall_to_html(document)


@pytest.mark.parametrize("document", [{}, {"nodes": []}, {"nodes": [{}]}, {"nodes": [{"nested": [{}]}], "graph": "g"}])
def test_what_is_missing_is_nothing(document: dict[str, Any]) -> None:
    """Documents of other versions are drawn, too."""
    assert all(not row.shares for row in waterfall(document, nested=1))
    assert "</html>" in waterfall_to_html(document)


class _Page(HTMLParser):
    """Checks that tags are closed in order, and keeps the text of cells and the labels of bars."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.bars: list[dict[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        if "bar" in (dict(attrs).get("class") or "").split():
            self.bars.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(document: dict[str, Any]) -> _Page:
    page = _Page()
    page.feed(waterfall_to_html(document))
    page.close()
    assert page.open == []
    return page


def test_the_page_is_accessible_and_self_contained() -> None:
    """It is a table with a labelled, focusable bar for each row; nothing is loaded and nothing runs."""
    text, page = waterfall_to_html(DOCUMENT), _page(DOCUMENT)
    assert not re.search(r"<script|src=|href=|url\(|@import|https?:", text)
    assert "prefers-color-scheme: dark" in text
    assert '<html lang="en">' in text
    assert len(page.bars) == 8
    assert all(bar["role"] == "img" and bar["tabindex"] == "0" for bar in page.bars)
    label = str(page.bars[1]["aria-label"])
    assert (
        label
        == "big: 4.000 ms from 0.000 ms, model big@3, fused w1, queue: 1.000 ms, compute: 2.000 ms, batch of 8 rows"
    )
    assert "critical path: route → route/big → read" in page.text


def test_bars_stand_where_the_steps_were() -> None:
    """A bar begins and ends in proportion to the whole call, within it."""
    bars = [re.findall(r"([\d.]+)%", str(bar["style"])) for bar in _page(DOCUMENT).bars]
    assert bars[3] == ["45.000", "50.000"]
    assert all(float(begin) + float(size) <= 100 for begin, size in bars)


def test_hostile_names_stay_text() -> None:
    """What a document says cannot become part of the page."""
    evil = '"><script>alert(1)</script>'
    document = {
        "graph": evil,
        "worker": evil,
        "critical_path": [evil],
        "nodes": [called(evil, 0, 1, worker=evil, target=evil, outcome=evil, notes={evil: evil})],
    }
    assert "<script" not in waterfall_to_html(document)
    _page(document)
