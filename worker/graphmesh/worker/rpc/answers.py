"""The answers of one call of `PredictStream` or `GenerateStream`, while they are being sent.

A call that came by REST has its answers framed (`forms.framing`), and what fails after the first one is told by a last
one. Its stream then ends well: of one that failed, Envoy's transcoder would make a body that is short and looks
complete. For the same reason a server that stops tells these streams first (`part`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.api import httpbody_pb2

from graphmesh.core.errors import Unavailable
from graphmesh.core.status import as_graphmesh_error, json_error
from graphmesh.worker.forms.framing import NO_CACHE
from graphmesh.worker.http.body import check_answer
from graphmesh.worker.rpc.compression import pack
from graphmesh.worker.rpc.servicer_errors import Context, abort, reraise_cancelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.inference import InferenceResponse
    from graphmesh.worker.forms.framing import Framing

__all__ = ["Answers", "http_body"]


class Answers:
    """Belongs to the task that answers the call."""

    def __init__(self, context: Context, framing: Framing | None, limit: int) -> None:
        self._context = context
        self._framing = framing
        self._limit = limit
        self._task = asyncio.current_task()
        self._begun = False
        self._writing = False
        self._parting = False

    async def send(self, answer: bytes, response: InferenceResponse) -> None:
        """Send one answer, and the headers of the model before the first; waits for the reader.

        Raises:
            Overloaded: it is larger than one may be (RESOURCE_EXHAUSTED, retry: no).
            Unavailable: the server stops (UNAVAILABLE, retry: other).
        """
        body = http_body(answer) if self._framing is None else _part(self._framing, self._framing.answer(answer))
        check_answer(len(body), self._limit)
        await self._begin(response.headers)
        self._writing = True
        await self._context.write(pack(body, self._context))
        self._writing = False
        if self._parting:
            raise _stopping()

    async def end(self) -> None:
        """End the stream; a body without answers has its headers all the same."""
        if self._framing is not None and not self._begun:
            await self._begin({})
            await self._context.write(_part(self._framing, b""))

    async def fail(self, error: BaseException) -> None:
        """Tell an error: as the call's status, or as the last part of a body that has begun."""
        if self._parting and isinstance(error, asyncio.CancelledError) and self._task is not None:
            self._task.uncancel()
            error = _stopping()
        if self._framing is None or not self._begun:
            await abort(error, self._context)
        reraise_cancelled(error)
        told = self._framing.error(json_error(as_graphmesh_error(error)))
        await self._context.write(_part(self._framing, told))

    def part(self) -> None:
        """Have the stream end with an error that says why; one whose reader is slow, once its answer is taken."""
        self._parting = True
        if self._task is not None and not self._writing:  # a write must not be cancelled: no other could follow it
            self._task.cancel()

    async def _begin(self, headers: Mapping[str, str]) -> None:
        if self._begun:
            return
        self._begun = True
        own = (*headers.items(), *([] if self._framing is None else [NO_CACHE]))
        if own:
            await self._context.send_initial_metadata(own)


def http_body(data: bytes, content_type: str = "application/json") -> bytes:
    """Return a google.api.HttpBody."""
    body: bytes = httpbody_pb2.HttpBody(content_type=content_type, data=data).SerializeToString()
    return body


def _part(framing: Framing, data: bytes) -> bytes:
    return http_body(data, framing.content_type)


def _stopping() -> Unavailable:
    return Unavailable("this worker is stopping")
