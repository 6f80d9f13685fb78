"""One end of a socket pair between a worker and a model's process: messages, with file descriptors beside them.

A message is its length, 4 bytes little-endian, and its MessagePack. File descriptors come with the first byte.
"""

from __future__ import annotations

import array
import os
import socket
import threading
from collections import deque
from typing import Generic, TypeVar

import msgspec

__all__ = ["Connection", "Lost", "Unreadable", "Unsendable"]

_CHUNK = 1 << 16
_MOST_BYTES = 1 << 26
_MOST_FDS = 4
_MOST_UNTOLD = 4096
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_ANCILLARY = socket.CMSG_SPACE(_MOST_FDS * array.array("i").itemsize)

_Message = TypeVar("_Message")


class Lost(Exception):
    """The other end is gone, or does not keep to the protocol."""


class Unreadable(Lost):
    """A message came whole and is none that is known; the next may be."""


class Unsendable(Exception):
    """A message cannot be encoded or is too long; nothing was sent."""


class Connection(Generic[_Message]):
    """Sends anything, receives what its decoder knows. `send` from any thread, `receive` from one."""

    def __init__(self, sock: socket.socket, decoder: msgspec.msgpack.Decoder[_Message]) -> None:
        self._socket = sock
        self._decoder = decoder
        self._pending = b""
        self._fds: list[int] = []
        self._sending = threading.Lock()
        self._untold: deque[bytes] = deque()

    def send(self, message: msgspec.Struct, *fds: int) -> None:
        """Send a message; blocks until the other end has room.

        Raises:
            Lost: the other end is gone.
            Unsendable: it holds what MessagePack has no form for, or too much.
        """
        data = memoryview(_framed(message))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            with self._sending:
                while self._untold:
                    self._socket.sendall(self._untold.popleft())
                sent = self._socket.sendmsg([data], ancillary)
                if sent < len(data):
                    self._socket.sendall(data[sent:])
        except OSError as error:
            raise Lost(str(error)) from error
        self._flush()

    def tell(self, message: msgspec.Struct) -> None:
        """Send a message without blocking, so that an event loop can do it.

        While there is no room it waits and goes before the next one; beyond 4,096 that wait it is dropped.
        """
        if len(self._untold) < _MOST_UNTOLD:
            self._untold.append(_framed(message))
        self._flush()

    def _flush(self) -> None:
        """Send what waits; whoever is sending now does so afterwards."""
        while self._untold and self._sending.acquire(blocking=False):
            try:
                while self._untold:
                    sent = self._socket.send(self._untold[0], socket.MSG_DONTWAIT)
                    rest = self._untold.popleft()[sent:]
                    if rest:
                        self._untold.appendleft(rest)
            except OSError:  # there is no room, or nobody
                return
            finally:
                self._sending.release()

    def receive(self) -> tuple[_Message, list[int]]:
        """Return the next message and the file descriptors that came with it, which are the caller's to close.

        Raises:
            Lost: the other end is gone, or sent what is no message.
            Unreadable: that which came is none that the decoder knows; its file descriptors are closed.
        """
        length = int.from_bytes(self._take(4), "little")
        if length > _MOST_BYTES:
            raise Lost(f"a message of {length} bytes")
        body = self._take(length)
        fds, self._fds = self._fds, []
        try:
            return self._decoder.decode(body), fds
        except msgspec.MsgspecError as error:
            for fd in fds:
                os.close(fd)
            raise Unreadable(f"not a message: {error}") from error

    def _take(self, count: int) -> bytes:
        pending = self._pending
        while len(pending) < count:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(max(_CHUNK, count - len(pending)), _ANCILLARY, _CLOEXEC)
            except OSError as error:
                raise Lost(str(error)) from error
            if not data:
                raise Lost("the connection ended")
            for _, _, received in ancillary:
                fds = array.array("i")
                fds.frombytes(received[: len(received) - len(received) % fds.itemsize])
                self._fds.extend(fds)
            pending = pending + data if pending else data
        self._pending = pending[count:]
        return pending[:count]

    def close(self) -> None:
        """End the connection; whoever waits at either end is told."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # it was ended from the other side
            pass
        finally:
            self._socket.close()


def _framed(message: msgspec.Struct) -> bytes:
    try:
        body = msgspec.msgpack.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unsendable(str(error)) from error
    if len(body) > _MOST_BYTES:
        raise Unsendable(f"a message of {len(body)} bytes; at most {_MOST_BYTES} are sent")
    return len(body).to_bytes(4, "little") + body
