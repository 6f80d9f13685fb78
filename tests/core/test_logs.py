"""Log lines: their request ids, and their two forms."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.logs import JsonLines, RequestId, bind_request_id, log_handler, request_id

logger = logging.getLogger("tests.logs")


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - a list of lines that grows
    """Return a function that gives the lines written so far, in the form that the test asks for."""
    stream = io.StringIO()
    handler = log_handler(getattr(request, "param", ""))
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
    handler.setStream(stream)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    bind_request_id("")
    yield lambda: stream.getvalue().splitlines()
    logger.removeHandler(handler)
    bind_request_id("")


def test_text_ends_in_the_request(lines: Any) -> None:  # noqa: ANN401
    """A line for people names the request it belongs to, if there is one."""
    logger.info("model loaded model=%s", "m")
    bind_request_id("r-1")
    logger.warning("model failed id=%s", "f")
    first, second = lines()
    assert first.endswith("INFO    tests.logs: model loaded model=m")
    assert second.endswith("WARNING tests.logs: model failed id=f request_id=r-1")


@pytest.mark.parametrize("lines", ["brief"], indirect=True)
def test_brief_is_level_and_message(lines: Any) -> None:  # noqa: ANN401
    """Under `graphmesh up` a line is its level and message; a traceback follows the line."""
    bind_request_id("r-1")
    try:
        int("bad")
    except ValueError:
        logger.exception("failed")
    first, second, *_, last = lines()
    assert first == "ERROR failed request_id=r-1"
    assert second.startswith("Traceback")
    assert last.startswith("ValueError: ")


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_json_is_one_object_a_line(lines: Any) -> None:  # noqa: ANN401
    """Time, level, logger, message, request and fields; numbers stay numbers, and what cannot be written is text."""
    bind_request_id("r-1")
    logger.info("model loaded model=%s version=%s seconds=%.2f calls=%d", "m", "1", 0.123456, 3, extra={"kind": {1}})
    line = json.loads(*lines())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "tests.logs",
        "message": "model loaded",
        "request_id": "r-1",
        "model": "m",
        "version": "1",
        "seconds": 0.12,
        "calls": 3,
        "kind": "{1}",
    }


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_json_has_the_exception(lines: Any) -> None:  # noqa: ANN401
    """A traceback is a field, so that it stays one line."""
    try:
        int("bad")
    except ValueError:
        logger.exception("model failed id=%s", "f")
    line = json.loads(*lines())
    assert (line["id"], line["message"]) == ("f", "model failed")
    assert line["exception"].endswith("base 10: 'bad'")


@pytest.mark.parametrize(
    ("template", "arguments", "message", "fields"),
    [
        ("plain", (), "plain", {}),
        ("%s happened", ("it",), "it happened", {}),
        ("%d of them name=%s", (2, "x"), "2 of them name=x", {}),
        ("happened name=%s twice", ("x",), "happened name=x twice", {}),
        ("happened fixed=yes", (), "happened", {"fixed": "yes"}),
        ("serves address=%s:%d", ("::1", 80), "serves", {"address": "::1:80"}),
        ("done share=%d%% of=%s", (5, "x"), "done share=5% of=x", {}),
        (
            "done seconds=%.1f ok=%s none=%s",
            (float("nan"), True, None),
            "done",
            {"seconds": "nan", "ok": True, "none": "None"},
        ),
        ("happened error=%s", (OSError("a b=c"),), "happened", {"error": "a b=c"}),
        ("happened name=%(name)s", ({"name": "x"},), "happened name=x", {}),
        ("happened message=%s level=%s", ("m", "l"), "happened", {}),
    ],
)
def test_pairs_become_fields(
    template: str, arguments: tuple[object, ...], message: str, fields: dict[str, object]
) -> None:
    """Only what is surely a pair becomes a field, whole even with blanks in it, and none displaces the line's own."""
    record = logging.LogRecord("n", logging.INFO, "", 1, template, arguments, None)
    line = json.loads(JsonLines().format(record))
    assert line["message"] == message
    assert {name: line[name] for name in line.keys() - {"time", "level", "logger", "message"}} == fields
    assert line["level"] == "INFO"


@given(
    st.text(st.characters(exclude_characters="%")),
    st.text() | st.floats() | st.integers() | st.binary() | st.none(),
    st.dictionaries(st.sampled_from(["a", "time", "kind"]), st.floats() | st.text() | st.sets(st.integers())),
)
def test_every_record_is_one_line_of_json(text: str, value: object, extra: dict[str, object]) -> None:
    """Whatever is logged, a line is one JSON object, as strict readers take it, and keeps its own fields."""
    record = logging.LogRecord("n", logging.INFO, "", 1, text + " value=%s", (value,), None)
    record.__dict__.update(extra)
    written = JsonLines().format(record)
    assert "\n" not in written
    line = json.loads(written, parse_constant=pytest.fail)
    assert (line["level"], line["logger"], line["time"][-6:]) == ("INFO", "n", "+00:00")


def test_an_unknown_form_is_refused() -> None:
    """A form that is none stops the start, and the message names those there are."""
    with pytest.raises(InvalidRequest, match="text, brief, json"):
        log_handler("xml")


async def test_requests_side_by_side_keep_their_ids() -> None:
    """An id is bound to the task that runs its request."""

    async def one(name: str) -> str:
        bind_request_id(name)
        await asyncio.sleep(0)
        return request_id()

    assert list(await asyncio.gather(one("a"), one("b"), one(""))) == ["a", "b", ""]
    assert request_id() == ""


def test_a_record_keeps_its_own_id() -> None:
    """A record that has an id, as one that comes from another process, keeps it."""
    bind_request_id("here")
    record = logging.makeLogRecord({"request_id": "there"})
    assert RequestId().filter(record)
    assert vars(record)["request_id"] == "there"
    bind_request_id("")
