"""A snapshot, and how graphs stand in it, as MeshService's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.wire import signature_to_wire
from graphmesh.gateway.placement import place_graphs
from graphmesh.gateway.standing import READY, held_versions
from graphmesh.registry.wire import encode_model, encode_worker
from graphmesh.v1 import mesh_service_pb2, model_pb2, registry_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.gateway.standing import Standings
    from graphmesh.graph.gate.choose import Held
    from graphmesh.registry.records import WorkerRecord
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Shown", "held_to_wire", "worker_to_wire"]


class Shown:
    """The models and graphs of one snapshot, ready to be shown; placement and gate are looked at once for all of them.

    Args:
        snapshot: The registry.
        standings: How its graphs stand.
    """

    def __init__(self, snapshot: Snapshot, standings: Standings) -> None:
        self.snapshot = snapshot
        self.standings = standings
        hosted = (model.name for worker in snapshot.workers.values() for model in worker.models)
        self.names = {*snapshot.models, *snapshot.graphs, *hosted}
        """Of all models and graphs."""
        self._hosts: dict[str, list[str]] = {}
        for worker_id, graphs in sorted(place_graphs(snapshot, standings).items()):
            for graph in graphs:
                self._hosts.setdefault(graph, []).append(worker_id)
        self._held: dict[str, list[Held]] = {}
        for held in held_versions(standings):
            self._held.setdefault(held.model, []).append(held)
            self._held.setdefault(held.graph, []).append(held)

    def model(self, name: str) -> mesh_service_pb2.Model:
        """Return the message of a model or graph."""
        message = mesh_service_pb2.Model(name=name, graph=name in self.snapshot.graphs)
        signature = self.snapshot.signature_of(name)
        if signature is not None:
            message.signature.CopyFrom(signature_to_wire(signature))
        message.held.extend(held_to_wire(self._held.get(name, ()), self.standings))
        (self._fill_graph if message.graph else self._fill_model)(message)
        return message

    def _digest(self, name: str) -> str:
        signature = self.snapshot.signature_of(name)
        return "" if signature is None else signature.digest

    def _fill_graph(self, message: mesh_service_pb2.Model) -> None:
        message.problem = self.standings.get(message.name, READY).problem
        message.revision = self.snapshot.graphs[message.name].revision
        live = model_pb2.HostedModel(
            name=message.name,
            version=str(message.revision),
            state=model_pb2.MODEL_STATE_FAILED if message.problem else model_pb2.MODEL_STATE_AVAILABLE,
        )
        for worker_id in self._hosts.get(message.name, ()):
            message.replicas.add(worker_id=worker_id, model=live)

    def _fill_model(self, message: mesh_service_pb2.Model) -> None:
        name, snapshot = message.name, self.snapshot
        if name in snapshot.models:
            message.spec.CopyFrom(model_pb2.ModelSpec.FromString(encode_model(snapshot.models[name])))
        told = {self._digest(name)}
        for _, replica in snapshot.replicas(name):
            signature = snapshot.signatures.get(replica.signature_digest)
            if signature is not None and signature.digest not in told:
                told.add(signature.digest)
                message.other_signatures.append(signature_to_wire(signature))
        for worker in dict.fromkeys(worker.worker_id for worker, _ in snapshot.replicas(name)):
            for hosted in worker_to_wire(snapshot.workers[worker]).models:
                if hosted.name == name:
                    message.replicas.add(worker_id=worker, model=hosted)


def held_to_wire(held: Iterable[Held], standings: Standings) -> list[mesh_service_pb2.HeldVersion]:
    """Return the messages of versions that are held."""
    return [
        mesh_service_pb2.HeldVersion(
            model=one.model,
            version=one.version,
            graph=one.graph,
            reason=one.reason,
            used_version=standings[one.graph].choice.versions[one.model],
        )
        for one in held
    ]


def worker_to_wire(record: WorkerRecord) -> registry_pb2.WorkerRecord:
    """Return the message of a worker."""
    return registry_pb2.WorkerRecord.FromString(encode_worker(record))
