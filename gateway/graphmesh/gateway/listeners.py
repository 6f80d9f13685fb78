"""The listeners of the bootstrap and the HTTP filters a request passes."""

from __future__ import annotations

import base64
import functools
import ipaddress
import socket
from importlib import resources
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2

from graphmesh.gateway import routes
from graphmesh.gateway.clusters import ADMIN
from graphmesh.gateway.envoy_json import Json, extension, http2_options, lua, seconds
from graphmesh.gateway.replies import local_replies

if TYPE_CHECKING:
    from graphmesh.gateway.config import GatewayConfig

__all__ = ["listeners"]

_STREAMS_PER_CONNECTION = 100
_EXTRACTIONS = {
    "inference.GRPCInferenceService.ModelInfer": ("model_name", "model_version"),
    "inference.GRPCInferenceService.ModelStreamInfer": ("model_name", "model_version"),
    "inference.GRPCInferenceService.ModelMetadata": ("name", "version"),
    "inference.GRPCInferenceService.ModelReady": ("name", "version"),
    "inference.GRPCInferenceService.ModelConfig": ("name", "version"),
    "graphmesh.v1.InferenceService.Predict": ("model", "version"),
    "graphmesh.v1.InferenceService.PredictStream": ("model", "version"),
    "graphmesh.v1.InferenceService.GenerateStream": ("model", "version"),
}
_OURS = (
    "x-graphmesh-model",
    "x-graphmesh-version",
    "x-graphmesh-graph-revision",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
)
"""Headers that only the mesh itself sets: an outsider's are removed."""


_EVERY_IPV6 = ipaddress.IPv6Address("::")
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0x10), 60),  # 0x10: TCP_KEEPALIVE, macOS' name for it
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)
"""TCP asks a quiet client after a minute and gives it up after another; calls themselves may be quiet for ever."""


def listeners(config: GatewayConfig) -> list[Json]:
    """Return the public listener, its alias for gRPC clients, and the one for metrics."""
    found = [_listener("public", config, config.port, _public(config))]
    if config.grpc_port:
        found.append(_listener("grpc_alias", config, config.grpc_port, _public(config)))
    if config.metrics_port:
        found.append(_listener("metrics", config, config.metrics_port, _metrics()))
    return found


def _listener(name: str, config: GatewayConfig, port: int, manager: Json) -> Json:
    return {
        "name": name,
        "address": {"socket_address": _address(config.bind, port)},
        "socket_options": _keepalive(),
        # One socket a port: with port reuse two gateways would share a port without a word.
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "per_connection_buffer_limit_bytes": config.buffer_bytes,
        "filter_chains": [{"filters": [manager]}],
    }


def _address(bind: str, port: int) -> Json:
    address: Json = {"address": bind, "port_value": port}
    # Every address means IPv4's too.
    return {**address, "ipv4_compat": True} if ipaddress.ip_address(bind) == _EVERY_IPV6 else address


def _keepalive() -> list[Json]:
    """Return what ends connections of clients that vanished; accepted sockets inherit it."""
    return [{"level": level, "name": name, "int_value": value} for level, name, value in _KEEPALIVE]


def _manager(stat_prefix: str, **fields: object) -> Json:
    return extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=stat_prefix,
        use_remote_address=True,
        request_headers_timeout=seconds(10),
        **fields,
    )


def _public(config: GatewayConfig) -> Json:
    return _manager(
        "public",
        codec_type="AUTO",
        http2_protocol_options={
            **http2_options(config.buffer_bytes),
            "max_concurrent_streams": _STREAMS_PER_CONNECTION,
        },
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        preserve_external_request_id=True,
        early_header_mutation_extensions=[_strip()],
        local_reply_config=local_replies(),
        rds={"route_config_name": routes.ROUTES, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        http_filters=[*_filters(config), _router()],
    )


def _strip() -> Json:
    """Return the removal of routing headers that outsiders may not set, before anything reads them."""
    mutations: list[Json] = [{"remove": name} for name in _OURS]
    mutations.append({"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}})
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=mutations,
    )


def _filters(config: GatewayConfig) -> list[Json]:
    """Return the filters in the order of requests; answers pass in reverse. Routes turn them on."""
    chain = [
        _lua(routes.CONTROL_ERRORS),
        _transcoder(
            routes.TRANSCODE,
            ("graphmesh.v1.GraphService", "graphmesh.v1.MeshService"),
            request_validation_options={"reject_unknown_query_parameters": True},
        ),
        _lua(routes.WITHOUT_QUERY),
        _transcoder(routes.STREAMS, ("graphmesh.v1.InferenceService",)),
        extension(
            routes.EXTRACT,
            "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig",
            descriptor_set={"inline_bytes": _services()},
            extractions_by_method={
                method: {"request_field_extractions": {field: {} for field in fields}}
                for method, fields in _EXTRACTIONS.items()
            },
        ),
        _lua(routes.CHOOSE),
        extension(
            routes.BRIDGE,
            "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
            content_type=routes.BRIDGED_TYPE,
            withhold_grpc_frames=True,
            # Streams the answer. Without it Envoy buffers, and up to 1.39 crashed on answers past the buffer limit.
            response_size_header="content-length",
        ),
        _lua(routes.KEEP_STATUS),
        extension(
            routes.BUFFER,
            "envoy.extensions.filters.http.buffer.v3.Buffer",
            max_request_bytes=config.buffer_bytes,
        ),
    ]
    return [{**item, "disabled": True} for item in chain]


def _transcoder(name: str, services: tuple[str, ...], **fields: object) -> Json:
    """Return a filter that makes gRPC calls of REST's, by the http rules of services."""
    return extension(
        name,
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor_bin=_services(),
        services=services,
        convert_grpc_status=True,
        print_options={"always_print_primitive_fields": True, "preserve_proto_field_names": True},
        **fields,
    )


def _lua(name: str) -> Json:
    return extension(name, "envoy.extensions.filters.http.lua.v3.Lua", default_source_code={"inline_string": lua(name)})


def _router() -> Json:
    router = "envoy.extensions.filters.http.router.v3.Router"
    return extension("envoy.filters.http.router", router, suppress_envoy_headers=True)


@functools.cache
def _services() -> str:
    """Return the descriptors of all services, and of the error details that the transcoder has to print, in base64."""
    found = descriptor_pb2.FileDescriptorSet.FromString(
        (resources.files("graphmesh.v1") / "services.binpb").read_bytes()
    )
    names = {file.name for file in found.file}
    details = error_details_pb2.DESCRIPTOR
    for file in (*details.dependencies, details):
        if file.name not in names:
            file.CopyToProto(found.file.add())
    return base64.b64encode(found.SerializeToString()).decode()


def _metrics() -> Json:
    admin = {"cluster": ADMIN}
    own = [
        {"match": {"path": "/metrics"}, "route": {**admin, "prefix_rewrite": "/stats/prometheus"}},
        {"match": {"path": "/healthz/ready"}, "route": {**admin, "prefix_rewrite": "/ready"}},
        {"match": {"path": "/healthz/live"}, "direct_response": {"status": 200, "body": {"inline_string": "live\n"}}},
    ]
    table = {"name": "metrics", "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": own}]}
    return _manager("metrics", route_config=table, http_filters=[_router()])
