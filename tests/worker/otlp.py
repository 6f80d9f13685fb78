"""A collector of traces, by OTLP over HTTP with JSON, that keeps what comes and answers as it is told."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    import ssl

__all__ = ["Answer", "Collector", "Received", "Request", "values"]

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a collector says."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What came, its body no longer compressed."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A span that came."""

    kind: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        answer = self.server.collector.take(Request(path=self.path, headers=headers, body=json.loads(body)))
        self.send_response(answer.status)
        for name, value in (("content-type", "application/json"), *answer.headers):
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    collector: Collector

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections: list[socket.socket] = []
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address


class Collector:
    """A collector on a free port of this machine; a context manager."""

    OK: ClassVar = Answer()

    def __init__(self, *answers: Answer, otherwise: Answer = OK, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._answers = list(answers)
        self._otherwise = otherwise
        self._server = _Server(tls)
        self._server.collector = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.port: int = self._server.server_port

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close all that is open."""
        self._server.shutdown()
        self._thread.join()
        self.drop()
        self._server.server_close()

    @property
    def connected(self) -> int:
        """Return how many connections came."""
        return len(self._server.connections)

    def drop(self) -> None:
        """End all connections, as a collector does with those that are idle."""
        for connection in self._server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def take(self, request: Request) -> Answer:
        """Keep a request and return its answer."""
        self.requests.append(request)
        return self._answers.pop(0) if self._answers else self._otherwise

    @property
    def spans(self) -> list[Received]:
        """Return all spans that came."""
        return [span for request in tuple(self.requests) for span in _spans(request.body)]

    def wait_for(self, trace: str, count: int) -> dict[str, Received]:
        """Return the spans of a trace by kind and name, once there are so many."""
        until = time.monotonic() + 30
        while True:
            found = [span for span in self.spans if span.trace_id == trace]
            if len(found) >= count or time.monotonic() > until:
                assert len(found) == count, [span.name for span in found]
                return {f"{span.kind} {span.name}": span for span in found}
            time.sleep(0.05)


def values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return attributes as they were before they were encoded; sequences as lists."""
    return {one["key"]: _value(one["value"]) for one in attributes}


def _value(value: dict[str, Any]) -> object:  # noqa: PLR0911 - one for each kind of value
    if not value:
        return None
    ((kind, held),) = value.items()
    match kind:
        case "stringValue" | "boolValue":
            return held
        case "intValue":
            assert isinstance(held, str)
            return int(held)
        case "doubleValue":
            return float(held)
        case "bytesValue":
            return base64.b64decode(held)
        case "arrayValue":
            return [_value(one) for one in held["values"]]
        case "kvlistValue":
            return values(held["values"])
    raise AssertionError(kind)


def _spans(body: dict[str, Any]) -> list[Received]:
    return [
        Received(
            kind=KINDS[span["kind"]],
            name=span["name"],
            trace_id=span["traceId"],
            span_id=span["spanId"],
            parent=span.get("parentSpanId", ""),
            start_ns=int(span["startTimeUnixNano"]),
            end_ns=int(span["endTimeUnixNano"]),
            attributes=values(span.get("attributes", [])),
            resource=values(part["resource"]["attributes"]),
        )
        for part in body["resourceSpans"]
        for scope in part["scopeSpans"]
        for span in scope["spans"]
    ]
