"""What a call's headers say beside its body: deadline, graph revisions, depth, calls left, whether to explain.

gRPC metadata and HTTP headers are read by the same rules, through a function that returns a header or None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import InvalidRequest
from graphmesh.core.names import check_model_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.inference import InferenceRequest

__all__ = [
    "CALLS",
    "DEPTH",
    "EXPLAIN",
    "FORWARDED",
    "ORIGINAL_PATH",
    "REQUEST_ID",
    "REVISION",
    "REVISIONS",
    "SEALED",
    "TIMEOUT_MS",
    "apply_headers",
    "forwardable",
    "read_revision",
    "read_revisions",
    "write_revisions",
]

REVISION = "x-graphmesh-graph-revision"
"""The graph revision that the gateway chose."""
REVISIONS = "x-graphmesh-graph-revisions"
"""The revisions that graphs inside the called one have for this request: ``inner=3,other=1``, the nearest first."""
DEPTH = "x-graphmesh-depth"
"""How many graphs called one another to get here."""
CALLS = "x-graphmesh-calls"
"""How many calls the request may still lead to, of a graph that another graph called."""
SEALED = "x-graphmesh-sealed"
"""``1`` on a call of a graph that another graph made below a cache: nothing in it sees a header."""
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
_MAX_REVISIONS_CHARACTERS = 4096
_OF_THE_TRANSPORT = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_OF_A_KIND = ("grpc-", "proxy-", "x-envoy-", "x-graphmesh-")
_NAME = re.compile(r"[0-9a-z_.-]+(?<!-bin)")
"""Of a gRPC header whose value is text."""

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
    if (calls := get(CALLS)) is not None:
        request.headers = {**request.headers, CALLS: str(_number(CALLS, calls))}
        if get(SEALED) == "1":
            request.headers = {**request.headers, SEALED: "1"}
    if (revisions := get(REVISIONS)) is not None:
        request.headers = {**request.headers, REVISIONS: revisions}


def read_revision(get: _Get) -> int:
    """Return the graph revision that the gateway chose, 0 for none; raises InvalidRequest."""
    revision = get(REVISION)
    return 0 if revision is None else _number(REVISION, revision)


def read_revisions(text: str) -> dict[str, int]:
    """Return what `REVISIONS` says.

    Raises:
        InvalidRequest: longer than we write it, or not pairs of a name and a revision (INVALID_ARGUMENT, retry: no).
    """
    if len(text) > _MAX_REVISIONS_CHARACTERS:
        raise InvalidRequest(f"{REVISIONS} may have {_MAX_REVISIONS_CHARACTERS} characters, got {len(text)}")
    found = {}
    for pair in text.split(","):
        name, _, revision = pair.partition("=")
        check_model_name(name)
        found[name] = _number(REVISIONS, revision)
    return found


def write_revisions(revisions: Mapping[str, int]) -> str:
    """Return a value of `REVISIONS` for the first of these, as many as fit."""
    text = ",".join(f"{name}={revision}" for name, revision in revisions.items())
    return text if len(text) <= _MAX_REVISIONS_CHARACTERS else text[: text.rindex(",", 0, _MAX_REVISIONS_CHARACTERS)]


def forwardable(name: str) -> bool:
    """Return whether a caller's header may go on with another call: it is not about the one that it came with."""
    return bool(_NAME.fullmatch(name)) and name not in _OF_THE_TRANSPORT and not name.startswith(_OF_A_KIND)


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
