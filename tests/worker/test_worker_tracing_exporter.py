"""How spans get to a collector: what is sent, when it is sent again, and when not."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from graphmesh.worker.tracing.destination import Destination, read_destination
from graphmesh.worker.tracing.exporter import Batches, OtlpExporter
from tests.worker.far import TLS
from tests.worker.otlp import Answer, Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPAN = ReadableSpan(
    "x",
    context=SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)),
    resource=Resource({"service.name": "graphmesh"}),
    start_time=1,
    end_time=2,
)
DONE, FAILED = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


class Time(threading.Event):
    """A clock that only pauses move, and the event that ends them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        """Pass the time at once."""
        assert timeout is not None
        self.pauses.append(timeout)
        self.now += timeout
        return self.is_set()


@pytest.fixture
def passing() -> Time:
    """The time of a test."""
    return Time()


@pytest.fixture
def exporter(passing: Time) -> Iterator[Callable[..., OtlpExporter]]:
    """Make exporters to a port of this machine, or with a destination."""
    made: list[OtlpExporter] = []

    def make(collector: Collector | int, **more: Any) -> OtlpExporter:  # noqa: ANN401 - fields of a destination
        port = collector if isinstance(collector, int) else collector.port
        destination = Destination(host="127.0.0.1", port=port, path="/v1/traces", **more)
        made.append(OtlpExporter(destination, clock=passing.clock, ending=passing, jitter=lambda: 1.0))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("compressed", [True, False])
