"""Errors and names as they travel: google.rpc.Status, the fast path's headers, JSON, inference requests."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from graphmesh.core.errors import GraphmeshError, InvalidRequest
from graphmesh.core.names import new_id
from graphmesh.oip import open_inference_pb2

if TYPE_CHECKING:
    from graphmesh.core.errors import Code

__all__ = ["as_graphmesh_error", "fast_path_headers", "json_error", "named_model", "rpc_status"]

logger = logging.getLogger(__name__)

_DOMAIN = "graphmesh"
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_MAX_MESSAGE = 2048


def as_graphmesh_error(error: Exception) -> GraphmeshError:
    """Return our own error as it is, any other as INTERNAL with an id whose story is in the log."""
    if isinstance(error, GraphmeshError):
        return error
    failure = new_id("failure")
    logger.error("call failed unexpectedly id=%s", failure, exc_info=error)
    return GraphmeshError(f"internal error; the gateway's log has the reason under {failure}")


def rpc_status(error: GraphmeshError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error, with its reason as an ErrorInfo."""
    status = status_pb2.Status(code=error.code, message=error.message[:_MAX_MESSAGE])
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=_DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    return status


def fast_path_headers(error: GraphmeshError) -> list[tuple[str, str]]:
    """Return the headers that make an empty HTTP answer a gRPC error on the fast path."""
    details = base64.b64encode(rpc_status(error).SerializeToString()).rstrip(b"=").decode()
    return [
        ("content-type", "application/x-protobuf"),
        ("content-length", "0"),
        ("grpc-status", str(int(error.code))),
        ("grpc-message", quote(error.message[:_MAX_MESSAGE], safe=_PRINTABLE)),
        ("grpc-status-details-bin", details),
    ]


def json_error(error: GraphmeshError) -> bytes:
    """Return an error as JSON: `error` for clients of the Open Inference Protocol, the rest as google.rpc.Status."""
    code: Code = error.code
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.reason,
        "domain": _DOMAIN,
        "metadata": error.metadata,
    }
    return orjson.dumps({"error": error.message, "code": int(code), "status": code.name, "details": [info]})


def named_model(body: bytes) -> tuple[str, str]:
    """Return the model and version of a serialized ModelInferRequest, or raise InvalidRequest."""
    try:
        request = open_inference_pb2.ModelInferRequest.FromString(body)
    except DecodeError:
        raise InvalidRequest("the body must be an inference.ModelInferRequest, got bytes that do not parse") from None
    return request.model_name, request.model_version
