"""HTTP/1.1 to one server, on the event loop: kept connections, limits, nothing that follows a redirect.

The standard library's client blocks, and would need a thread for each call in flight, which cannot be cancelled. Here
a call that is cancelled closes its connection at once, which is how a server learns of it. A kept connection may have
been closed by the server just when it is used again: a call that got not a byte of an answer over one is sent once
more, over a new one. Not more often: it may be the call itself that the server dies of.

Not done: pipelining, compressed answers, proxies. Specification: RFC 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError, MessageTooLarge, Unavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["HttpConnections", "HttpReply"]

_CONNECT_S = 5.0
_MAX_IDLE = 64
_MAX_HEAD = 64 * 1024
_MAX_LINE = 4096
_INFORMATIONAL = range(100, 200)
_NO_BODY = frozenset({204, 304})
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15_000}
"""A connection whose other end is gone without a word is lost within 16 s; names that a system lacks are left out."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer."""

    status: int
    """200 and above."""
    headers: Mapping[str, str]
    """Lower-case names; of a name that comes twice, both values with a comma between."""
    body: bytes
    """At most as long as was allowed."""


class _Unanswered(Exception):
    """A connection ended before a byte of the answer came."""


class HttpConnections:
    """Connections to one server; each call has one to itself. Belongs to the event loop of the first call.

    Args:
        host: A name or an IP address.
        port: 1 to 65535.
        tls: How to check the server's certificate; None for no TLS.
        max_message_bytes: The longest body of an answer.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, max_message_bytes: int) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._limit = max_message_bytes
        self._idle: list[_Connection] = []

    async def call(self, head: bytes, body: bytes) -> HttpReply:
        """Send a request and return its answer, whatever its status.

        Args:
            head: Request line and headers, with the empty line after them.
            body: As long as the headers say.

        Raises:
            Unavailable: the server cannot be reached, or the connection was lost (UNAVAILABLE, retry: same).
            MessageTooLarge: the answer is longer than allowed (RESOURCE_EXHAUSTED, retry: no).
            GraphmeshError: the answer is not HTTP (INTERNAL, retry: no).

        Cancellation: the connection is closed at once.
        """
        kept = self._kept()
        if kept is not None:
            try:
                return await self._exchange(kept, head, body)
            except _Unanswered:
                self._drop_idle()
        try:
            return await self._exchange(await self._connect(), head, body)
        except _Unanswered as error:
            raise Unavailable("the connection was closed without an answer") from error

    async def _exchange(self, connection: _Connection, head: bytes, body: bytes) -> HttpReply:
        keep = False
        try:
            reply, keep = await connection.exchange(head, body)
            return reply
        finally:
            if keep and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
            else:
                connection.abort()

    def _kept(self) -> _Connection | None:
        """Return the connection that was used last, if one is left that is open as far as is known."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
            connection.abort()
        return None

    def _drop_idle(self) -> None:
        """Close the connections that are not in use at once: those of a server that went away are of no use either."""
        while self._idle:
            self._idle.pop().abort()

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=_MAX_HEAD)
        except TimeoutError as error:
            raise Unavailable(f"cannot be reached: no connection within {_CONNECT_S:g} s") from error
        except OSError as error:
            raise Unavailable(f"cannot be reached: {error.strerror or error}") from error
        _keep_alive(writer.get_extra_info("socket"))
        return _Connection(reader, writer, self._limit)

    async def close(self) -> None:
        """Close the connections that are not in use, and wait until they are."""
        while self._idle:
            await self._idle.pop().close()


def _keep_alive(connected: socket.socket) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        number = getattr(socket, name, None)
        if number is not None:
            connected.setsockopt(socket.IPPROTO_TCP, number, value)


class _Connection:
    """One connection, used by one call at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = limit

    @property
    def open(self) -> bool:
        """Whether the other end has not closed it, as far as is known."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def exchange(self, head: bytes, body: bytes) -> tuple[HttpReply, bool]:
        """Return the answer, and whether the connection can be used again."""
        try:
            self._writer.writelines([head, body])
            await self._writer.drain()
            version, status, headers = await self._head()
            answer, framed = await self._body(status, headers)
        except (OSError, EOFError) as error:  # EOFError: asyncio's IncompleteReadError
            raise Unavailable(f"the connection was lost: {error}") from error
        except (asyncio.LimitOverrunError, ValueError) as error:
            raise GraphmeshError("the answer is not HTTP/1.1 as it should be") from error
        keep = framed and version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
        return HttpReply(status, headers, answer), keep

    async def _head(self) -> tuple[str, int, dict[str, str]]:
        """Return version, status and headers of the first answer that is not merely informational."""
        while True:
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                raise (error if error.partial else _Unanswered) from None
            except OSError as error:
                raise _Unanswered from error
            line, *fields = head.decode("latin-1").split("\r\n")[:-2]
            version, code, *_ = line.split(" ", 2)
            status = int(code)
            if status not in _INFORMATIONAL:
                return version, status, _fields(fields)

    async def _body(self, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        """Return the body, and whether its end was told from anything but the connection's."""
        if status in _NO_BODY:
            return b"", True
        if (coding := headers.get("transfer-encoding")) is not None:
            if coding.lower() != "chunked" or "content-length" in headers:
                raise ValueError(coding)
            return await self._chunks(), True
        if (length := headers.get("content-length")) is not None:
            size = _number(length, 10)
            self._check(size)
            return await self._reader.readexactly(size), True
        return await self._rest(), False

    async def _chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while size := _number((await self._line()).partition(b";")[0].strip().decode("latin-1"), 16):
            total += size
            self._check(total)
            parts.append(await self._reader.readexactly(size))
            if await self._reader.readexactly(2) != b"\r\n":
                raise ValueError(size)
        while await self._line():
            pass  # trailers say nothing that is needed
        return b"".join(parts)

    async def _line(self) -> bytes:
        line = await self._reader.readuntil(b"\r\n")
        if len(line) > _MAX_LINE:
            raise ValueError(len(line))
        return line[:-2]

    async def _rest(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while part := await self._reader.read(_MAX_HEAD):
            total += len(part)
            self._check(total)
            parts.append(part)
        return b"".join(parts)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise MessageTooLarge(f"the answer must be at most {self._limit} bytes")

    def abort(self) -> None:
        """Close it at once, whatever is still to be sent."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close it, and wait until it is."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _fields(lines: list[str]) -> dict[str, str]:
    """Return the headers of lines; raises ValueError."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError(line)
        key, value = name.lower(), value.strip()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _number(text: str, base: int) -> int:
    """Return a number of nothing but digits; raises ValueError."""
    if not text.isascii() or not text.isalnum():
        raise ValueError(text)
    return int(text, base)
