"""Where traces go and how: what OpenTelemetry's environment says about the exporter, read and checked once.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/: each variable has a form for traces alone, which goes
before the general one. An endpoint of traces alone is the whole URL; to the general one `/v1/traces` is added. What
would send traces to nowhere, or where they should not go, is an error; what only changes how is logged, and has its
default.
"""

from __future__ import annotations

import logging
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROTOCOL", "Destination", "is_given", "read_destination"]

logger = logging.getLogger(__name__)

PROTOCOL = "http/json"
"""The only one of OTLP's protocols that is spoken."""

_PREFIX = "OTEL_EXPORTER_OTLP_"
_TIMEOUT_MS = 10_000
_MILLISECONDS = re.compile(r"[1-9][0-9]{0,8}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URL = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A collector, and how it is sent to."""

    host: str
    """Name or address; an IPv6 address without brackets."""
    port: int
    """Its port."""
    path: str
    """What requests are for, with a query if the endpoint has one."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request. Often secrets: never shown."""
    timeout_s: float = _TIMEOUT_MS / 1000
    """How long one batch is tried for, all attempts together."""
    compressed: bool = False
    """Bodies are compressed with gzip."""
    tls: ssl.SSLContext | None = None
    """How the collector is verified; None for plain HTTP."""

    def __str__(self) -> str:
        """Return the URL without its query, which can be a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}{self.path.partition('?')[0]}"


def is_given(environment: Mapping[str, str]) -> bool:
    """Return whether the environment names an endpoint for traces."""
    return bool(_get(environment, "ENDPOINT"))


def read_destination(environment: Mapping[str, str]) -> Destination:
    """Return where the environment sends traces.

    Raises:
        ValueError: The protocol is another, the endpoint is not a URL of HTTP, or a certificate cannot be read; with
            what to do about it, and without any secret.
    """
    protocol = _get(environment, "PROTOCOL").lower() or PROTOCOL
    if protocol != PROTOCOL:
        msg = (
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol[:80]!r}, but only {PROTOCOL!r} is spoken; "
            "unset it, and let the endpoint be the collector's port for OTLP over HTTP, which is 4318"
        )
        raise ValueError(msg)
    url, port = _endpoint(environment)
    return Destination(
        host=url.hostname or "",
        port=port,
        path=_path(environment, url),
        headers=_headers(_get(environment, "HEADERS")),
        timeout_s=_timeout_ms(_get(environment, "TIMEOUT")) / 1000,
        compressed=_compressed(_get(environment, "COMPRESSION").lower()),
        tls=_tls(environment) if url.scheme == "https" else None,
    )


def _get(environment: Mapping[str, str], name: str) -> str:
    traces = environment.get(f"{_PREFIX}TRACES_{name}", "").strip()
    return traces or environment.get(f"{_PREFIX}{name}", "").strip()


def _endpoint(environment: Mapping[str, str]) -> tuple[SplitResult, int]:
    """Return the endpoint's URL and port."""
    endpoint = _get(environment, "ENDPOINT")
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in {"http", "https"} or not url.hostname or not _URL.fullmatch(endpoint):
        msg = "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL of the form http://HOST:4318 or https://HOST:4318"
        raise ValueError(msg)
    if "@" in url.netloc:
        msg = "OTEL_EXPORTER_OTLP_ENDPOINT must name no user; put 'authorization=...' into OTEL_EXPORTER_OTLP_HEADERS"
        raise ValueError(msg)
    return url, port or (443 if url.scheme == "https" else 80)


def _path(environment: Mapping[str, str], url: SplitResult) -> str:
    alone = environment.get(f"{_PREFIX}TRACES_ENDPOINT", "").strip()
    path = (url.path or "/") if alone else f"{url.path.rstrip('/')}/v1/traces"
    return f"{path}?{url.query}" if url.query else path


def _headers(text: str) -> dict[str, str]:
    """Return headers written `name=value,name=value`, values percent-encoded, as in W3C's baggage."""
    headers = {}
    for number, pair in enumerate(filter(str.strip, text.split(",")), start=1):
        name, equals, value = (part.strip() for part in pair.partition("="))
        value = unquote(value)
        if equals and _NAME.fullmatch(name) and _VALUE.fullmatch(value):
            headers[name.lower()] = value
        else:  # neither name nor value is shown: what is wrong about it may be that a secret is split
            logger.warning("OTEL_EXPORTER_OTLP_HEADERS must be name=value,..., one is left out number=%d", number)
    return headers


def _timeout_ms(text: str) -> int:
    if not text:
        return _TIMEOUT_MS
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    logger.warning("OTEL_EXPORTER_OTLP_TIMEOUT must be milliseconds above 0, it is %d value=%s", _TIMEOUT_MS, text[:80])
    return _TIMEOUT_MS


def _compressed(text: str) -> bool:
    if text not in {"", "none", "gzip"}:
        logger.warning("OTEL_EXPORTER_OTLP_COMPRESSION must be gzip or none, it is none value=%s", text[:80])
    return text == "gzip"


def _tls(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return what verifies the collector: by the system's authorities, or by those that the environment names."""
    authorities, own = _get(environment, "CERTIFICATE"), _get(environment, "CLIENT_CERTIFICATE")
    try:
        context = ssl.create_default_context(cafile=authorities or None)
        if own:
            context.load_cert_chain(own, _get(environment, "CLIENT_KEY") or None)
    except OSError as error:
        msg = f"OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE or _CLIENT_KEY cannot be read as PEM: {error}"
        raise ValueError(msg) from error
    return context
