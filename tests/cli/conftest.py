"""The `graphmesh` command in this process, and a gateway that answers what a test tells it to."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(slots=True)
class FakeGateway:
    """Answers every request alike and remembers them."""

    address: str = ""
    """`host:port`."""
    status: int = 200
    """The status of answers."""
    body: bytes = b"{}"
    """The body of answers."""
    elsewhere: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Status and body for paths that end so, instead."""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """Path, headers in lower case and body of each request."""

    def answers(self, document: object, *, status: int = 200) -> None:
        """Answer with a JSON document from now on."""
        self.status, self.body = status, json.dumps(document).encode()

    @property
    def sent(self) -> Any:  # noqa: ANN401 - a JSON document
        """The JSON of the last request."""
        return json.loads(self.requests[-1][2])


@pytest.fixture
def fake_gateway() -> Iterator[FakeGateway]:
    """Return a gateway that answers on a free loopback port."""
    fake = FakeGateway()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            fake.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            others = [answer for end, answer in fake.elsewhere.items() if self.path.endswith(end)]
            status, answer = others[0] if others else (fake.status, fake.body)
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815 - the interface's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the interface's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what makes standard output a terminal of so many columns."""

    def install(columns: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return install


@pytest.fixture
def graphmesh(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return what runs a command in this process: its exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["graphmesh", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        printed = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, printed.out, printed.err

    return run
