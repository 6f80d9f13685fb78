"""The ports of a gateway that is to start: taken ones are refused before anything runs."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.mesh_file import GatewayEntry
from graphmesh.cli.ports import check_ports, free_port, is_free, local_address
from graphmesh.core.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import FakeGateway

    Run = Callable[..., tuple[int, str, str]]


def test_free_and_taken() -> None:
    """A port is taken while something listens on it; an address that is not here is for others to refuse."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)
    assert is_free("203.0.113.1", port)


def test_addresses() -> None:
    """What listens everywhere is reached by loopback."""
    assert [local_address(bind, 80) for bind in ("127.0.0.1", "0.0.0.0", "::", "::1")] == [  # noqa: S104 - never bound
        "127.0.0.1:80",
        "127.0.0.1:80",
        "[::1]:80",
        "[::1]:80",
    ]


def test_another_mesh_has_the_port(fake_gateway: FakeGateway) -> None:
    """The message names each taken port, who has it, and the flags that choose others; a port of 0 is not looked at."""
    fake_gateway.answers({"mesh": "shop"})
    port = int(fake_gateway.address.rpartition(":")[2])
    gateway = GatewayEntry(port=port, grpc_port=0, metrics_port=free_port())
    with pytest.raises(
        StartFailed,
        match=rf"port {port} on 127.0.0.1 must be free, but another mesh.*--port 0, or gateway.port in mesh.yaml$",
    ):
        check_ports(gateway)
    fake_gateway.answers({})
    gateway = GatewayEntry(port=free_port(), grpc_port=port, metrics_port=0)
    with pytest.raises(
        StartFailed, match=r"something else listens there.*others: --grpc-port 0, or gateway.grpc_port in mesh.yaml$"
    ):
        check_ports(gateway)


def test_up_beside_another_mesh(
    graphmesh: Run, fake_gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`graphmesh up` never takes another mesh's gateway for its own: exit code 4, nothing started, no graph sent."""
    monkeypatch.chdir(tmp_path)
    fake_gateway.answers({"mesh": "default"})
    port = fake_gateway.address.rpartition(":")[2]
    code, out, errors = graphmesh("up", "--port", port, "--grpc-port", "0", "--metrics-port", "0")
    assert (code, out) == (4, "")
    assert f"port {port} on 127.0.0.1 must be free, but another mesh answers" in errors
    assert {path for path, *_ in fake_gateway.requests} == {"/v1/status"}
    assert sorted(path.name for path in Path(".graphmesh").iterdir()) == ["mesh.json"]
