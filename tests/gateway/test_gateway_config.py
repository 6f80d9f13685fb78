"""GatewayConfig: what stops a start, and what is derived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graphmesh.core.errors import InvalidRequest, StartFailed
from graphmesh.gateway.config import GatewayConfig


def make(**fields: Any) -> GatewayConfig:  # noqa: ANN401
    """Return a configuration."""
    return GatewayConfig(**{"gateway_id": "g1", "run_dir": Path("/tmp/gm"), **fields})  # noqa: S108 - nothing is written


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gateway_id": "A b"}, "must match"),
        ({"mesh": "../x"}, "must match"),
        ({"bind": "localhost"}, "bind must be an IP address"),
        ({"advertise": "gateway.example"}, "advertise must be an IP address"),
        ({"port": 0}, "port must be 1 to 65535"),
        ({"metrics_port": 70_000}, "metrics_port must be 0 to 65535"),
        ({"port": 8001}, "must differ"),
        ({"max_message_bytes": 10}, "1 MiB to 1 GiB"),
        ({"envoy_heap_bytes": 1 << 20}, "4 messages or more"),
        ({"envoy_concurrency": 0}, "1 or more"),
    ],
)
def test_bad_values_stop_the_start(fields: dict[str, Any], words: str) -> None:
    """Every bad value is named with what was expected."""
    with pytest.raises(InvalidRequest, match=words):
        make(**fields)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104 - the point of the test
def test_other_binds_need_to_be_asked_for(bind: str) -> None:
    """Only loopback is bound without being told that the network is trusted."""
    with pytest.raises(StartFailed, match="--insecure-bind"):
        make(bind=bind).check_start()
    make(bind=bind, insecure_bind=True).check_start()


def test_loopback_starts() -> None:
    """Both loopback addresses are safe."""
    make().check_start()
    make(bind="::1").check_start()


def test_sockets_of_a_deep_run_folder_are_elsewhere() -> None:
    """Unix socket paths are short; those of a deep folder are in a folder of its own that has a short path."""
    deep, deeper = make(run_dir=Path("/tmp/" + "deep/" * 30)), make(run_dir=Path("/tmp/" + "deep/" * 31))  # noqa: S108
    assert make().socket_dir == make().run_dir
    assert len(deep.sockets.control) < 100
    assert deep.socket_dir != deeper.socket_dir


def test_ports_that_are_off_are_not_listened_on() -> None:
    """0 turns the alias and the metrics off."""
    assert make(grpc_port=0, metrics_port=0).ports == (8000,)


@pytest.mark.parametrize(
    ("bind", "target"),
    [
        ("127.0.0.1", "127.0.0.1:8000"),
        ("127.0.0.2", "127.0.0.2:8000"),
        ("::1", "[::1]:8000"),
        ("0.0.0.0", "127.0.0.1:8000"),  # noqa: S104 - never bound
        ("::", "[::1]:8000"),
        ("10.0.0.5", "10.0.0.5:8000"),
        ("fd00::5", "[fd00::5]:8000"),
    ],
)
def test_where_this_machine_reaches_the_listener(bind: str, target: str) -> None:
    """What is bound, or loopback of its family when that is every address."""
    assert make(bind=bind).local_target == target
