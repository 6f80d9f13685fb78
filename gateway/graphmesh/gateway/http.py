"""The control plane's HTTP socket: the server-level half of `/v2`, and answers for models that no worker serves.

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

from graphmesh.core.errors import GraphmeshError, NotFound
from graphmesh.core.status import as_graphmesh_error, grpc_headers, json_error
from graphmesh.gateway.absent import check_timeout, reason
from graphmesh.gateway.rest_path import model_of
from graphmesh.gateway.routes import BRIDGED_TYPE, MODEL_INFER
from graphmesh.gateway.wire import named_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from graphmesh.gateway.view import View

__all__ = ["HttpShell", "serve_http"]

_JSON = ("content-type", "application/json")


class _Scope(Protocol):
    method: str
    path: str
    headers: Any


class HttpShell:
    """Answers one request after the other; knows the mesh through its view."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def __call__(self, scope: _Scope, protocol: Any) -> None:  # noqa: ANN401 - granian has no types
        """Answer a request."""
        fast = scope.path == MODEL_INFER and scope.headers.get("content-type") == BRIDGED_TYPE
        try:
            status, body = self._answer(scope, await protocol() if fast else None)
        except Exception as error:  # noqa: BLE001 - the edge: every failure becomes an answer
            failure = as_graphmesh_error(error)
            if fast:
                protocol.response_bytes(200, grpc_headers(failure), b"")
                return
            status, body = failure.code.http_status, json_error(failure)
        protocol.response_bytes(status, [_JSON], body)

    def _answer(self, scope: _Scope, fast_request: bytes | None) -> tuple[int, bytes]:
        view = self._view
        if fast_request is not None:
            raise reason(view.snapshot, *named_model(fast_request))
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
        return reason(self._view.snapshot, *named)


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
