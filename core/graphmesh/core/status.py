"""How an error looks to a client: gRPC status, HTTP headers of the fast path, JSON. The one place that decides it."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
from urllib.parse import quote

import orjson
from google.rpc import error_details_pb2, status_pb2

from graphmesh.core.errors import Cancelled, GraphmeshError, Overloaded
from graphmesh.core.names import new_id

__all__ = ["as_graphmesh_error", "grpc_headers", "json_error", "pushback", "rpc_status"]

logger = logging.getLogger(__name__)

_DOMAIN = "graphmesh"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_PUSHBACK_MS = "grpc-retry-pushback-ms"
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_MAX_MESSAGE = 2048


def as_graphmesh_error(error: BaseException) -> GraphmeshError:
    """Return the error a client sees: our own as it is, any other as INTERNAL with an id whose story is in the log."""
    if isinstance(error, GraphmeshError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Cancelled("the call was cancelled")
    failure = new_id("failure")
    logger.error("request failed unexpectedly id=%s", failure, exc_info=error)
    return GraphmeshError(f"internal error; the server's log has the reason under {failure}")


def rpc_status(error: GraphmeshError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error, its reason as an ErrorInfo."""
    status = status_pb2.Status(code=error.code, message=error.message[:_MAX_MESSAGE])
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=_DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if pause_ms := _pause_ms(error):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(pause_ms)
        status.details.add().Pack(retry)
    return status


def pushback(error: GraphmeshError) -> tuple[tuple[str, str], ...]:
    """Return the headers or trailers that tell a client when to repeat; none where that is not known.

    `grpc-retry-pushback-ms` is gRPC's (proposal A6), `retry-after` is HTTP's, in whole seconds.
    """
    pause_ms = _pause_ms(error)
    if not pause_ms:
        return ()
    return ((_PUSHBACK_MS, str(pause_ms)), ("retry-after", str(math.ceil(pause_ms / 1000))))


def _pause_ms(error: GraphmeshError) -> int:
    return math.ceil(error.retry_after_s * 1000) if isinstance(error, Overloaded) else 0


def grpc_headers(error: GraphmeshError) -> list[tuple[str, str]]:
    """Return the headers by which the fast path's empty answer carries a gRPC status.

    The message is percent-encoded and the details are unpadded base64, as gRPC over HTTP/2 writes them.
    """
    details = base64.b64encode(rpc_status(error).SerializeToString()).rstrip(b"=").decode()
    return [
        ("content-type", "application/x-protobuf"),
        ("content-length", "0"),
        ("grpc-status", str(int(error.code))),
        ("grpc-message", quote(error.message[:_MAX_MESSAGE], safe=_PRINTABLE)),
        ("grpc-status-details-bin", details),
        *pushback(error),
    ]


def json_error(error: GraphmeshError) -> bytes:
    """Return an error as JSON: `error` for clients of the Open Inference Protocol, the rest as google.rpc.Status."""
    info: dict[str, object] = {
        "@type": _ERROR_INFO,
        "reason": error.reason,
        "domain": _DOMAIN,
        "metadata": error.metadata,
    }
    details = [info]
    if pause_ms := _pause_ms(error):
        details.append({"@type": _RETRY_INFO, "retryDelay": f"{pause_ms / 1000:g}s"})
    body = {"error": error.message, "code": int(error.code), "status": error.code.name, "details": details}
    return orjson.dumps(body)
