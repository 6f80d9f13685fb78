"""What Envoy's own replies look like: JSON for REST, a plain gRPC status for gRPC calls.

Envoy applies a body format to gRPC calls too (the body becomes `grpc-message`), so each mapper is for calls that are
not gRPC. None may set an HTTP status for gRPC calls: clients would hang.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import Code
from graphmesh.gateway.envoy_json import extension
from graphmesh.gateway.routes import MODEL_INFER

if TYPE_CHECKING:
    from graphmesh.gateway.envoy_json import Json

__all__ = ["local_replies"]

_CODES = {
    400: Code.INVALID_ARGUMENT,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    426: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    431: Code.RESOURCE_EXHAUSTED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""HTTP statuses that Envoy answers with itself, and the code each stands for."""


def local_replies() -> Json:
    """Return the format of Envoy's own replies."""
    too_large = {"filter": _all(_status(413), _is_grpc()), "headers_to_add": [_grpc_status(Code.RESOURCE_EXHAUSTED)]}
    overload = {
        "filter": _all(_overload(), _is_grpc()),
        "headers_to_add": [_grpc_status(Code.RESOURCE_EXHAUSTED)],
    }
    return {"mappers": [too_large, overload, *(_rest(status, code) for status, code in _CODES.items())]}


def _rest(status: int, code: Code) -> Json:
    # Envoy refuses some requests without a word of its own; the response code details say why, always.
    text = "%RESPONSE_CODE_DETAILS%: %LOCAL_REPLY_BODY%" if code is Code.INVALID_ARGUMENT else "%LOCAL_REPLY_BODY%"
    body = {"error": text, "code": int(code), "status": code.name, "details": []}
    return {"filter": _all(_status(status), _is_rest()), "body_format_override": {"json_format": body}}


def _grpc_status(code: Code) -> Json:
    return {"header": {"key": "grpc-status", "value": str(int(code))}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _all(*filters: Json) -> Json:
    return {"and_filter": {"filters": list(filters)}}


def _status(status: int) -> Json:
    value = {"default_value": status, "runtime_key": "graphmesh.unused"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _overload() -> Json:
    """Return the filter of requests that the overload manager refused; only their details tell them from others."""
    return {
        "extension_filter": extension(
            "envoy.access_loggers.extension_filters.cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression='response.code_details == "overload"',
        )
    }


def _is_grpc() -> Json:
    """Return the filter of gRPC calls; the bridge changes a fast call's content type, its path tells."""
    return {"or_filter": {"filters": [_header("content-type", prefix="application/grpc"), _fast_path()]}}


def _is_rest() -> Json:
    filters = (_header("content-type", prefix="application/grpc"), _fast_path())
    return _all(*(_inverted(item) for item in filters))


def _fast_path() -> Json:
    return _header(":path", exact=MODEL_INFER)


def _header(name: str, **match: str) -> Json:
    return {"header_filter": {"header": {"name": name, "string_match": match, "treat_missing_header_as_empty": True}}}


def _inverted(item: Json) -> Json:
    return {"header_filter": {"header": {**item["header_filter"]["header"], "invert_match": True}}}
