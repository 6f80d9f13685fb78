"""Sends spans to a collector: OTLP over HTTP, with JSON.

https://opentelemetry.io/docs/specs/otlp/#otlphttp. One connection, kept open. A batch is sent until the collector takes
it, but not for longer than the destination's timeout: again after 429, 502, 503 and 504 and after errors of the
network, when `Retry-After` says so, or else after about 1 s, 2 s, 4 s, ...; never after another answer, for the
collector would say the same. A batch that is given up is lost, which is logged when it begins and when it ends.

Runs on the thread of OpenTelemetry's batch processor: it blocks that, and never a call. The timeout bounds each wait
for the collector, so that one that answers byte by byte can take longer. Not done: redirects and proxies.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import random
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from graphmesh.core.version import software_version
from graphmesh.worker.tracing.encoding import encode_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from graphmesh.worker.tracing.destination import Destination

__all__ = ["Batches", "OtlpExporter"]

logger = logging.getLogger(__name__)

_AGAIN = frozenset({429, 502, 503, 504})
_MOST_BYTES = 20 << 20
"""Of a body before it is compressed, as the specification recommends."""
_MOST_ANSWER_BYTES = 64 << 10
_LAST_S = 5.0
"""How long all that is left is tried for when the worker ends."""
_GRPC_PORT = 4317


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """Why an attempt failed."""

    reason: str
    """For the log."""
    again: bool = True
    """Another attempt may do."""
    after_s: float | None = None
    """When, if the collector said so."""


class OtlpExporter(SpanExporter):
    """Sends spans to a collector. Safe to call from several threads; they take turns.

    Args:
        destination: The collector.
        clock: Monotonic seconds.
        ending: Set when the exporter shall wait no longer.
        jitter: Returns what a pause is multiplied by.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        clock: Callable[[], float] = time.monotonic,
        ending: threading.Event | None = None,
        jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2),  # noqa: S311 - no secret
    ) -> None:
        self._destination = destination
        self._clock = clock
        self._ending = ending or threading.Event()
        self._jitter = jitter
        self._last_moment = float("inf")
        self._lost = 0
        self._lock = threading.Lock()
        host, port, tls = destination.host, destination.port, destination.tls
        self._connection = (
            http.client.HTTPSConnection(host, port, context=tls) if tls else http.client.HTTPConnection(host, port)
        )
        self._headers = {"user-agent": f"graphmesh/{software_version()}", **destination.headers}
        self._headers["content-type"] = "application/json"
        if destination.compressed:
            self._headers["content-encoding"] = "gzip"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; return when the collector has them, or they are given up. Raises nothing for what it answers."""
        body = encode_spans(spans)
        if len(body) > _MOST_BYTES:
            return self._lose(len(spans), f"{len(body)} bytes are too many; lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
        if self._destination.compressed:
            body = gzip.compress(body, mtime=0)
        with self._lock:
            refusal = self._send(body)
            return self._lose(len(spans), refusal.reason) if refusal else self._sent()

    def hurry(self) -> None:
        """Try for a few seconds more, all that is still to come together, and each batch once."""
        self._last_moment = min(self._last_moment, self._clock() + _LAST_S)
        self._ending.set()

    def shutdown(self) -> None:
        """Close the connection; what is being sent may take the timeout's time."""
        self.hurry()
        with self._lock:
            self._connection.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the interface's
        """Return that nothing is held back here."""
        return True

    def _send(self, body: bytes) -> _Refusal | None:
        """Send a body until it is taken; return None, or why it is given up."""
        until, pause_s = self._clock() + self._destination.timeout_s, 1.0
        while True:
            last = self._ending.is_set()
            left_s = min(until, self._last_moment) - self._clock()
            if left_s <= 0:
                return _Refusal(reason="the time is up")
            refusal = self._attempt(body, left_s)
            if refusal is None or last or not refusal.again:
                return refusal
            wait_s = pause_s * self._jitter() if refusal.after_s is None else refusal.after_s
            if wait_s >= until - self._clock():
                return refusal
            self._ending.wait(wait_s)  # cut short when all ends: one more attempt
            pause_s *= 2

    def _attempt(self, body: bytes, timeout_s: float) -> _Refusal | None:
        was_open = self._connection.sock is not None
        try:
            return self._exchange(body, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if was_open and isinstance(error, ConnectionError):  # the collector had ended the idle connection
                return self._attempt(body, timeout_s)
            return _Refusal(reason=self._explain(error), again=not isinstance(error, ssl.SSLCertVerificationError))

    def _exchange(self, body: bytes, timeout_s: float) -> _Refusal | None:
        connection = self._connection
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._destination.path, body, self._headers)
        with connection.getresponse() as response:
            answer = response.read(_MOST_ANSWER_BYTES)
            if not response.isclosed():  # there is more, which is not wanted
                connection.close()
        if 200 <= response.status < 300:  # noqa: PLR2004 - HTTP's "successful"
            _log_partial(_document(answer).get("partialSuccess"))
            return None
        reason = f"HTTP {response.status} {_shown(_document(answer).get('message') or response.reason)}"
        return _Refusal(
            reason=reason, again=response.status in _AGAIN, after_s=_retry_after_s(response.getheader("retry-after"))
        )

    def _explain(self, error: Exception) -> str:
        hint = "; 4317 is for gRPC, HTTP has 4318" if self._destination.port == _GRPC_PORT else ""
        return f"{type(error).__name__} {_shown(error)}{hint}"

    def _lose(self, count: int, reason: str) -> SpanExportResult:
        if not self._lost:
            logger.warning(
                "traces cannot be sent and are lost until they can endpoint=%s reason=%s", self._destination, reason
            )
        self._lost += count
        return SpanExportResult.FAILURE

    def _sent(self) -> SpanExportResult:
        if self._lost:
            logger.warning("traces can be sent again endpoint=%s lost_spans=%d", self._destination, self._lost)
            self._lost = 0
        return SpanExportResult.SUCCESS


class Batches(BatchSpanProcessor):
    """Hands spans to an exporter in batches, from a thread of its own."""

    def __init__(self, exporter: OtlpExporter) -> None:
        super().__init__(exporter)
        self._exporter = exporter

    def shutdown(self) -> None:
        """Send what is left, for a few seconds at most after an attempt under way."""
        self._exporter.hurry()
        super().shutdown()  # type: ignore[no-untyped-call]


def _log_partial(partial: object) -> None:
    """Log what a collector did not take, or thinks of it; it must not be sent again."""
    told = partial if isinstance(partial, dict) else {}
    rejected, message = str(told.get("rejectedSpans") or 0), told.get("errorMessage") or ""
    if rejected != "0" or message:
        logger.warning("the collector says of traces rejected_spans=%s message=%s", _shown(rejected), _shown(message))


def _retry_after_s(text: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for, as a number or a date; None if it cannot be read."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _document(answer: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _shown(value: object) -> str:
    """Return a stranger's words, as a line of a log can have them."""
    return repr(str(value)[:200])
