"""HTTP/1.1 to another server: how answers end, connections that are kept or lost, what is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.ports import free_port
from graphmesh.core.errors import GraphmeshError, MessageTooLarge, Unavailable
from graphmesh.worker.backends.remote_connection import HttpConnections
from tests.worker.far import FarHttp, answer
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from graphmesh.worker.backends.remote_connection import HttpReply

LIMIT = 1 << 20
HEAD = b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def far() -> AsyncIterator[FarHttp]:
    """A server that plays back answers to `GET /x`."""
    async with FarHttp({"GET /x": answer(b"body")}) as running:
        yield running


async def _call(far: FarHttp, times: int = 1, limit: int = LIMIT) -> HttpReply:
    connections = HttpConnections("127.0.0.1", far.port, tls=None, max_message_bytes=limit)
    try:
        for _ in range(times):
            reply = await connections.call(HEAD, b"")
    finally:
        await connections.close()
    return reply


async def test_connection_is_kept(far: FarHttp) -> None:
    """Calls one after the other share a connection, calls at once have one each."""
    await _call(far, times=3)
    assert far.connections == 1
    connections = HttpConnections("127.0.0.1", far.port, tls=None, max_message_bytes=LIMIT)
    await asyncio.gather(*(connections.call(HEAD, b"") for _ in range(3)))
    assert far.connections == 4
    await connections.close()


@pytest.mark.parametrize(
    ("played", "body", "kept"),
    [
        (answer(b"body"), b"body", True),
        (answer(b""), b"", True),
        (answer(b"body", headers="Connection: close\r\n"), b"body", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nbody", b"body", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\ntrailer: x\r\n\r\n", b"body", True),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"", True),
        (OK + b"\r\nto the end", b"to the end", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"body"), b"body", True),
        (b"HTTP/1.1 204 None\r\ncontent-length: 0\r\n\r\n", b"", True),
    ],
)
async def test_answers(far: FarHttp, played: bytes, body: bytes, kept: bool) -> None:  # noqa: FBT001 - of the table
    """An answer ends where its length, its chunks or its connection say; then the connection is kept, or not."""
    far.answers["GET /x"] = played
    assert (await _call(far, times=2)).body == body
    assert far.connections == (1 if kept else 2)


@pytest.mark.parametrize(
    "played",
    [
        b"no http\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"name : x\r\ncontent-length: 0\r\n\r\n",
        OK + b"content-length: -1\r\n\r\n",
        OK + b"content-length: 1_0\r\n\r\n",
        OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\nabc",
        OK + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 5000 + b"\r\n\r\n",
        OK + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http(far: FarHttp, played: bytes) -> None:
    """An answer that is malformed or ambiguous is refused, and its connection is not used again."""
    far.answers["GET /x"] = played + b"content-length"  # so that the server leaves it open
    with pytest.raises(GraphmeshError, match=r"not HTTP/1\.1"):
        await _call(far)


@pytest.mark.parametrize(
    "played",
    [answer(b"x" * 11), OK + b"transfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\n", OK + b"\r\n" + b"x" * 11],
)
async def test_too_large(far: FarHttp, played: bytes) -> None:
    """An answer that is larger than allowed is not read to its end."""
    far.answers["GET /x"] = played
    with pytest.raises(MessageTooLarge, match="at most 10 bytes"):
        await _call(far, limit=10)


async def test_kept_connection_was_closed(far: FarHttp) -> None:
    """A connection that the server closed meanwhile costs no call."""
    far.closes_after = 1
    await _call(far, times=5)
    assert (far.connections, len(far.requests)) == (5, 5)


async def test_a_call_that_kills_the_server_is_sent_twice_at_most(far: FarHttp) -> None:
    """However many connections are kept: once over one of them, once over a new one; the others are closed."""
    far.answers["POST /x"] = b""  # closed without an answer
    connections = HttpConnections("127.0.0.1", far.port, tls=None, max_message_bytes=LIMIT)
    await asyncio.gather(*(connections.call(HEAD, b"") for _ in range(5)))
    with pytest.raises(Unavailable, match="closed without an answer"):
        await connections.call(HEAD.replace(b"GET", b"POST"), b"")
    assert [key for key, _, _ in far.requests].count("POST /x") == 2
    assert far.connections == 6
    await eventually(lambda: not far.serving)
    await connections.call(HEAD, b"")
    assert far.connections == 7
    await connections.close()


async def test_fresh_connection_is_closed(far: FarHttp) -> None:
    """A server that closes every connection without an answer is asked once."""
    far.closes_after = 0
    with pytest.raises(Unavailable, match="closed without an answer"):
        await _call(far)
    assert far.connections == 1


async def test_lost_in_the_middle(far: FarHttp) -> None:
    """A connection that is lost after the answer began is not tried again."""
    far.answers["GET /x"] = OK + b"content-length: 9\r\n\r\nbody"
    far.closes_after = 1
    with pytest.raises(Unavailable, match="connection was lost"):
        await _call(far)
    assert len(far.requests) == 1


async def test_nobody_listens() -> None:
    """A port at which nobody listens is UNAVAILABLE."""
    connections = HttpConnections("127.0.0.1", free_port(), tls=None, max_message_bytes=LIMIT)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await connections.call(HEAD, b"")


async def test_cancelled(far: FarHttp) -> None:
    """A call that is cancelled closes its connection, which is how the server learns of it."""
    far.hangs = True
    connections = HttpConnections("127.0.0.1", far.port, tls=None, max_message_bytes=LIMIT)
    call = asyncio.create_task(connections.call(HEAD.replace(b"GET", b"POST"), b""))
    await eventually(lambda: far.requests)
    call.cancel()
    await eventually(far.left.is_set)
    with pytest.raises(asyncio.CancelledError):
        await call
