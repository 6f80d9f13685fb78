"""The commands' HTTP: every answer is a value, whatever listens there."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.http import Answer, get, post
from graphmesh.cli.ports import free_port

if TYPE_CHECKING:
    from tests.cli.conftest import FakeGateway


def test_answers_of_any_status(fake_gateway: FakeGateway) -> None:
    """An error status is an answer with its body, not an exception."""
    fake_gateway.answers({"error": "no"}, status=404)
    assert get(f"http://{fake_gateway.address}/x") == Answer(404, b'{"error": "no"}')


def test_posts_are_json(fake_gateway: FakeGateway) -> None:
    """A POST sends its body as JSON, with the headers given."""
    post(f"http://{fake_gateway.address}/x", b"[1]", headers={"x-a": "b"})
    path, headers, body = fake_gateway.requests[-1]
    assert (path, body) == ("/x", b"[1]")
    assert (headers["content-type"], headers["x-a"]) == ("application/json", "b")


def test_a_proxy_is_not_used(fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's proxy is never between a command and the mesh."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert get(f"http://{fake_gateway.address}/").status == 200


@pytest.mark.parametrize("address", ["127.0.0.1:abc", "127.0.0.1:99999", "no host", ":80"])
def test_addresses_that_cannot_be_reached(address: str) -> None:
    """An address that means nothing is answered with status 0 and a reason."""
    answer = get(f"http://{address}/")
    assert answer.status == 0
    assert answer.body


def test_nothing_listens() -> None:
    """A port without a server is status 0."""
    assert get(f"http://127.0.0.1:{free_port()}/").status == 0


def test_something_that_speaks_another_protocol() -> None:
    """A server that does not speak HTTP is status 0, not a crash."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        answer = get(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()
    assert answer.status == 0
