"""The resources that Envoy is sent, built from endpoints and graph revisions; a version is a digest of the content.

So a control plane that starts again gives the same content the same version, and an Envoy that already has it is sent
nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.grpc_field_extraction.v3 import config_pb2 as _extraction  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2 as _previous_hosts  # noqa: F401
from google.protobuf import any_pb2, json_format

from graphmesh.gateway.clusters import ABSENT, FAST, GRPC, LB, MODEL, MODEL_VERSION
from graphmesh.gateway.placement import endpoints, revisions
from graphmesh.gateway.routes import ROUTES, route_configuration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from graphmesh.gateway.config import Sockets
    from graphmesh.gateway.placement import Endpoint
    from graphmesh.gateway.standing import Standings
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["ENDPOINTS", "ROUTE_TABLES", "Resource", "ResourceSet", "build"]

ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
ROUTE_TABLES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, packed."""

    version: str
    """Digest of the content."""
    body: any_pb2.Any
    """The content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSet:
    """Everything Envoy is to have, as of one registry revision; immutable."""

    revision: int
    """The registry revision it stands for."""
    by_type: Mapping[str, Mapping[str, Resource]]
    """Resources by name, by type."""

    @property
    def version(self) -> str:
        """A digest of all content; equal sets of different revisions have equal versions."""
        parts = (item.version for names in self.by_type.values() for item in names.values())
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def build(snapshot: Snapshot, standings: Standings, sockets: Sockets) -> ResourceSet:
    """Return the resources of a snapshot in which graphs stand so."""
    workers = endpoints(snapshot, standings)
    table = json_format.ParseDict(route_configuration(revisions(snapshot)), route_pb2.RouteConfiguration())
    return ResourceSet(
        revision=snapshot.revision,
        by_type={
            ENDPOINTS: {
                FAST: _pack(_assignment(FAST, workers, sockets.http)),
                GRPC: _pack(_assignment(GRPC, workers, sockets.control)),
            },
            ROUTE_TABLES: {ROUTES: _pack(table)},
        },
    )


def _pack(message: Message) -> Resource:
    body = any_pb2.Any()
    body.Pack(message, deterministic=True)
    return Resource(hashlib.sha256(body.value).hexdigest()[:16], body)


def _assignment(cluster: str, workers: Iterable[Endpoint], absent: str) -> endpoint_pb2.ClusterLoadAssignment:
    """Return a cluster's endpoints: the workers, and the control plane's socket for what no worker serves."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster)
    group = assignment.endpoints.add()
    for worker in workers:
        entry = group.lb_endpoints.add()
        address = entry.endpoint.address.socket_address
        address.address = worker.host
        address.port_value = worker.http_port if cluster == FAST else worker.grpc_port
        if cluster == GRPC:
            entry.endpoint.health_check_config.port_value = worker.http_port
        entry.metadata.filter_metadata[LB].update({MODEL: list(worker.models), MODEL_VERSION: list(worker.versions)})
    entry = group.lb_endpoints.add()
    entry.endpoint.address.pipe.path = absent
    entry.endpoint.health_check_config.disable_active_health_check = True
    entry.metadata.filter_metadata[LB].update({ABSENT: "yes"})
    return assignment
