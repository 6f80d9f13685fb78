"""The HTTP shell: decodes a request, calls the handler, encodes the answer. Speaks granian's RSGI.

The fast path is here: a protobuf body there and back, errors in gRPC's own headers. So is what is not inference.
Inference by JSON (`http_inference`, `http_stream`) has errors that are JSON with an `error`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from graphmesh.core import oip_rest
from graphmesh.core.compression import accepted, deflate
from graphmesh.core.errors import ModelNotReady, NotFound
from graphmesh.core.oip import EXTENSIONS
from graphmesh.core.status import grpc_headers, json_error
from graphmesh.worker.forms import oip_json
from graphmesh.worker.forms.headers import apply_headers, read_revision
from graphmesh.worker.forms.journey import server_timing
from graphmesh.worker.forms.wire import decode, encode_response
from graphmesh.worker.http.body import check_answer, read_body
from graphmesh.worker.http.inference import HttpInference
from graphmesh.worker.http.reply import JSON, Reply, as_answer, error_reply
from graphmesh.worker.http.routes import FAST_PATH, Action, Route, match
from graphmesh.worker.http.stream import HttpStreams
from graphmesh.worker.http.watch import Watches

if TYPE_CHECKING:
    from graphmesh.core.oip import Management
    from graphmesh.worker.forms.json_pool import JsonPool
    from graphmesh.worker.handler import Handler
    from graphmesh.worker.health import Health
    from graphmesh.worker.metrics.families import Metrics

__all__ = ["HttpShell"]

_PROTOBUF = [("content-type", "application/x-protobuf")]
_TEXT = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
_DEFLATED_FROM_BYTES = 4096
_METHOD_NOT_ALLOWED = 405

_Answer: TypeAlias = Callable[[Route, Any, Any], Awaitable[Reply]]


class HttpShell:
    """Answers HTTP requests; `__call__` is the RSGI target."""

    def __init__(
        self,
        handler: Handler,
        *,
        management: Management,
        health: Health,
        metrics: Metrics,
        json: JsonPool,
        max_message_bytes: int,
        version: str,
    ) -> None:
        self._handler = handler
        self._management = management
        self._health = health
        self._metrics = metrics
        self._limit = max_message_bytes
        self._watches = Watches()
        self._inference = HttpInference(handler, watches=self._watches, json=json, max_message_bytes=max_message_bytes)
        self._streams = HttpStreams(
            handler, self._inference, watches=self._watches, max_message_bytes=max_message_bytes
        )
        self._server = orjson.dumps({"name": "graphmesh", "version": version, "extensions": EXTENSIONS})
        self._answers: dict[Action, _Answer] = {
            Action.PREDICT: self._inference.predict,
            Action.INFER: self._inference.infer,
            Action.GENERATE: self._inference.generate,
            Action.MODEL_READY: self._model_ready,
            Action.MODEL_METADATA: self._model_metadata,
            Action.SERVER_METADATA: self._server_metadata,
            Action.LIVE: self._live,
            Action.READY: self._ready,
            Action.METRICS: self._metrics_text,
        }

    def __call__(self, scope: Any, protocol: Any) -> Awaitable[None]:  # noqa: ANN401 - granian's own types
        """Answer one request."""
        return self._fast(scope, protocol) if scope.path == FAST_PATH else self._slow(scope, protocol)

    async def _slow(self, scope: Any, protocol: Any) -> None:  # noqa: ANN401
        try:
            reply = await self._rest(scope, protocol)
            if reply is None:
                return
            reply = await _deflated(reply, scope.headers.get("accept-encoding"))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes an answer
            reply = error_reply(as_answer(error))
        protocol.response_bytes(reply.status, list(reply.headers), reply.body)

    async def _fast(self, scope: Any, protocol: Any) -> None:  # noqa: ANN401
        headers = scope.headers
        try:
            data = await read_body(protocol, headers.get("content-length"), self._limit)
            received = time.perf_counter()
            request = await decode(data)
            decoded = time.perf_counter()
            request.metadata = headers
            apply_headers(request, headers.get)
            with self._watches.watch(protocol, request.deadline):
                response = await self._handler.infer(request)
            started = time.perf_counter()
            body = encode_response(response)
            self._handler.encoded(response, started)
            if "explain" in response.parameters:
                name, value = server_timing(received, decoded, started, time.perf_counter())
                response.headers = {**response.headers, name: value}
            check_answer(len(body), self._limit)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes an answer
            protocol.response_bytes(200, grpc_headers(as_answer(error)), b"")
            return
        own = response.headers
        protocol.response_bytes(200, [*_PROTOBUF, *own.items()] if own else _PROTOBUF, body)

    async def _rest(self, scope: Any, protocol: Any) -> Reply | None:  # noqa: ANN401
        """Return the answer, None if it has been sent already."""
        question = oip_rest.match(scope.path)
        if question is not None:
            return await self._manage(question, scope, protocol)
        route = match(scope.path)
        if route is None:
            raise NotFound(f"nothing is served at {scope.path[:200]!r}")
        method = route.action.method
        if scope.method != method and not (scope.method == "HEAD" and method == "GET"):
            error = NotFound(f"{scope.path[:200]!r} takes {method}, got {scope.method}")
            return Reply(_METHOD_NOT_ALLOWED, json_error(error), (JSON, ("allow", method)))
        if route.action.streams:
            await self._streams.answer(route, scope, protocol)
            return None
        return await self._answers[route.action](route, scope, protocol)

    async def _manage(self, question: oip_rest.Question, scope: Any, protocol: Any) -> Reply:  # noqa: ANN401
        if scope.method not in question.methods:
            allowed = ", ".join(question.methods)
            error = NotFound(f"{scope.path[:200]!r} takes {allowed}, got {scope.method}")
            return Reply(_METHOD_NOT_ALLOWED, json_error(error), (JSON, ("allow", allowed)))
        return Reply(
            200, await oip_rest.answer(question, await self._inference.body(scope, protocol), self._management)
        )

    async def _model_ready(self, route: Route, scope: Any, _protocol: Any) -> Reply:  # noqa: ANN401
        ready = await self._handler.ready(route.model, route.version, read_revision(scope.headers.get))
        body = orjson.dumps({"name": route.model, "ready": ready})
        return Reply(200 if ready else ModelNotReady.code.http_status, body)

    async def _model_metadata(self, route: Route, scope: Any, _protocol: Any) -> Reply:  # noqa: ANN401
        facts = await self._handler.describe(route.model, route.version, read_revision(scope.headers.get))
        return Reply(200, oip_json.metadata_json(facts.name, facts.versions, facts.platform, facts.signature))

    async def _server_metadata(self, _route: Route, _scope: Any, _protocol: Any) -> Reply:  # noqa: ANN401
        return Reply(200, self._server)

    async def _live(self, _route: Route, _scope: Any, _protocol: Any) -> Reply:  # noqa: ANN401
        return Reply(200, b'{"live":true}')

    async def _ready(self, _route: Route, _scope: Any, _protocol: Any) -> Reply:  # noqa: ANN401
        if self._health.ready:
            return Reply(200, b'{"ready":true,"live":true}')
        return Reply(503, b'{"ready":false,"live":true}')

    async def _metrics_text(self, _route: Route, _scope: Any, _protocol: Any) -> Reply:  # noqa: ANN401
        return Reply(200, self._metrics.text(), (_TEXT,))


async def _deflated(reply: Reply, accept_encoding: str | None) -> Reply:
    """Return a reply in an encoding that its caller can read, if that is worth the time."""
    if len(reply.body) < _DEFLATED_FROM_BYTES:
        return reply
    headers = (*reply.headers, ("vary", "accept-encoding"))  # also uncompressed: a cache must not keep it for everybody
    encoding = accepted(accept_encoding)
    if encoding is None:
        return Reply(reply.status, reply.body, headers)
    return Reply(reply.status, await deflate(reply.body, encoding), (*headers, ("content-encoding", encoding)))
