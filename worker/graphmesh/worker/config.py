"""What a worker is told at its start: checked once, then passed in; nothing is read from the environment later."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest, StartFailed
from graphmesh.core.names import check_model_name, check_version

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelConfig", "WorkerConfig"]

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One version of one model to host."""

    name: str
    """What clients call: `[a-z0-9][a-z0-9._-]{0,127}`."""
    source: str
    """`path/model.onnx`, `path/file.py:Class` or `package.module:Class`."""
    version: str = "1"
    """Digits; the highest available version answers calls that name none."""
    backend: str = ""
    """`onnx` or `python`; empty takes `onnx` for `*.onnx`, else `python`."""
    instances: int = 1
    """How many sync `predict` calls may run at once, each on its own thread; at least 1."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Keyword arguments of the Python class's constructor."""

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_version(self.version)
        if self.instances < 1:
            raise InvalidRequest(f"model {self.name!r}: instances must be at least 1, got {self.instances}")
        if not self.source:
            raise InvalidRequest(f"model {self.name!r}: source must name a file or a class, got nothing")

    @property
    def kind(self) -> str:
        """The backend's name, given or inferred."""
        return self.backend or ("onnx" if self.source.endswith(".onnx") else "python")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """One worker process."""

    worker_id: str
    """Unique among the mesh's live workers."""
    etcd: tuple[str, ...] = ("127.0.0.1:2379",)
    """etcd's endpoints, `host:port`."""
    mesh: str = "default"
    """The mesh to join."""
    bind: str = "127.0.0.1"
    """The address to listen at; anything but loopback needs `insecure_bind`."""
    advertise: str = ""
    """The IP address others reach this worker at; empty takes the one from which it reaches etcd."""
    http_port: int = 0
    """Port of the HTTP shell; 0 takes a free one."""
    grpc_port: int = 0
    """Port of the gRPC shell; 0 takes a free one."""
    models: tuple[ModelConfig, ...] = ()
    """What to host."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Free labels for the worker's record."""
    ttl_s: float = 15
    """The record outlives the process by at most this."""
    drain_s: float = 1.0
    """On SIGTERM: how long the record says DRAINING before the worker reports not ready; one propagation time."""
    grace_s: float = 30.0
    """On SIGTERM: how long calls in flight may take to finish."""
    max_message_bytes: int = 65 * _MEBIBYTE
    """Largest request or answer; larger ones get RESOURCE_EXHAUSTED."""
    insecure_bind: bool = False
    """Allow a bind that is not loopback although nothing authenticates callers."""

    def __post_init__(self) -> None:
        check_model_name(self.worker_id)
        check_model_name(self.mesh)
        pairs = [(model.name, model.version) for model in self.models]
        twice = sorted({f"{name} version {version}" for name, version in pairs if pairs.count((name, version)) > 1})
        if twice:
            raise InvalidRequest(f"models must differ in name or version, twice: {', '.join(twice)}")

    def check_bind(self) -> None:
        """Refuse to listen beyond loopback unless that was asked for.

        Raises:
            StartFailed: not an IP address, or not loopback without `insecure_bind` (FAILED_PRECONDITION).
        """
        address = _address("bind", self.bind)
        if not address.is_loopback and not self.insecure_bind:
            raise StartFailed(
                f"bind {self.bind} is reachable from other machines and nothing authenticates callers; "
                "bind 127.0.0.1, or pass --insecure-bind inside a network you trust"
            )
        if self.advertise and _address("advertise", self.advertise).is_unspecified:
            raise StartFailed(f"advertise must be an address others can reach, got {self.advertise}")


def _address(what: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise StartFailed(f"{what} must be an IP address, got {text!r}") from error
