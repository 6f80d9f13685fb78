"""Envoy's configuration: Envoy's own schema takes it, and what the design promises is in it."""

from __future__ import annotations

import importlib
import json
import pkgutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import envoy.extensions
import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from graphmesh.gateway.bootstrap import bootstrap
from graphmesh.gateway.config import GatewayConfig
from graphmesh.gateway.envoy import find_envoy
from graphmesh.gateway.routes import route_configuration

MIB = 1024 * 1024


def config(**fields: Any) -> GatewayConfig:  # noqa: ANN401
    """Return a configuration."""
    return GatewayConfig(**{"gateway_id": "g1", "run_dir": Path("/tmp/gm"), **fields})  # noqa: S108


EXTENSIONS = ("lua", "grpc_", "router", "http_connection_manager", "load_balancing", "early_header", "buffer")
MORE_EXTENSIONS = ("upstreams.http.v3", "fixed_heap", "downstream_connections", "previous_hosts", "filters.cel")


@pytest.fixture(scope="module", autouse=True)
def extension_messages() -> None:
    """Load the extensions' messages, so that `Any` values are parsed too."""
    for module in pkgutil.walk_packages(envoy.extensions.__path__, "envoy.extensions."):
        if module.name.endswith("_pb2") and any(part in module.name for part in (*EXTENSIONS, *MORE_EXTENSIONS)):
            importlib.import_module(module.name)


def test_bootstrap_is_an_envoy_bootstrap() -> None:
    """Every field and every extension's field is one that Envoy's API has."""
    message = json_format.ParseDict(bootstrap(config()), bootstrap_pb2.Bootstrap())
    assert message.node.id == "g1"
    assert [one.name for one in message.static_resources.listeners] == ["public", "grpc_alias", "metrics"]


