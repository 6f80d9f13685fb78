"""Envoy's administration, over its unix socket: the few calls that the supervisor makes."""

from __future__ import annotations

import asyncio
import contextlib
import re

from graphmesh.core.errors import Unavailable

__all__ = ["Admin"]

_TIMEOUT_S = 2.0
_ACTIVE = re.compile(r"http\.public\.downstream_rq_active: (\d+)")


class Admin:
    """One Envoy's administration; every call opens its own connection."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def is_ready(self) -> bool:
        """Return whether Envoy serves: started, configured, not draining."""
        with contextlib.suppress(Unavailable):
            status, _ = await self._call("GET", "/ready")
            return status == 200  # noqa: PLR2004
        return False

    async def active_requests(self) -> int:
        """Return how many requests are in flight on the public listeners."""
        _, body = await self._call("GET", "/stats?filter=^http.public.downstream_rq_active$")
        found = _ACTIVE.search(body)
        return int(found[1]) if found else 0

    async def drain(self) -> None:
        """Close the listeners gracefully: idle connections are told to go, requests in flight finish."""
        await self._call("POST", "/healthcheck/fail")
        await self._call("POST", "/drain_listeners?graceful")

    async def _call(self, method: str, path: str) -> tuple[int, str]:
        """Return status and body.

        Raises:
            Unavailable: nobody answers (UNAVAILABLE, retry: same).
        """
        head = f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._path)
                try:
                    writer.write(head.encode())
                    answer = (await reader.read()).decode(errors="replace")
                finally:
                    writer.close()
            return int(answer.split(" ", 2)[1]), answer.partition("\r\n\r\n")[2]
        except (OSError, TimeoutError, IndexError, ValueError) as error:
            raise Unavailable(f"envoy must answer on {self._path}: {error!r}") from error
