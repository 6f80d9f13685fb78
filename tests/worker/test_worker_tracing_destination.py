"""What OpenTelemetry's environment says about where traces go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.worker.tracing.destination import is_given, read_destination
from tests.worker.far import TLS

if TYPE_CHECKING:
    from pathlib import Path

HERE = "http://127.0.0.1:4318"


def environment(**given: str) -> dict[str, str]:
    """Return variables by what they have after their prefix."""
    return {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in given.items()}


@pytest.mark.parametrize(
    ("given", "shown", "path"),
    [
        ({"ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces", "/v1/traces"),
        ({"ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces", "/v1/traces"),
        ({"ENDPOINT": "https://c/otlp/"}, "https://c:443/otlp/v1/traces", "/otlp/v1/traces"),
        ({"ENDPOINT": "http://c?key=s"}, "http://c:80/v1/traces", "/v1/traces?key=s"),
        ({"ENDPOINT": "http://[::1]:4318"}, "http://[::1]:4318/v1/traces", "/v1/traces"),
        ({"TRACES_ENDPOINT": "http://c:1/spans?key=s", "ENDPOINT": "http://d"}, "http://c:1/spans", "/spans?key=s"),
        ({"TRACES_ENDPOINT": "http://c:1"}, "http://c:1/", "/"),
        ({"ENDPOINT": "http://c:1", "TRACES_ENDPOINT": " "}, "http://c:1/v1/traces", "/v1/traces"),
    ],
)
def test_endpoints(given: dict[str, str], shown: str, path: str) -> None:
    """The endpoint of traces is taken as it is, the general one gets their path; a query is kept and not shown."""
    destination = read_destination(environment(**given))
    assert [str(destination), destination.path] == [shown, path]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ENDPOINT": "collector:4318"}, "form http://HOST:4318"),
        ({"ENDPOINT": "grpc://collector:4318"}, "form http://HOST:4318"),
        ({"ENDPOINT": "http://"}, "form http://HOST:4318"),
        ({"ENDPOINT": "http://c:port"}, "form http://HOST:4318"),
        ({"ENDPOINT": "http://c/a b"}, "form http://HOST:4318"),
        ({"ENDPOINT": "http://me:secret@c"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"ENDPOINT": HERE, "PROTOCOL": "grpc"}, "only 'http/json' is spoken.*4318"),
        ({"ENDPOINT": HERE, "PROTOCOL": "http/json", "TRACES_PROTOCOL": "http/protobuf"}, "is 'http/protobuf', but"),
        ({"ENDPOINT": "https://c", "CERTIFICATE": "/no/such/file"}, "cannot be read as PEM"),
        ({"ENDPOINT": "https://c", "CLIENT_CERTIFICATE": "/no/such/file"}, "cannot be read as PEM"),
    ],
)
def test_what_cannot_be_sent_to(given: dict[str, str], text: str) -> None:
    """It is an error that says what to do, and nothing that is secret."""
    with pytest.raises(ValueError, match=text) as raised:
        read_destination(environment(**given))
    assert "secret" not in str(raised.value)


def test_certificates(tmp_path: Path) -> None:
    """Those of the collector's authority and of this client are read for HTTPS only; what is none is an error."""
    own = {"CLIENT_CERTIFICATE": str(TLS / "server.pem"), "CLIENT_KEY": str(TLS / "server.key")}
    authority = {"CERTIFICATE": str(TLS / "ca.pem")}
    assert read_destination(environment(ENDPOINT="https://c", **own, **authority)).tls is not None
    assert read_destination(environment(ENDPOINT="http://c", **authority)).tls is None
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(ValueError, match="cannot be read as PEM"):
        read_destination(environment(ENDPOINT="https://c", CERTIFICATE=str(tmp_path / "none.pem")))


def test_headers(caplog: pytest.LogCaptureFixture) -> None:
    """They are written as in W3C's baggage; what is not is left out, and not shown, for it can be a secret."""
    text = "Authorization=Basic%20a%3D%3D, x-tenant = one ,,secret,se cret=1,x=secret%0d%0a,y=a=b"
    destination = read_destination(environment(ENDPOINT=HERE, HEADERS=text))
    assert destination.headers == {"authorization": "Basic a==", "x-tenant": "one", "y": "a=b"}
    assert [record.args for record in caplog.records] == [(3,), (4,), (5,)]
    assert "secret" not in caplog.text
    assert "Basic" not in repr(destination)


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 10.0), ("250", 0.25), ("0", 10.0), ("-1", 10.0), ("1.5", 10.0), ("9" * 30, 10.0)]
)
def test_timeouts(caplog: pytest.LogCaptureFixture, text: str, seconds: float) -> None:
    """They are milliseconds; what is none is said, and is the standard's ten seconds."""
    assert read_destination(environment(ENDPOINT=HERE, TIMEOUT=text)).timeout_s == seconds
    assert bool(caplog.records) is (text not in {"", "250"})


@pytest.mark.parametrize(("text", "compressed"), [("", False), ("none", False), ("GZIP", True), ("zstd", False)])
def test_compression(caplog: pytest.LogCaptureFixture, text: str, *, compressed: bool) -> None:
    """It is gzip or none; what is neither is said, and is none."""
    assert read_destination(environment(ENDPOINT=HERE, COMPRESSION=text)).compressed is compressed
    assert bool(caplog.records) is (text == "zstd")


def test_what_is_for_traces_goes_first() -> None:
    """A variable for traces alone goes before the general one."""
    given = environment(ENDPOINT=HERE, TIMEOUT="1000", TRACES_TIMEOUT="2000", HEADERS="a=1", TRACES_HEADERS="b=2")
    destination = read_destination(given)
    assert [destination.timeout_s, destination.headers] == [2.0, {"b": "2"}]


def test_whether_there_is_an_endpoint() -> None:
    """Either variable makes one, if it is not empty."""
    given = [{}, environment(ENDPOINT=" "), environment(ENDPOINT=HERE), environment(TRACES_ENDPOINT=HERE)]
    assert [is_given(one) for one in given] == [False, False, True, True]