def test_envoy_itself_takes_it(tmp_path: Path) -> None:
    """Envoy validates the bootstrap with the routes put in place of RDS."""
    document = bootstrap(config(run_dir=tmp_path))
    for listener in document["static_resources"]["listeners"][:2]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["rds"]
        manager["route_config"] = route_configuration({"ocr": 3})
    path = tmp_path / "envoy.json"
    path.write_text(json.dumps(document))
    done = subprocess.run(
        [str(find_envoy()), "--mode", "validate", "-c", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_equal_configurations_give_equal_bootstraps() -> None:
    """The bootstrap is a function of the configuration: adoption compares digests of it."""
    assert json.dumps(bootstrap(config())) == json.dumps(bootstrap(config()))
    assert json.dumps(bootstrap(config())) != json.dumps(bootstrap(config(port=9000)))


def test_listeners_bind_what_they_are_told_and_share_no_port() -> None:
    """Loopback by default; without port reuse a second gateway cannot take part of the traffic."""
    for listener in bootstrap(config())["static_resources"]["listeners"]:
        assert listener["address"]["socket_address"]["address"] == "127.0.0.1"
        assert listener["enable_reuse_port"] is False
    off = bootstrap(config(grpc_port=0, metrics_port=0))["static_resources"]["listeners"]
    assert [one["name"] for one in off] == ["public"]


@pytest.mark.parametrize(
    ("bind", "both"),
    [("::", True), ("0:0::0", True), ("::1", False), ("fd00::5", False), ("0.0.0.0", False)],  # noqa: S104 - not bound
)
def test_every_address_is_ipv4s_too(bind: str, *, both: bool) -> None:
    """A listener on every IPv6 address takes IPv4 as well, other listeners are what they say."""
    for listener in bootstrap(config(bind=bind, insecure_bind=True))["static_resources"]["listeners"]:
        assert listener["address"]["socket_address"].get("ipv4_compat", False) is both


def test_vanished_clients_are_noticed() -> None:
    """Every listener has TCP ask quiet clients: calls have no idle timeout that would end those of dead ones."""
    for listener in bootstrap(config())["static_resources"]["listeners"]:
        options = {(one["level"], one["name"]): one["int_value"] for one in listener["socket_options"]}
        assert options[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
        assert len(options) == 4


def test_slow_headers_are_bounded() -> None:
    """Headers must arrive within seconds, on every listener."""
    for listener in bootstrap(config())["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        assert manager["request_headers_timeout"] == "10s"


@pytest.mark.parametrize("name", ["fast", "grpc"])
def test_model_clusters(name: str) -> None:
    """Both clusters: subsets by model and version, least request by full scan, no panic, every host may be ejected."""
    cluster = next(one for one in bootstrap(config())["static_resources"]["clusters"] if one["name"] == name)
    policy = cluster["load_balancing_policy"]["policies"][0]["typed_extension_config"]["typed_config"]
    assert policy["subset_selectors"] == [{"keys": ["model"]}, {"keys": ["model_version"]}]
    assert (policy["list_as_any"], policy["default_subset"]) == (True, {"absent": "yes"})
    inner = policy["subset_lb_policy"]["policies"][0]["typed_extension_config"]["typed_config"]
    assert inner["selection_method"] == "FULL_SCAN"
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}
    assert cluster["ignore_health_on_host_removal"] is True
    outliers = cluster["outlier_detection"]
    assert (outliers["consecutive_local_origin_failure"], outliers["max_ejection_percent"]) == (1, 100)
    assert outliers["enforcing_consecutive_5xx"] == 0
    assert cluster["circuit_breakers"]["thresholds"][0]["retry_budget"]["min_retry_concurrency"] >= 200
    assert cluster["health_checks"][0]["http_health_check"] == {"path": "/healthz/ready"}


def test_windows_are_as_large_as_buffers() -> None:
    """On HTTP/2 the stream window is the buffer limit: a message fits both, on listeners and clusters."""
    document = bootstrap(config(max_message_bytes=100 * MIB))
    size = 101 * MIB
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["http2_protocol_options"]["initial_stream_window_size"] == size
    for cluster in document["static_resources"]["clusters"][:2]:
        assert cluster["per_connection_buffer_limit_bytes"] == size


def test_heap_is_bounded() -> None:
    """The overload manager watches the heap."""
    manager = bootstrap(config(envoy_heap_bytes=900 * MIB))["overload_manager"]
    assert manager["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"] == 900 * MIB
    assert {action["name"].rpartition(".")[2] for action in manager["actions"]} == {
        "shrink_heap",
        "stop_accepting_requests",
        "reset_high_memory_stream",
    }


def test_routes_carry_live_revisions_and_retries() -> None:
    """The route table is a valid one; graph revisions are metadata of its virtual host."""
    table = json_format.ParseDict(route_configuration({"ocr": 3}), route_pb2.RouteConfiguration())
    host = table.virtual_hosts[0]
    assert host.metadata.filter_metadata["choose_workers"]["ocr"] == 3
    assert host.retry_policy.num_retries.value == 2
    assert host.retry_policy.retry_on == "connect-failure,reset,refused-stream"


def test_calls_of_models_may_be_quiet() -> None:
    """No route to a model, or to the loading of one, has an idle timeout; those of the control plane keep Envoy's."""
    table = json_format.ParseDict(route_configuration({}), route_pb2.RouteConfiguration())
    routes = [route for route in table.virtual_hosts[0].routes if route.HasField("route")]
    actions = [route.route for route in routes]
    for action in actions:
        quiet = action.timeout.ToSeconds() == 0
        if action.cluster in {"fast", "grpc"} or action.prefix_rewrite.startswith("/relay/"):
            assert quiet
        assert action.HasField("idle_timeout") is quiet
        assert action.idle_timeout.ToNanoseconds() == 0
    assert {action.cluster for action in actions if action.HasField("idle_timeout")} == {
        *("fast", "grpc", "control", "control_http"),
    }
    # Past the first answer Envoy could only reset a stream; its deadline is its worker's and its caller's to keep.
    unbounded = [route.match.path for route in routes if not route.route.HasField("max_stream_duration")]
    natural = [f"/graphmesh.v1.InferenceService/{method}Stream" for method in ("Generate", "Predict")]
    streams = [*natural, "/inference.GRPCInferenceService/ModelStreamInfer"]
    assert sorted(unbounded) == sorted([*streams, *streams])
