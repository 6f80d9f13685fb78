"""The control plane's gRPC server, on a unix socket that Envoy alone reaches."""

from __future__ import annotations

import contextlib
from importlib import resources
from typing import TYPE_CHECKING

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from graphmesh.gateway.servicer_errors import Decoding
from graphmesh.gateway.servicer_graph import GraphServicer
from graphmesh.gateway.servicer_mesh import MeshServicer
from graphmesh.gateway.servicer_oip import AbsentPredict, OipServicer
from graphmesh.gateway.servicer_relay import Relay
from graphmesh.oip import open_inference_pb2_grpc
from graphmesh.v1 import graph_service_pb2_grpc, inference_service_pb2_grpc, mesh_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from graphmesh.core.oip import Management
    from graphmesh.gateway.config import GatewayConfig
    from graphmesh.gateway.view import View
    from graphmesh.registry.registry import Registry

__all__ = ["serve_control"]

_STOP_WITHIN_S = 0.5
_SERVICES = (
    "graphmesh.v1.GraphService",
    "graphmesh.v1.InferenceService",
    "graphmesh.v1.MeshService",
    "inference.GRPCInferenceService",
)


@contextlib.asynccontextmanager
async def serve_control(
    config: GatewayConfig, view: View, registry: Registry, management: Management
) -> AsyncIterator[None]:
    """Serve discovery and the services while inside the context."""
    options = [
        ("grpc.max_receive_message_length", config.buffer_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.per_message_decompression", 0),  # graphmesh.core.compression says why
    ]
    own = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(config.local_target, options=[*options, *own]) as channel:
        server = grpc.aio.server(interceptors=(Decoding(config.buffer_bytes),), options=options)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(view.discovery, server)
        graph_service_pb2_grpc.add_GraphServiceServicer_to_server(GraphServicer(view, registry), server)
        mesh_service_pb2_grpc.add_MeshServiceServicer_to_server(MeshServicer(view, registry), server)
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(OipServicer(view, management), server)
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(AbsentPredict(view), server)
        server.add_generic_rpc_handlers((Relay(channel, config.buffer_bytes),))
        await _add_adjuncts(server)
        server.add_insecure_port(f"unix:{config.sockets.control}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(_STOP_WITHIN_S)


async def _add_adjuncts(server: grpc.aio.Server) -> None:
    """Add health and reflection; reflection shows every service, the Open Inference Protocol's private pool too."""
    checks = health.aio.HealthServicer()
    for service in ("", *_SERVICES):
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    pool = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorSet.FromString(
        (resources.files("graphmesh.v1") / "services.binpb").read_bytes()
    )
    pending = {file.name: file for file in described.file}
    while pending:
        for name in [name for name, file in pending.items() if not pending.keys() & set(file.dependency)]:
            pool.Add(pending.pop(name))  # type: ignore[no-untyped-call]
    reflection.enable_server_reflection(_SERVICES, server, pool=pool)
