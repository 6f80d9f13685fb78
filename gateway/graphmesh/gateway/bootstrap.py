"""Envoy's bootstrap: the part of its configuration that stands while it runs.

Everything that changes comes over one delta ADS stream from the control plane: endpoints (EDS) and the route table
with the graphs' revisions (RDS). Neither drains a connection. Clusters and listeners are here, so that nothing of them
can be lost with the control plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.gateway.clusters import CONTROL, clusters
from graphmesh.gateway.envoy_json import Json, extension, seconds
from graphmesh.gateway.listeners import listeners

if TYPE_CHECKING:
    from graphmesh.gateway.config import GatewayConfig

__all__ = ["bootstrap"]

_MOST_CONNECTIONS = 16_000
"""Of clients, over all listeners; further ones are closed at once."""


def bootstrap(config: GatewayConfig) -> Json:
    """Return the bootstrap of a gateway's Envoy, the same for the same configuration."""
    return {
        "node": {"id": config.gateway_id, "cluster": config.mesh},
        "admin": {"address": {"pipe": {"path": config.sockets.admin}}},
        "dynamic_resources": {"ads_config": _ads()},
        "static_resources": {"listeners": listeners(config), "clusters": clusters(config)},
        "overload_manager": _overload(config.envoy_heap_bytes),
    }


def _ads() -> Json:
    """Return the discovery stream; a restarted control plane is found again within a second."""
    back_off = {"base_interval": seconds(0.1), "max_interval": seconds(1)}
    envoy_grpc = {"cluster_name": CONTROL, "retry_policy": {"retry_back_off": back_off}}
    return {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": envoy_grpc}]}


def _overload(heap_bytes: int) -> Json:
    """Return what bounds the heap: give back unused memory, then refuse requests, then cut the largest streams."""
    heap = extension(
        "envoy.resource_monitors.fixed_heap",
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        max_heap_size_bytes=heap_bytes,
    )
    connections = extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=_MOST_CONNECTIONS,
    )
    thresholds = {"envoy.overload_actions.shrink_heap": 0.75, "envoy.overload_actions.stop_accepting_requests": 0.8}
    actions: list[Json] = [
        {"name": name, "triggers": [{"name": heap["name"], "threshold": {"value": value}}]}
        for name, value in thresholds.items()
    ]
    scaled = {"scaling_threshold": 0.9, "saturation_threshold": 1.0}
    reset = "envoy.overload_actions.reset_high_memory_stream"
    actions.append({"name": reset, "triggers": [{"name": heap["name"], "scaled": scaled}]})
    return {
        "refresh_interval": seconds(0.1),
        "resource_monitors": [heap, connections],
        "actions": actions,
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
    }