def test_what_is_sent(exporter: Callable[..., OtlpExporter], *, compressed: bool) -> None:
    """A POST of JSON with the headers that were asked for, on a connection that is kept."""
    with Collector() as collector:
        one = exporter(collector, headers={"authorization": "Bearer x"}, compressed=compressed)
        assert [one.export([SPAN]), one.export([SPAN, SPAN])] == [DONE, DONE]
        assert one.force_flush()
        assert [len(collector.spans), collector.connected] == [3, 1]
        request = collector.requests[0]
        assert request.path == "/v1/traces"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["authorization"] == "Bearer x"
        assert request.headers["user-agent"].startswith("graphmesh/")
        assert request.headers.get("content-encoding") == ("gzip" if compressed else None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_is_sent_again(exporter: Callable[..., OtlpExporter], passing: Time, status: int) -> None:
    """A collector that is busy is asked again, when it says so or else ever later."""
    busy = Answer(status=status)
    with Collector(busy, Answer(status=status, headers=(("Retry-After", "3"),)), busy) as collector:
        assert exporter(collector).export([SPAN]) is DONE
        assert [passing.pauses, len(collector.requests)] == [[1.0, 3.0, 4.0], 4]


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500])
def test_what_is_not_sent_again(
    exporter: Callable[..., OtlpExporter], passing: Time, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """What a collector will not take is lost, and its reason is logged."""
    with Collector(Answer(status=status, body=b'{"message": "not\\nso"}')) as collector:
        assert exporter(collector).export([SPAN]) is FAILED
        assert [passing.pauses, len(collector.requests)] == [[], 1]
        assert f"http://127.0.0.1:{collector.port}/v1/traces reason=HTTP {status} 'not\\nso'" in caplog.text


def test_the_timeout_holds(exporter: Callable[..., OtlpExporter], passing: Time) -> None:
    """Nothing is tried for longer, and no pause begins that would end later."""
    with Collector(otherwise=Answer(status=503)) as collector:
        assert exporter(collector, timeout_s=10.0).export([SPAN]) is FAILED
        assert [passing.pauses, len(collector.requests)] == [[1.0, 2.0, 4.0], 4]


@pytest.mark.parametrize("by_date", [True, False])
def test_a_collector_that_wants_long_peace(
    exporter: Callable[..., OtlpExporter], passing: Time, *, by_date: bool
) -> None:
    """It gets it: what the timeout has no room for is not tried."""
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with Collector(Answer(status=503, headers=(("Retry-After", date if by_date else "3600"),))) as collector:
        assert exporter(collector).export([SPAN]) is FAILED
        assert [passing.pauses, len(collector.requests)] == [[], 1]


@pytest.mark.parametrize("text", ["soon", "-1", "²"])
def test_a_retry_after_that_cannot_be_read(exporter: Callable[..., OtlpExporter], passing: Time, text: str) -> None:
    """It is as if there were none."""
    with Collector(Answer(status=503, headers=(("Retry-After", text),))) as collector:
        assert exporter(collector).export([SPAN]) is DONE
        assert passing.pauses == [1.0]


def test_nobody_is_there(
    exporter: Callable[..., OtlpExporter], passing: Time, nobody: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again, too; that spans are lost is said once, and once that they are no more."""
    one = exporter(nobody)
    assert [one.export([SPAN]), one.export([SPAN, SPAN])] == [FAILED, FAILED]
    assert passing.pauses == [1.0, 2.0, 4.0] * 2
    assert caplog.text.count("are lost") == 1
    assert "ConnectionRefusedError" in caplog.text
    with Collector() as collector:
        one._connection.port = collector.port
        assert one.export([SPAN]) is DONE
        one.shutdown()
    assert "lost_spans=3" in caplog.text


def test_the_port_of_grpc(exporter: Callable[..., OtlpExporter], nobody: int, caplog: pytest.LogCaptureFixture) -> None:
    """Who names the port that collectors have for gRPC is told the other."""
    one = exporter(4317)
    one._connection = http.client.HTTPConnection("127.0.0.1", nobody)
    assert one.export([SPAN]) is FAILED
    assert "4317 is for gRPC, HTTP has 4318" in caplog.text


def test_an_idle_connection_ends(exporter: Callable[..., OtlpExporter], passing: Time) -> None:
    """The next batch is sent on another, at once."""
    with Collector() as collector:
        one = exporter(collector)
        assert one.export([SPAN]) is DONE
        collector.drop()
        assert one.export([SPAN]) is DONE
        assert [passing.pauses, len(collector.requests), collector.connected] == [[], 2, 2]


@pytest.mark.parametrize(
    ("partial", "text"),
    [
        ({"rejectedSpans": "2", "errorMessage": "too old"}, "rejected_spans='2' message='too old'"),
        ({"errorMessage": "slow down"}, "rejected_spans='0' message='slow down'"),
        ({"rejectedSpans": "0"}, ""),
        ({"rejectedSpans": []}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_a_partial_success(
    exporter: Callable[..., OtlpExporter], caplog: pytest.LogCaptureFixture, partial: object, text: str
) -> None:
    """What a collector rejects or remarks is logged and never sent again."""
    with Collector(Answer(body=json.dumps({"partialSuccess": partial}).encode())) as collector:
        assert exporter(collector).export([SPAN]) is DONE
        assert len(collector.requests) == 1
    assert text in caplog.text
    assert bool(text) is bool(caplog.records)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"x" * (1 << 17)])
def test_an_answer_that_is_no_document(exporter: Callable[..., OtlpExporter], body: bytes) -> None:
    """The status counts, and the next batch gets there."""
    with Collector(otherwise=Answer(body=body)) as collector:
        one = exporter(collector)
        assert [one.export([SPAN]), one.export([SPAN])] == [DONE, DONE]
        assert len(collector.requests) == 2


def test_a_batch_is_too_large(
    exporter: Callable[..., OtlpExporter], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not sent, and the log says which variable makes batches smaller."""
    monkeypatch.setattr("graphmesh.worker.tracing.exporter._MOST_BYTES", 100)
    with Collector() as collector:
        assert exporter(collector).export([SPAN]) is FAILED
        assert collector.requests == []
    assert "lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE" in caplog.text


@pytest.mark.parametrize("trusted", [True, False])
def test_who_the_collector_is(passing: Time, caplog: pytest.LogCaptureFixture, *, trusted: bool) -> None:
    """By TLS, only one that an authority vouches for gets spans; asking again would not change that."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    with Collector(tls=server) as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{collector.port}"}
        if trusted:
            environment["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(TLS / "ca.pem")
        one = OtlpExporter(read_destination(environment), clock=passing.clock, ending=passing)
        assert one.export([SPAN]) is (DONE if trusted else FAILED)
        one.shutdown()
        assert [passing.pauses, len(collector.spans)] == [[], 1 if trusted else 0]
    assert ("SSLCertVerificationError" in caplog.text) is not trusted


def test_the_end_is_near(exporter: Callable[..., OtlpExporter], passing: Time) -> None:
    """Each batch is then tried once, and none after some seconds."""
    with Collector(otherwise=Answer(status=503)) as collector:
        one = exporter(collector)
        one.hurry()
        assert one.export([SPAN]) is FAILED
        passing.now += 5.0
        one.hurry()
        assert one.export([SPAN]) is FAILED
        assert [passing.pauses, len(collector.requests)] == [[], 1]


def test_what_is_left_is_sent_at_the_end() -> None:
    """A processor that ends waits for nothing but that."""
    with Collector() as collector:
        batches = Batches(OtlpExporter(Destination(host="127.0.0.1", port=collector.port, path="/x?key=1")))
        batches.on_end(SPAN)
        batches.shutdown()
        assert [request.path for request in collector.requests] == ["/x?key=1"]
