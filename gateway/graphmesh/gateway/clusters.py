"""The clusters of the bootstrap: two for all models, and the gateway's own sockets.

An endpoint of `fast` and `grpc` is a worker, a model is a subset of them by the endpoints' metadata (D2): load,
connections, ejection and health are counted per worker. Choice within a subset is the worker with the fewest active
requests, found by a full scan. What Envoy decides about a worker: one transport failure ejects it for a second at a
time, a failed health check until one passes; what a model answers, even a 500, never does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.gateway.envoy_json import Json, extension, http2_options, seconds, typed

if TYPE_CHECKING:
    from graphmesh.gateway.config import GatewayConfig

__all__ = ["ABSENT", "ADMIN", "CONTROL", "CONTROL_HTTP", "FAST", "GRPC", "LB", "MODEL", "MODEL_VERSION", "clusters"]

FAST = "fast"
"""Workers' HTTP ports: unary calls, JSON."""
GRPC = "grpc"
"""Workers' gRPC ports: streams, compressed and transcoded calls."""
CONTROL = "control"
"""The control plane's gRPC socket."""
CONTROL_HTTP = "control_http"
"""The control plane's HTTP socket."""
ADMIN = "admin"
"""Envoy's own administration socket."""

LB = "envoy.lb"
"""The metadata namespace that subsets match."""
MODEL = "model"
"""Metadata key: names of the models and graphs that an endpoint serves."""
MODEL_VERSION = "model_version"
"""Metadata key: `name@version` of what it serves."""
ABSENT = "absent"
"""Metadata key of the endpoint that answers for what no worker serves."""

_HEALTH_INTERVAL_S = 1.0
_HEALTH_TIMEOUT_S = 1.0
_CONNECT_TIMEOUT_S = 1.0
_KEEPALIVE = {"interval": seconds(10), "timeout": seconds(4)}
_MANY = 1_000_000
"""More than Envoy ever reaches: queues and their bounds are the workers'."""


def clusters(config: GatewayConfig) -> list[Json]:
    """Return every cluster of a gateway."""
    sockets = config.sockets
    return [
        _models(FAST, config),
        _models(GRPC, config),
        _socket(CONTROL, sockets.control, http2=http2_options(config.buffer_bytes)),
        _socket(CONTROL_HTTP, sockets.http, http2=http2_options(config.buffer_bytes)),
        _socket(ADMIN, sockets.admin, http2=None),
    ]


def _models(name: str, config: GatewayConfig) -> Json:
    http2 = {**http2_options(config.buffer_bytes), "connection_keepalive": _KEEPALIVE}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": seconds(_CONNECT_TIMEOUT_S),
        "load_balancing_policy": {"policies": [{"typed_extension_config": _by_model()}]},
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},
            # Envoy's default holds a change of health back for up to a second after another one: an ejected worker
            # would go on getting requests.
            "update_merge_window": seconds(0),
        },
        "health_checks": [_health_check()],
        # A worker that leaves the mesh is gone at once, however healthy; its requests in flight finish.
        "ignore_health_on_host_removal": True,
        "outlier_detection": _outliers(),
        "circuit_breakers": {"thresholds": [_thresholds()]},
        "per_connection_buffer_limit_bytes": config.buffer_bytes,
        "typed_extension_protocol_options": _protocol({"http2_protocol_options": http2}),
    }


def _by_model() -> Json:
    least_request = extension(
        "envoy.load_balancing_policies.least_request",
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        selection_method="FULL_SCAN",
    )
    return extension(
        "envoy.load_balancing_policies.subset",
        "envoy.extensions.load_balancing_policies.subset.v3.Subset",
        fallback_policy="DEFAULT_SUBSET",
        default_subset={ABSENT: "yes"},
        list_as_any=True,
        subset_selectors=[{"keys": [MODEL]}, {"keys": [MODEL_VERSION]}],
        subset_lb_policy={"policies": [{"typed_extension_config": least_request}]},
    )


def _health_check() -> Json:
    """Return the check of a worker's HTTP port, which speaks for its gRPC port too (the endpoints name the port)."""
    return {
        "timeout": seconds(_HEALTH_TIMEOUT_S),
        "interval": seconds(_HEALTH_INTERVAL_S),
        "no_traffic_interval": seconds(_HEALTH_INTERVAL_S),
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/healthz/ready"},
    }


def _outliers() -> Json:
    """Return ejection on the first transport failure, of every replica if need be, and on nothing a model answers."""
    off = ("consecutive_5xx", "consecutive_gateway_failure", "success_rate", "local_origin_success_rate")
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 1,
        "interval": seconds(1),
        # Longer than health checks need to fail: Envoy counts failures past the limit while a host is ejected and does
        # not eject it again until one call succeeds. A healthy host comes back sooner, with its first passed check.
        "base_ejection_time": seconds(30),
        "max_ejection_time": seconds(30),
        "max_ejection_percent": 100,
        **{f"enforcing_{kind}": 0 for kind in off},
    }


def _thresholds() -> Json:
    retries = {"budget_percent": {"value": 20}, "min_retry_concurrency": 200}
    return {"max_connections": _MANY, "max_pending_requests": _MANY, "max_requests": _MANY, "retry_budget": retries}


def _socket(name: str, path: str, *, http2: Json | None) -> Json:
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    protocol = {"http_protocol_options": {}} if http2 is None else {"http2_protocol_options": http2}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": seconds(_CONNECT_TIMEOUT_S),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": _protocol(protocol),
    }


def _protocol(explicit: Json) -> Json:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {options: typed(options, explicit_http_config=explicit)}
