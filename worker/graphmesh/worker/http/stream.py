"""Answers as they come, at the worker's own HTTP port: server-sent events, or a line of JSON for each.

The first answer is waited for, so that an error before it is an answer of its own, with its HTTP status. What fails
later is told by the last event (`forms.framing`). The end of the body is the end of the stream.

granian takes whatever it is given and keeps it until the client has read it. So that a client who does not read cannot
fill the worker's memory, a stream from this port has at most as many bytes as any other answer may have. The gateway
makes gRPC calls of its callers' streams (`rpc.servicer_predict`), whose sender waits for their reader: those have no
such end, here it is only who calls a worker directly that meets it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from granian.rsgi import ProtocolClosed

from graphmesh.core.errors import Cancelled, Overloaded
from graphmesh.core.status import json_error
from graphmesh.worker.forms.framing import NO_CACHE
from graphmesh.worker.forms.json_form import FLAT, NATURAL
from graphmesh.worker.http.reply import as_answer
from graphmesh.worker.http.routes import Action

if TYPE_CHECKING:
    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.worker.forms.framing import Framing
    from graphmesh.worker.forms.json_form import JsonForm
    from graphmesh.worker.handler import Handler, Servable
    from graphmesh.worker.http.inference import HttpInference
    from graphmesh.worker.http.routes import Route
    from graphmesh.worker.http.watch import Watches

__all__ = ["HttpStreams"]


class HttpStreams:
    """Answers calls of models and graphs, as often as they do."""

    def __init__(self, handler: Handler, inference: HttpInference, *, watches: Watches, max_message_bytes: int) -> None:
        self._handler = handler
        self._inference = inference
        self._watches = watches
        self._limit = max_message_bytes

    async def answer(self, route: Route, scope: Any, protocol: Any) -> None:  # noqa: ANN401 - granian's own types
        """Answer a call.

        Raises:
            GraphmeshError: before the first answer; nothing was sent.
        """
        form = FLAT if route.action is Action.GENERATE_STREAM else NATURAL
        servable, request = await self._inference.request(form, route, scope, protocol)
        framing = form.framing(scope.headers.get("accept"))
        body = _Body(protocol, framing, self._limit)
        try:
            with self._watches.watch(protocol, request.deadline):
                await self._send(form, servable, request, body)
        except (Exception, asyncio.CancelledError) as error:
            if not body.begun:
                raise
            await body.fail(as_answer(error))
        finally:
            body.end()

    async def _send(self, form: JsonForm, servable: Servable, request: InferenceRequest, body: _Body) -> None:
        async with contextlib.aclosing(self._handler.stream(servable, request)) as answers:
            async for response in answers:
                await body.send(await self._inference.answer(form, response, servable.signature), response)
                await asyncio.sleep(0)  # sending does not wait, and a generator may not either: others have a turn
        body.begin()


class _Body:
    """The body of an answer, while it is being sent."""

    def __init__(self, protocol: Any, framing: Framing, limit: int) -> None:  # noqa: ANN401
        self._protocol = protocol
        self._framing = framing
        self._limit = limit
        self._sent = 0
        self._transport: Any = None
        self.begun = False
        """Whether the status is on its way."""

    def begin(self, response: InferenceResponse | None = None) -> None:
        """Send the status and the headers, those of the model with them; does nothing if they were sent."""
        if not self.begun:
            self.begun = True
            own = response.headers.items() if response is not None else ()
            headers = [("content-type", self._framing.content_type), NO_CACHE, *own]
            self._transport = self._protocol.response_stream(200, headers)

    async def send(self, answer: bytes, response: InferenceResponse) -> None:
        """Send one answer.

        Raises:
            Cancelled: the caller left (CANCELLED, retry: no).
            Overloaded: it would be more than one stream may have (RESOURCE_EXHAUSTED, retry: no).
        """
        event = self._framing.answer(answer)
        self._sent += len(event)
        if self._sent > self._limit:
            raise Overloaded(
                f"a stream over HTTP has at most {self._limit} bytes; call the gateway, or ModelStreamInfer, for more"
            )
        self.begin(response)
        try:
            await self._transport.send_bytes(event)
        except ProtocolClosed as error:
            raise Cancelled("the caller left") from error

    async def fail(self, error: GraphmeshError) -> None:
        """Send an error as the last event, if there is still somebody to send it to."""
        with contextlib.suppress(ProtocolClosed):
            await self._transport.send_bytes(self._framing.error(json_error(error)))

    def end(self) -> None:
        """End the body: granian does when its transport is gone, which tracebacks could keep for long."""
        self._transport = None
