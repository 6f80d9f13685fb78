"""The one route table, as JSON: which path goes where, and through which filters.

Every filter but the router is off unless a route turns it on, so a request pays only for what its path needs:

    path                                            filters                              to
    ModelInfer (the fast path)                      extract, choose, keep status, bridge fast
    compressed model calls                          -                                    control (relay)
    ModelStreamInfer, metadata, ready, Predict...   extract, choose                      grpc
    /v1/...:predictStream, /v2/.../generate_stream  errors, query, streams, as above     grpc
    /v1/models/{m}:predict, /v2/models/...          choose, buffer (bounds the body)     fast
    control services, health, reflection            -                                    control
    /v1/...                                         transcode, JSON errors               control
    /v2, /v2/health/...                             -                                    control_http
    /v2/repository/..., .../stats, settings         buffer                               control_http
    anything else                                   -                                    404 / UNIMPLEMENTED

The table comes over RDS because the live graph revisions are the virtual host's metadata: choose_workers.lua reads one
key of it. A change of routes drains no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.oip import RPCS
from graphmesh.gateway.clusters import CONTROL, CONTROL_HTTP, FAST, GRPC
from graphmesh.gateway.envoy_json import Json, extension, seconds, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BRIDGE",
    "BRIDGED_TYPE",
    "BUFFER",
    "CHOOSE",
    "CONTROL_ERRORS",
    "EXTRACT",
    "KEEP_STATUS",
    "MODEL_INFER",
    "RELAY_PREFIX",
    "ROUTES",
    "STREAMS",
    "TRANSCODE",
    "WITHOUT_QUERY",
    "route_configuration",
]

ROUTES = "mesh"
"""Name of the route configuration."""

EXTRACT = "envoy.filters.http.grpc_field_extraction"
CHOOSE = "choose_workers"
BRIDGE = "envoy.filters.http.grpc_http1_reverse_bridge"
KEEP_STATUS = "keep_status"
BUFFER = "envoy.filters.http.buffer"
TRANSCODE = "envoy.filters.http.grpc_json_transcoder"
WITHOUT_QUERY = "without_query"
STREAMS = "streams"
CONTROL_ERRORS = "control_errors"

BRIDGED_TYPE = "application/x-protobuf"
"""Content type of a fast call on its way to a worker."""
RELAY_PREFIX = "/relay/"
"""Before the path of a compressed call on its way to the control plane's relay."""

_OIP = "/inference.GRPCInferenceService"
MODEL_INFER = f"{_OIP}/ModelInfer"
_JSON_STREAMS = tuple(f"/graphmesh.v1.InferenceService/{method}" for method in ("PredictStream", "GenerateStream"))
"""Methods that calls by REST become: any number of answers."""
_GRPC_STREAMS = (f"{_OIP}/ModelStreamInfer", *_JSON_STREAMS)
"""Methods with any number of answers."""
_GRPC_METHODS = (
    *_GRPC_STREAMS,
    f"{_OIP}/ModelMetadata",
    f"{_OIP}/ModelReady",
    f"{_OIP}/ModelConfig",
    "/graphmesh.v1.InferenceService/Predict",
)
_LOADS = ("RepositoryModelLoad", "RepositoryModelUnload")
"""Methods that take as long as a model does."""
_SERVER_METHODS = ("ServerLive", "ServerReady", "ServerMetadata", *(RPCS.keys() - {"ModelConfig", *_LOADS}))
_CONTROL_SERVICES = (
    "graphmesh.v1.GraphService",
    "graphmesh.v1.MeshService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.reflection.v1.ServerReflection",
)
_REST_MANAGEMENT: tuple[Json, ...] = tuple(
    {"prefix": f"/v2/{name}"} for name in ("repository/", "logging", "trace/", "systemsharedmemory", "cudasharedmemory")
)
_CONTROL_TIMEOUT_S = 15.0
_AS_CALLED: Json = {"grpc_timeout_header_max": seconds(0)}
"""The duration that `grpc-timeout` says."""
_HINT = (
    "no such path; models are called at POST /v1/models/{model}:predict, /v1/models/{model}:predictStream and "
    "/v2/models/{model}/infer, "
    "the mesh is described at GET /v1/models, /v1/graphs, /v1/workers and /v1/status"
)


def route_configuration(revisions: Mapping[str, int]) -> Json:
    """Return the routes, with the live revision of every graph."""
    return {
        "name": ROUTES,
        "virtual_hosts": [
            {
                "name": ROUTES,
                "domains": ["*"],
                "metadata": {"filter_metadata": {CHOOSE: dict(sorted(revisions.items()))}},
                "retry_policy": _retries(),
                "include_attempt_count_in_response": True,  # which an explained call of a graph's step tells
                "routes": [*_inference(), *_statistics(), *_rest_inference(), *_control(), *_otherwise()],
            }
        ],
    }


def _retries() -> Json:
    """Return the retries, on another worker, of what provably did not answer; models' answers are never retried.

    Two, because the first may fall on the dead worker once more: until its ejection has come round (a millisecond or
    three) it is the least loaded one, found by every scan, whatever the predicate says. The back-off is random between
    0 and its interval, so a longer one makes that rare, and twice in a row next to impossible.
    """
    previous_hosts = extension(
        "envoy.retry_host_predicates.previous_hosts",
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )
    return {
        "retry_on": "connect-failure,reset,refused-stream",
        "num_retries": 2,
        "retry_back_off": {"base_interval": seconds(0.1)},
        "retry_host_predicate": [previous_hosts],
        "host_selection_retry_max_attempts": 5,
    }


