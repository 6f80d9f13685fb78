"""What a worker is told at its start: checked once, then passed in; nothing is read from the environment later."""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest, StartFailed
from graphmesh.core.names import check_model_name, check_version
from graphmesh.worker.backends.remote_address import is_address, parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.worker.batching import Batching

__all__ = ["Isolation", "ModelConfig", "WorkerConfig"]

_MEBIBYTE = 1024 * 1024
_SHA256 = re.compile("[0-9a-f]{64}")


class Isolation(enum.StrEnum):
    """Where a model runs."""

    NONE = "none"
    """In the worker's process."""
    PROCESS = "process"
    """In a process of its own: its crash, hang or leak leaves other models alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One version of one model to host."""

    name: str
    """What clients call: `[a-z0-9][a-z0-9._-]{0,127}`."""
    source: str
    """A model file or folder, `path/file.py:Class`, `package.module:Class`, or `grpc://host:8001/model` for a model at
    another server."""
    version: str = ""
    """Digits; the highest available version answers calls that name none. Empty takes what the source says, else 1."""
    backend: str = ""
    """What loads it; empty is found out from the source."""
    instances: int = 0
    """How many calls or batches a sync `predict` runs at once, each on a thread of its own; 0 takes what the source
    says, else 1."""
    batching: Batching | None = None
    """How calls are gathered into batches; None takes what the source says, else none are."""
    isolation: Isolation = Isolation.NONE
    """Whether it runs in a process of its own."""
    hang_s: float = 30.0
    """With a process of its own: started again once all its instances are still busy this long after their callers
    left."""
    device: str = ""
    """`cpu`, `cuda` or `cuda:1`; empty takes a GPU if the backend finds one."""
    max_waiting: int = 1024
    """How many calls may wait for an instance; more are refused (RESOURCE_EXHAUSTED)."""
    max_wait_s: float = 30.0
    """A call that would wait longer than this, by what was measured so far, is refused (RESOURCE_EXHAUSTED)."""
    warmup: tuple[Mapping[str, object], ...] = ()
    """Requests in natural JSON (inputs by name) that are run before the model is announced."""
    sha256: str = ""
    """The file's SHA-256, lower-case hex; it must match. Formats that can carry code are not loaded without it."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Keyword arguments of the Python class's constructor, or options of the backend."""
    expects: Signature | None = None
    """What a description beside the file says it takes and gives; a file that says otherwise is not loaded."""
    in_folder: bool = False
    """Whether a folder chose the source, which may be code only if `sha256` names it."""
    max_message_bytes: int = 65 * _MEBIBYTE
    """Largest request to, or answer of, a model at another server; a worker puts its own here."""

    def __post_init__(self) -> None:
        check_model_name(self.name)
        if self.version:
            check_version(self.version)
        if self.instances < 0:
            raise InvalidRequest(f"model {self.name!r}: instances must be 0 or more, got {self.instances}")
        if self.hang_s <= 0:
            raise InvalidRequest(f"model {self.name!r}: hang_s must be positive, got {self.hang_s}")
        if self.max_waiting < 0 or self.max_wait_s <= 0:
            raise InvalidRequest(f"model {self.name!r}: max_waiting must not be negative, max_wait_s must be positive")
        if not self.source:
            raise InvalidRequest(f"model {self.name!r}: source must name a file or a class, got nothing")
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise InvalidRequest(f"model {self.name!r}: sha256 must be 64 lower-case hex digits, got {self.sha256!r}")
        if is_address(self.source) or self.backend == "remote":
            self._check_external()

    def _check_external(self) -> None:
        """Refuse a bad address, and what only makes sense for a model that runs here."""
        try:
            parse_address(self.source)
        except InvalidRequest as error:
            raise InvalidRequest(f"model {self.name!r}: source: {error.message}") from None
        if self.backend not in {"", "remote"}:
            raise InvalidRequest(f"model {self.name!r}: backend must be left out for an address, got {self.backend!r}")
        here = {"sha256": self.sha256, "device": self.device, "isolation": self.isolation is Isolation.PROCESS}
        for name, given in here.items():
            if given:
                raise InvalidRequest(f"model {self.name!r}: {name} is for models that run here; leave it out")


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
    cache_bytes: int = 1024 * _MEBIBYTE
    """Bytes of tensors that all cache steps of all graphs may remember here together; 0 remembers nothing."""
    insecure_bind: bool = False
    """Allow a bind that is not loopback although nothing authenticates callers."""

    def __post_init__(self) -> None:
        check_model_name(self.worker_id)
        check_model_name(self.mesh)
        if self.cache_bytes < 0:
            raise InvalidRequest(f"cache_bytes must not be negative, got {self.cache_bytes}")
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
