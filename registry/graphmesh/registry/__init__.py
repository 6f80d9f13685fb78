"""The registry: who is in the mesh and what it serves, kept in etcd.

`Registry` is the façade; `connect` gives it an etcd, `MemoryKV` a fake; `LocalEtcd` runs one for a local mesh.
"""

from graphmesh.registry.etcd import connect
from graphmesh.registry.etcd_binary import EtcdBinary, find_etcd
from graphmesh.registry.etcd_server import LocalEtcd
from graphmesh.registry.guard import HoldPolicy, Probe
from graphmesh.registry.kv import KV
from graphmesh.registry.memory import MemoryKV
from graphmesh.registry.mirror import Mirror, MirrorStatistics
from graphmesh.registry.records import (
    GatewayRecord,
    GraphRecord,
    HostedModel,
    ModelSpec,
    ModelState,
    WorkerRecord,
    WorkerState,
)
from graphmesh.registry.registry import Registry
from graphmesh.registry.session import Session, SessionStatistics
from graphmesh.registry.snapshot import Replica, Snapshot

__all__ = [
    "KV",
    "EtcdBinary",
    "GatewayRecord",
    "GraphRecord",
    "HoldPolicy",
    "HostedModel",
    "LocalEtcd",
    "MemoryKV",
    "Mirror",
    "MirrorStatistics",
    "ModelSpec",
    "ModelState",
    "Probe",
    "Registry",
    "Replica",
    "Session",
    "SessionStatistics",
    "Snapshot",
    "WorkerRecord",
    "WorkerState",
    "connect",
    "find_etcd",
]
