"""The HTTP shell: decodes a request, calls the handler, encodes the answer. Speaks granian's RSGI.

Three forms of inference: the fast path (a protobuf body there and back, errors in gRPC's own headers), natural JSON and
the Open Inference Protocol's JSON. Errors of the last two are JSON with an `error`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs

import orjson

from graphmesh.core.errors import GraphmeshError, ModelNotReady, NotFound, Unavailable
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.status import as_graphmesh_error, grpc_headers, json_error
from graphmesh.worker import natural, oip_json
from graphmesh.worker.body import TooLarge, check_answer, inflate, read_body
from graphmesh.worker.headers import apply_headers, read_revision
from graphmesh.worker.routes import FAST_PATH, Action, Route, match
from graphmesh.worker.watch import Watches
from graphmesh.worker.wire import decode_request, encode_response

if TYPE_CHECKING:
    from graphmesh.worker.handler import Handler
    from graphmesh.worker.health import Health
    from graphmesh.worker.metrics import Metrics

__all__ = ["HttpShell"]

_PROTOBUF = [("content-type", "application/x-protobuf")]
_JSON = ("content-type", "application/json")
_OCTETS = ("content-type", "application/octet-stream")
_TEXT = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
_PAYLOAD_TOO_LARGE = 413
_METHOD_NOT_ALLOWED = 405


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer over HTTP."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (_JSON,)


_Answer: TypeAlias = Callable[[Route, Any, Any], Awaitable[_Reply]]


class HttpShell:
    """Answers HTTP requests; `__call__` is the RSGI target."""

    def __init__(
        self, handler: Handler, *, health: Health, metrics: Metrics, max_message_bytes: int, version: str
    ) -> None:
        self._handler = handler
        self._health = health
        self._metrics = metrics
        self._limit = max_message_bytes
        self._watches = Watches()
        self._server = orjson.dumps({"name": "graphmesh", "version": version, "extensions": ["binary_tensor_data"]})
        self._answers: dict[Action, _Answer] = {
            Action.PREDICT: self._predict,
            Action.INFER: self._infer,
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
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes an answer
            reply = _error_reply(_as_answer(error))
        protocol.response_bytes(reply.status, list(reply.headers), reply.body)

    async def _fast(self, scope: Any, protocol: Any) -> None:  # noqa: ANN401
        headers = scope.headers
        try:
            request = decode_request(await read_body(protocol, headers.get("content-length"), self._limit))
            apply_headers(request, headers.get)
            with self._watches.watch(protocol, request.deadline):
                response = await self._handler.infer(request)
            body = encode_response(response)
            check_answer(len(body), self._limit)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every failure becomes an answer
            protocol.response_bytes(200, grpc_headers(_as_answer(error)), b"")
            return
        protocol.response_bytes(200, _PROTOBUF, body)

    async def _rest(self, scope: Any, protocol: Any) -> _Reply:  # noqa: ANN401
        route = match(scope.path)
        if route is None:
            raise NotFound(f"nothing is served at {scope.path[:200]!r}")
        method = route.action.method
        if scope.method != method and not (scope.method == "HEAD" and method == "GET"):
            error = NotFound(f"{scope.path[:200]!r} takes {method}, got {scope.method}")
            return _Reply(_METHOD_NOT_ALLOWED, json_error(error), (_JSON, ("allow", method)))
        return await self._answers[route.action](route, scope, protocol)

    async def _body(self, scope: Any, protocol: Any) -> bytes:  # noqa: ANN401
        headers = scope.headers
        body = await read_body(protocol, headers.get("content-length"), self._limit)
        return inflate(body, headers.get("content-encoding"), self._limit)

    async def _predict(self, route: Route, scope: Any, protocol: Any) -> _Reply:  # noqa: ANN401
        body = await self._body(scope, protocol)
        servable = await self._handler.find(route.model, route.version, read_revision(scope.headers.get))
        signature = servable.signature
        request = InferenceRequest(
            model=route.model, version=route.version, inputs=natural.decode_inputs(body, signature)
        )
        apply_headers(request, scope.headers.get)
        if "explain=true" in scope.query_string and parse_qs(scope.query_string).get("explain") == ["true"]:
            request.parameters = {"explain": True}
        with self._watches.watch(protocol, request.deadline):
            response = await self._handler.run(servable, request)
        answer = natural.encode_answer(response, signature)
        check_answer(len(answer), self._limit)
        return _Reply(200, answer)

    async def _infer(self, route: Route, scope: Any, protocol: Any) -> _Reply:  # noqa: ANN401
        body = await self._body(scope, protocol)
        request, wanted = oip_json.decode_infer(body, scope.headers.get(oip_json.HEADER_LENGTH))
        request.model, request.version = route.model, route.version
        apply_headers(request, scope.headers.get)
        with self._watches.watch(protocol, request.deadline):
            response = await self._handler.infer(request)
        answer = oip_json.encode_infer(response, wanted)
        check_answer(len(answer.body), self._limit)
        if answer.header_length is None:
            return _Reply(200, answer.body)
        length = (oip_json.HEADER_LENGTH, str(answer.header_length))
        return _Reply(200, answer.body, (_OCTETS, length))

    async def _model_ready(self, route: Route, scope: Any, _protocol: Any) -> _Reply:  # noqa: ANN401
        ready = await self._handler.ready(route.model, route.version, read_revision(scope.headers.get))
        body = orjson.dumps({"name": route.model, "ready": ready})
        return _Reply(200 if ready else ModelNotReady.code.http_status, body)

    async def _model_metadata(self, route: Route, scope: Any, _protocol: Any) -> _Reply:  # noqa: ANN401
        facts = await self._handler.describe(route.model, route.version, read_revision(scope.headers.get))
        return _Reply(200, oip_json.metadata_json(facts.name, facts.versions, facts.platform, facts.signature))

    async def _server_metadata(self, _route: Route, _scope: Any, _protocol: Any) -> _Reply:  # noqa: ANN401
        return _Reply(200, self._server)

    async def _live(self, _route: Route, _scope: Any, _protocol: Any) -> _Reply:  # noqa: ANN401
        return _Reply(200, b'{"live":true}')

    async def _ready(self, _route: Route, _scope: Any, _protocol: Any) -> _Reply:  # noqa: ANN401
        if self._health.ready:
            return _Reply(200, b'{"ready":true,"live":true}')
        return _Reply(503, b'{"ready":false,"live":true}')

    async def _metrics_text(self, _route: Route, _scope: Any, _protocol: Any) -> _Reply:  # noqa: ANN401
        return _Reply(200, self._metrics.text(), (_TEXT,))


def _as_answer(error: BaseException) -> GraphmeshError:
    """Return what a client is told; only a server that stops cancels a call's task from outside."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        return Unavailable("this worker is stopping")
    return as_graphmesh_error(error)


def _error_reply(error: GraphmeshError) -> _Reply:
    status = _PAYLOAD_TOO_LARGE if isinstance(error, TooLarge) else error.code.http_status
    return _Reply(status, json_error(error))