def _inference() -> list[Json]:
    fast = {"path": MODEL_INFER, "grpc": {}, "headers": [_compressed(wanted=False)]}
    # The bridge changes the content type and has the route looked up again.
    bridged = {"path": MODEL_INFER, "headers": [{"name": "content-type", "string_match": {"exact": BRIDGED_TYPE}}]}
    return [
        _to(FAST, fast, on=(EXTRACT, CHOOSE, KEEP_STATUS, BRIDGE)),
        _to(FAST, bridged),
        *(_transcoded(path) for path in _JSON_STREAMS),
        *(_relayed(path) for path in (MODEL_INFER, *_GRPC_METHODS)),
        *(_to(GRPC, {"path": path, "grpc": {}}, on=(EXTRACT, CHOOSE)) for path in _GRPC_METHODS),
    ]


def _compressed(*, wanted: bool) -> Json:
    """Return the match of calls whose messages may be compressed, or of those whose messages are not."""
    identity = {"safe_regex": {"regex": "(identity)?"}}
    header = {"name": "grpc-encoding", "treat_missing_header_as_empty": True, "string_match": identity}
    return {**header, "invert_match": wanted}


def _relayed(path: str) -> Json:
    """Return the route of a compressed call: the field extraction filter cannot read its message."""
    route = _to(CONTROL, {"path": path, "grpc": {}, "headers": [_compressed(wanted=True)]})
    route["route"]["prefix_rewrite"] = RELAY_PREFIX + path.removeprefix("/")
    return route


def _transcoded(path: str) -> Json:
    """Return the route of a stream that was called by REST, once the transcoder has made a gRPC call of it.

    gRPC's sender waits for its reader, a worker's HTTP server does not. The deadline is told by the worker in the last
    answer; Envoy, a second later, cuts what nobody reads.
    """
    route = _to(GRPC, {"path": path, "grpc": {}, "headers": [{"name": "x-envoy-original-path", "present_match": True}]})
    route["route"]["max_stream_duration"] = _AS_CALLED
    route["response_headers_to_remove"] = ["grpc-accept-encoding", "grpc-retry-pushback-ms"]
    return route


def _statistics() -> list[Json]:
    """Return the route of REST statistics, which every worker has a part of; before those of models."""
    regex = "/v2/models/([^/]+/(versions/[^/]+/)?)?stats"
    return [_to(CONTROL_HTTP, {"safe_regex": {"regex": regex}}, timeout_s=_CONTROL_TIMEOUT_S)]


def _rest_inference() -> list[Json]:
    """Return the routes of models' REST paths; what looks like a stream and is none (a GET) is a worker's to refuse."""
    predict = {"safe_regex": {"regex": "/v1/models/[^/]*(/versions/[^/]*)?:predict"}}
    streams = {"safe_regex": {"regex": "/v1/models/[^/]*(/versions/[^/]*)?:predictStream"}}
    flat_streams = {"safe_regex": {"regex": "/v2/models/[^/]*(/versions/[^/]*)?/generate_stream"}}
    streamed = (CONTROL_ERRORS, WITHOUT_QUERY, STREAMS, EXTRACT, CHOOSE, BUFFER)
    return [
        *(_to(FAST, match, on=streamed) for match in (streams, flat_streams)),
        *(_to(FAST, match, on=(CHOOSE, BUFFER)) for match in (predict, {"prefix": "/v2/models/"})),
    ]


def _control() -> list[Json]:
    services = [{"prefix": f"/{service}/", "grpc": {}} for service in _CONTROL_SERVICES]
    servers = [{"path": f"{_OIP}/{method}", "grpc": {}} for method in sorted(_SERVER_METHODS)]
    http = [{"path": "/v2"}, {"path": "/v2/"}, {"prefix": "/v2/health/"}]
    return [
        *(_to(CONTROL, match, timeout_s=_CONTROL_TIMEOUT_S) for match in (*services, *servers)),
        *(_to(CONTROL, {"path": f"{_OIP}/{method}", "grpc": {}}) for method in _LOADS),
        *(_to(CONTROL_HTTP, match, timeout_s=_CONTROL_TIMEOUT_S) for match in http),
        *(_to(CONTROL_HTTP, match, on=(BUFFER,)) for match in _REST_MANAGEMENT),
    ]


def _otherwise() -> list[Json]:
    """Return the last routes: the transcoder takes what it knows of /v1 elsewhere, the rest is told what there is."""
    unknown = {"status": 404, "body": {"inline_string": _HINT}}
    return [
        {
            "match": {"prefix": "/v1/"},
            "direct_response": unknown,
            "typed_per_filter_config": _filters_on((CONTROL_ERRORS, TRANSCODE)),
        },
        {"match": {"prefix": "/"}, "direct_response": unknown},
    ]


def _to(cluster: str, match: Json, *, on: tuple[str, ...] = (), timeout_s: float = 0.0) -> Json:
    """Return a route; deadlines are the caller's (`grpc-timeout`, or a header on REST), ``timeout_s`` bounds others.

    Without ``timeout_s`` nothing else ends a call: a model may be quiet for longer than Envoy's five minutes. A gRPC
    stream's deadline is kept by its worker and its caller alone: past the first answer Envoy could only cut it, and the
    caller would read INTERNAL.
    """
    action: Json = {"cluster": cluster, "timeout": seconds(timeout_s)}
    if match.get("path") not in _GRPC_STREAMS:
        action["max_stream_duration"] = _AS_CALLED
    if not timeout_s:
        action["idle_timeout"] = seconds(0)
    return {"match": match, "route": action, "typed_per_filter_config": _filters_on(on)}


def _filters_on(names: tuple[str, ...]) -> Json:
    return {name: typed("envoy.config.route.v3.FilterConfig", config={}) for name in names}
