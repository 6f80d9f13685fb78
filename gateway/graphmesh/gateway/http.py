"""The control plane's HTTP socket: the part of `/v2` that asks of server or mesh, and models that no worker serves.

Envoy is the only client. A unary gRPC call on the fast path arrives as a POST without the gRPC frame, and an error is
an empty answer with gRPC's headers; everything else is REST and JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from graphmesh.core import oip_rest
from graphmesh.core.compression import inflate
from graphmesh.core.errors import GraphmeshError, MessageTooLarge, NotFound
from graphmesh.core.status import as_graphmesh_error, grpc_headers, json_error
from graphmesh.gateway.absent import check_timeout
from graphmesh.gateway.rest_path import model_of
from graphmesh.gateway.routes import BRIDGED_TYPE, MODEL_INFER
from graphmesh.gateway.wire import named_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from graphmesh.core.oip import Management
    from graphmesh.gateway.view import View

__all__ = ["HttpShell", "serve_http"]

_JSON = ("content-type", "application/json")
_TOO_LARGE = 413
_METHOD_NOT_ALLOWED = 405
_MOST_BYTES = 1024 * 1024
"""Of a body after inflation; what is asked here has a few words."""


class _Scope(Protocol):
    method: str
    path: str
    headers: Any


class HttpShell:
    """Answers one request after the other; knows the mesh through its view."""

    def __init__(self, view: View, management: Management) -> None:
        self._view = view
        self._management = management

    async def __call__(self, scope: _Scope, protocol: Any) -> None:  # noqa: ANN401 - granian has no types
        """Answer a request."""
        fast = scope.path == MODEL_INFER and scope.headers.get("content-type") == BRIDGED_TYPE
        try:
            if (question := oip_rest.match(scope.path)) is not None:
                status, body = await self._manage(question, scope, protocol)
            else:
                status, body = self._answer(scope, await protocol() if fast else None)
        except Exception as error:  # noqa: BLE001 - the edge: every failure becomes an answer
            failure = as_graphmesh_error(error)
            if fast:
                protocol.response_bytes(200, grpc_headers(failure), b"")
                return
            too_large = isinstance(failure, MessageTooLarge)
            status, body = _TOO_LARGE if too_large else failure.code.http_status, json_error(failure)
        protocol.response_bytes(status, [_JSON], body)

    async def _manage(self, question: oip_rest.Question, scope: _Scope, protocol: Any) -> tuple[int, bytes]:  # noqa: ANN401
        if scope.method not in question.methods:
            allowed = " or ".join(question.methods)
            error = NotFound(f"{scope.path[:140]!r} takes {allowed}, got {scope.method}")
            return _METHOD_NOT_ALLOWED, json_error(error)
        body = await inflate(await protocol(), scope.headers.get("content-encoding"), _MOST_BYTES)
        return 200, await oip_rest.answer(question, body, self._management)

    def _answer(self, scope: _Scope, fast_request: bytes | None) -> tuple[int, bytes]:
        view = self._view
        if fast_request is not None:
            raise view.absent(*named_model(fast_request))
        path = scope.path.rstrip("/")
        if path == "/v2":
            return 200, orjson.dumps(view.about)
        if path == "/v2/health/live":
            return 200, orjson.dumps({"live": True})
        if path == "/v2/health/ready":
            return (200 if view.ready else 503), orjson.dumps({"ready": view.ready, "live": True})
        raise self._failure(scope)

    def _failure(self, scope: _Scope) -> GraphmeshError:
        named = model_of(scope.path)
        if named is None:
            return NotFound(f"no such path: {scope.path[:140]}")
        check_timeout(scope.headers.get("x-graphmesh-timeout-ms"))
        return self._view.absent(*named)


@contextlib.asynccontextmanager
async def serve_http(shell: HttpShell, path: str) -> AsyncIterator[None]:
    """Serve on a unix socket while inside the context."""
    Path(path).unlink(missing_ok=True)  # noqa: ASYNC240 - left by a control plane that was killed
    server = Server(
        shell,
        uds=Path(path),
        interface=Interfaces.RSGI,
        http=HTTPModes.auto,
        websockets=False,
        log_enabled=False,
    )
    task = asyncio.create_task(server.serve())
    try:
        await asyncio.sleep(0)
        yield
    finally:
        server.stop()
        await asyncio.wait([task], timeout=2)
        task.cancel()
