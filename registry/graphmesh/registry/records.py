"""What the registry holds, as values: workers, gateways, models, graphs.

A record checks itself when it is made. Records come from other processes, so whatever a reader can hold in its hand is
safe to use as a key, a routing value or an address to connect to: names fit the mesh's alphabet, an address is an IP
literal that one host can own. Who may advertise which address is not decided here.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.names import check_model_name, check_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature

__all__ = ["GatewayRecord", "GraphRecord", "HostedModel", "ModelSpec", "ModelState", "WorkerRecord", "WorkerState"]

_MAX_PORT = 65_535
_MOST_BYTES = (1 << 63) - 1
_MOST_LOAD_ID = 64


class ModelState(enum.IntEnum):
    """What a hosted model's replica is doing; states go forward only."""

    LOADING = 1
    """Not usable yet."""
    AVAILABLE = 2
    """Takes requests."""
    UNLOADING = 3
    """Finishes what it has."""
    FAILED = 4
    """Could not be loaded, or its process died; the replica's message says why."""
    UNLOADED = 5
    """Was unloaded; can be loaded again."""


class WorkerState(enum.IntEnum):
    """What a worker as a whole is doing."""

    READY = 1
    """Takes requests for its AVAILABLE models."""
    DRAINING = 2
    """Finishes what it has and gets nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """One version of one model on one worker."""

    name: str
    """The model's name."""
    version: str
    """Digits."""
    state: ModelState
    """What the replica is doing."""
    signature_digest: str = ""
    """`Signature.digest`; empty while unknown."""
    platform: str = ""
    """The backend and its version, for people."""
    message: str = ""
    """Why it is FAILED, or why it could not be loaded again and the old one goes on; empty otherwise."""
    memory_bytes: int = 0
    """Memory that it takes: of its process where it has one, else what loading it added; 0 while unknown."""
    load_id: str = ""
    """Which load this is, unlike any other of any worker; empty while it is not loaded."""

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_version(self.version)
        if not 0 <= self.memory_bytes <= _MOST_BYTES:
            raise InvalidRequest(f"model {self.name!r}: memory_bytes must not be negative, got {self.memory_bytes}")
        if len(self.load_id) > _MOST_LOAD_ID:
            raise InvalidRequest(
                f"model {self.name!r}: load_id may have {_MOST_LOAD_ID} characters, got {len(self.load_id)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One worker process."""

    worker_id: str
    """Unique among live workers."""
    generation: int = 1
    """Grows each time the worker registers again."""
    host: str
    """The address others reach it at: an IP literal."""
    http_port: int
    """Port of the HTTP shell."""
    grpc_port: int
    """Port of the gRPC shell."""
    state: WorkerState = WorkerState.READY
    """What the worker is doing."""
    models: tuple[HostedModel, ...] = ()
    """Every version of every model it hosts, and those it failed to load."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Free labels for people and placement."""
    start_time: float = 0.0
    """When the process started, Unix seconds."""
    software_version: str = ""
    """graphmesh's version."""

    def __post_init__(self) -> None:
        check_model_name(self.worker_id)
        _check_host(self.host)
        _check_port("http_port", self.http_port)
        _check_port("grpc_port", self.grpc_port)

    @property
    def available(self) -> frozenset[str]:
        """Names of the models that requests may be sent here for; none while draining."""
        if self.state is not WorkerState.READY:
            return frozenset()
        return frozenset(model.name for model in self.models if model.state is ModelState.AVAILABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRecord:
    """One gateway process."""

    gateway_id: str
    """Unique among live gateways."""
    host: str
    """The address workers reach its listener at: an IP literal."""
    port: int
    """The listener's port."""
    synced_revision: int = 0
    """Highest registry revision that this gateway's Envoy has acknowledged."""
    software_version: str = ""
    """graphmesh's version."""

    def __post_init__(self) -> None:
        check_model_name(self.gateway_id)
        _check_host(self.host)
        _check_port("port", self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that the mesh knows, whether or not a replica serves it now."""

    name: str
    """Shared with graphs: a model and a graph never have the same name."""
    backend: str = ""
    """What loads it."""
    source: str = ""
    """Where it is loaded from."""
    replicas: int = 0
    """How many replicas `graphmesh up` keeps; 0 means as many as its worker groups place."""
    versions: tuple[str, ...] = ()
    """Versions seen so far, digits, oldest first."""

    def __post_init__(self) -> None:
        check_model_name(self.name)
        if self.replicas < 0:
            raise InvalidRequest(f"model {self.name!r}: replicas must not be negative, got {self.replicas}")
        for version in self.versions:
            check_version(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRecord:
    """One immutable revision of a graph."""

    name: str
    """Shared with models."""
    document: bytes
    """The serialized `graphmesh.v1.Graph`; the registry does not look inside."""
    revision: int
    """1 for a graph's first revision, then counting up; never used twice."""
    signature: Signature
    """The graph's own signature, resolved when it was applied."""
    create_time: float
    """When it was applied, Unix seconds."""
    etag: str = ""
    """The live pointer's version, quoted, for guarded updates."""
    replaces: int = 0
    """The revision that was live until this one was applied; 0 for none."""
    live: bool = False
    """Whether requests run on it."""

    def __post_init__(self) -> None:
        check_model_name(self.name)
        if self.revision < 1:
            raise InvalidRequest(f"graph {self.name!r}: revisions count from 1, got {self.revision}")
        if not 0 <= self.replaces < self.revision:
            raise InvalidRequest(f"graph {self.name!r}: a revision replaces an older one, got {self.replaces}")


def _check_host(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise InvalidRequest(f"an advertised address must be an IP literal, got {host[:140]!r}") from None
    # Link-local covers the metadata service of clouds (169.254.169.254): no record may point the gateway there.
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        raise InvalidRequest(f"an advertised address must be one that a single host owns and can route, got {host!r}")


def _check_port(field_name: str, port: int) -> None:
    if not 1 <= port <= _MAX_PORT:
        raise InvalidRequest(f"{field_name} must be from 1 to {_MAX_PORT}, got {port}")
