"""What a call's headers say beside its body: deadline, graph revision, depth, whether to explain.

gRPC metadata and HTTP headers are read by the same rules, through a function that returns a header or None.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from graphmesh.core.inference import InferenceRequest

__all__ = [
    "DEPTH",
    "EXPLAIN",
    "FORWARDED",
    "ORIGINAL_PATH",
    "REQUEST_ID",
    "REVISION",
    "TIMEOUT_MS",
    "apply_headers",
    "read_revision",
]

REVISION = "x-graphmesh-graph-revision"
"""The graph revision that the gateway chose."""
DEPTH = "x-graphmesh-depth"
"""How many graphs called one another to get here."""
FORWARDED = "x-graphmesh-forwarded"
"""``1`` on a call that another worker passed on: whoever gets it answers it, and passes it on no further."""
EXPLAIN = "x-graphmesh-explain"
"""``1`` asks for times in the answer."""
TIMEOUT_MS = "x-graphmesh-timeout-ms"
"""A REST caller's patience, milliseconds."""
ORIGINAL_PATH = "x-envoy-original-path"
"""The path of a REST call that the gateway made a gRPC call of; outsiders cannot set it."""
REQUEST_ID = "x-request-id"
"""Travels with the call and into the log."""

_GRPC_TIMEOUT = "grpc-timeout"
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_DIGITS = 8
_MAX_REVISION_DIGITS = 18

_Get: TypeAlias = Callable[[str], str | None]


def apply_headers(request: InferenceRequest, get: _Get) -> None:
    """Fill in what the headers of a request say.

    Raises:
        InvalidRequest: a header cannot be read (INVALID_ARGUMENT, retry: no).
    """
    request.deadline = _deadline(get)
    request.graph_revision = read_revision(get)
    if (depth := get(DEPTH)) is not None:
        request.depth = _number(DEPTH, depth)
    if get(EXPLAIN) == "1":
        request.parameters = {**request.parameters, "explain": True}
    if (request_id := get(REQUEST_ID)) is not None:
        request.headers = {REQUEST_ID: request_id}


def read_revision(get: _Get) -> int:
    """Return the graph revision that the gateway chose, 0 for none; raises InvalidRequest."""
    revision = get(REVISION)
    return 0 if revision is None else _number(REVISION, revision)


def _deadline(get: _Get) -> Deadline:
    """Return the deadline of `grpc-timeout` or `x-graphmesh-timeout-ms`, the earlier of both.

    Raises:
        InvalidRequest: not up to eight digits and a unit, or not a positive number (INVALID_ARGUMENT, retry: no).
    """
    timeout, timeout_ms = get(_GRPC_TIMEOUT), get(TIMEOUT_MS)
    if timeout is None and timeout_ms is None:
        return NO_DEADLINE
    seconds = math.inf if timeout is None else _grpc_timeout(timeout)
    return Deadline.after(seconds if timeout_ms is None else min(seconds, _milliseconds(timeout_ms)))


def _grpc_timeout(text: str) -> float:
    unit, digits = _UNITS_S.get(text[-1:]), text[:-1]
    if unit is None or not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise InvalidRequest(f"{_GRPC_TIMEOUT} must be up to 8 digits and one of HMSmun, got {text[:20]!r}")
    return int(digits) * unit


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InvalidRequest(f"{TIMEOUT_MS} must be a positive number of milliseconds, got {text[:20]!r}")
    return value / 1000


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_REVISION_DIGITS:
        raise InvalidRequest(f"{name} must be a number, got {text[:20]!r}")
    return int(text)
