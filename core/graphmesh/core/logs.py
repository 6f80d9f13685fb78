"""Log lines that name the request they belong to.

A call with an `x-request-id` binds it to its context (`bind_request_id`); `RequestId` puts it on every record that is
logged from there, a model's own ones too. Two forms: text for people, and JSON, one object a line, for machines.

graphmesh logs a short text followed by ``key=value``; in JSON the pairs are fields of their own, and so is what
``extra`` gives. Not done: files, rotation, sampling; a process writes to standard error and whoever runs it collects.
"""

from __future__ import annotations

import json
import logging
import math
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JsonLines", "RequestId", "TextLines", "bind_request_id", "log_handler", "request_id"]

_request_id: ContextVar[str] = ContextVar("graphmesh_request_id", default="")

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_BRIEF = "%(levelname)s %(message)s"  # under `graphmesh up`, which says who speaks
_FORMS = ("text", "brief", "json")
_SPECIFIER = re.compile(r"%[-#0+]*\d*(?:\.\d+)?[a-zA-Z]")
_PAIRS = re.compile(r"(.*?)((?: \w+=\S+)+)", re.DOTALL)
_PAIR = re.compile(r" (\w+)=(\S+)")
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "request_id"}


def request_id() -> str:
    """Return the id of the request that runs here; empty if it has none."""
    return _request_id.get()


def bind_request_id(value: str) -> None:
    """Let what is logged from here on, in this task or thread, belong to a request; empty: to none."""
    if _request_id.get() != value:
        _request_id.set(value)


class RequestId(logging.Filter):
    """Puts ``request_id`` on records, empty if there is none. For a handler, so that all loggers' records have it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        if not hasattr(record, "request_id"):
            record.request_id = _request_id.get()
        return True


class TextLines(logging.Formatter):
    """A line for people; the request's id is its last word."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        """Return the line without the traceback."""
        line = super().formatMessage(record)
        found = getattr(record, "request_id", "")
        return f"{line} request_id={found}" if found else line


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, the fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        message, fields = _split(record)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        if found := getattr(record, "request_id", ""):
            line["request_id"] = found
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        extra = {name: _finite(value) for name, value in record.__dict__.items() if name not in _PLAIN}
        return json.dumps({**line, **fields, **extra, **line}, default=str, skipkeys=True)


def _split(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """Return a record's text and its ``key=value`` fields; the whole message where its template is of another form.

    The template is what is read: a value is one field whatever is in it.
    """
    found = _PAIRS.fullmatch(record.msg) if isinstance(record.msg, str) and isinstance(record.args, tuple) else None
    if found is None or "%" in found[1] or "%%" in found[2]:
        return record.getMessage(), {}
    fields, rest = {}, list(record.args or ())
    for key, form in _PAIR.findall(found[2]):
        count = len(_SPECIFIER.findall(form))
        fields[key] = _field(form, tuple(rest[:count]))
        del rest[:count]
    return found[1], fields


def _field(form: str, values: tuple[object, ...]) -> object:
    """Return a number or a truth as what it is, rounded as the author of the line wants it; else the text."""
    value = values[0] if len(values) == 1 and _SPECIFIER.fullmatch(form) else None
    if isinstance(value, float):
        return _finite(float(form % value))
    return value if isinstance(value, bool | int) else form % values


def _finite(value: object) -> object:
    """Return a value; NaN and infinities, which JSON lacks, as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def log_handler(form: str = "") -> logging.Handler:
    """Return a handler that writes to standard error, request ids included.

    Args:
        form: ``text`` (the default when empty), ``brief`` or ``json``.

    Raises:
        InvalidRequest: it is none of these.
    """
    if form and form not in _FORMS:
        raise InvalidRequest(f"the log format must be one of {', '.join(_FORMS)}, got {form[:40]!r}")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines(_BRIEF if form == "brief" else _TEXT))
    handler.addFilter(RequestId())
    return handler
