"""What one gateway process is told at its start: checked once, then passed in and never read again from elsewhere."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from graphmesh.core.errors import InvalidRequest, StartFailed
from graphmesh.core.names import check_model_name

__all__ = ["GatewayConfig", "Sockets"]

_MIB = 1024 * 1024
_LONGEST_SOCKET_PATH = 100
"""Unix socket paths end at 107 bytes on Linux and 103 on macOS."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """The unix sockets of one gateway; they outlive its control plane, which binds them anew."""

    control: str
    """gRPC of the control plane: discovery for Envoy, the services, answers for models that nobody serves."""
    http: str
    """HTTP of the control plane: `/v2`, `/v2/health`, answers for models that nobody serves."""
    admin: str
    """Envoy's own administration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """One gateway: its listeners, its Envoy and its place in the mesh."""

    gateway_id: str
    """Unique among the mesh's gateways: `[a-z0-9][a-z0-9._-]{0,127}`."""
    run_dir: Path
    """Folder of this gateway alone: Envoy's configuration, log, process id, and sockets if the path is short enough."""
    mesh: str = "default"
    """The mesh's name in etcd."""
    etcd: tuple[str, ...] = ("127.0.0.1:2379",)
    """Endpoints of etcd, `host:port`."""
    bind: str = "127.0.0.1"
    """The address the listeners bind: an IP literal."""
    advertise: str = ""
    """The address workers reach this gateway at: an IP literal; empty derives it from ``bind`` or the way to etcd."""
    port: int = 8000
    """The public port: gRPC and REST."""
    grpc_port: int = 8001
    """A second port for the same, where Triton's clients expect gRPC; 0 is off."""
    metrics_port: int = 8002
    """`/metrics` in Prometheus' format and `/healthz/...`; 0 is off."""
    max_message_bytes: int = 64 * _MIB
    """Largest tensor payload of one message; a request larger than this and 1 MiB of overhead is refused."""
    envoy_heap_bytes: int = 2048 * _MIB
    """Bound of Envoy's heap: near it Envoy gives memory back, then refuses requests."""
    envoy_concurrency: int = max(1, (os.cpu_count() or 1) // 2)
    """Envoy's worker threads."""
    insecure_bind: bool = False
    """Allow binding other than loopback, without TLS and authentication."""
    ttl_s: float = 15.0
    """Lease of this gateway's record in seconds."""
    drain_s: float = 10.0
    """Longest wait in seconds for requests in flight when the gateway stops."""

    def __post_init__(self) -> None:
        check_model_name(self.gateway_id)
        check_model_name(self.mesh)
        for name in ("bind", "advertise"):
            _check_address(name, getattr(self, name))
        for name in ("port", "grpc_port", "metrics_port"):
            _check_port(name, getattr(self, name), optional=name != "port")
        if len(set(self.ports)) != len(self.ports):
            raise InvalidRequest(f"a gateway's ports must differ, got {list(self.ports)}")
        if not _MIB <= self.max_message_bytes <= 1024 * _MIB:
            raise InvalidRequest(f"max_message_bytes must be 1 MiB to 1 GiB, got {self.max_message_bytes}")
        if self.envoy_heap_bytes < 4 * self.max_message_bytes:
            raise InvalidRequest(f"envoy_heap_bytes must be 4 messages or more, got {self.envoy_heap_bytes}")
        if self.envoy_concurrency < 1:
            raise InvalidRequest(f"envoy_concurrency must be 1 or more, got {self.envoy_concurrency}")

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of all listeners that are on."""
        return tuple(port for port in (self.port, self.grpc_port, self.metrics_port) if port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the listeners."""
        return ipaddress.ip_address(self.bind).is_loopback

    @property
    def local_target(self) -> str:
        """Where this machine itself reaches the public port, `host:port`: loopback if every address is bound."""
        address = ipaddress.ip_address(self.bind)
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")  # noqa: PLR2004
        return f"{address}:{self.port}" if address.version == 4 else f"[{address}]:{self.port}"  # noqa: PLR2004

    @property
    def buffer_bytes(self) -> int:
        """Most bytes of one request or answer that Envoy holds: a message and its overhead."""
        return self.max_message_bytes + _MIB

    @property
    def sockets(self) -> Sockets:
        """The unix sockets."""
        folder = self.socket_dir
        return Sockets(
            control=str(folder / "control.sock"), http=str(folder / "http.sock"), admin=str(folder / "admin.sock")
        )

    @property
    def socket_dir(self) -> Path:
        """Where the sockets are: ``run_dir``, or a folder in `/tmp` named after it if its path is too long for them."""
        folder = self.run_dir.resolve()
        if len(os.fsencode(folder / "control.sock")) <= _LONGEST_SOCKET_PATH:
            return folder
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        return Path("/tmp") / f"graphmesh-{os.getuid()}-{digest}"  # noqa: S108 - its owner is checked; TMPDIR may be long

    def check_start(self) -> None:
        """Raise StartFailed when this gateway must not start on this machine; does no I/O."""
        if not self.is_loopback and not self.insecure_bind:
            raise StartFailed(
                f"binding {self.bind} would let other machines in without TLS or authentication; bind 127.0.0.1, "
                "or pass --insecure-bind where the network itself is trusted"
            )


def _check_address(name: str, address: str) -> None:
    if not address and name == "advertise":
        return
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise InvalidRequest(f"{name} must be an IP address, got {address!r}") from None


def _check_port(name: str, port: int, *, optional: bool) -> None:
    least = 0 if optional else 1
    if not least <= port <= 65535:  # noqa: PLR2004
        raise InvalidRequest(f"{name} must be {least} to 65535, got {port}")
