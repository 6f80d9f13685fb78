"""What the `graphmesh graph` commands ask the mesh for: revisions, and what is known of models and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.cli.control import ask, ask_for_all
from graphmesh.core.errors import NotFound
from graphmesh.core.wire import signature_from_wire
from graphmesh.graph.checks.hints import did_you_mean
from graphmesh.graph.forms.wire import graph_from_wire
from graphmesh.graph.placing.hosts import hosts_from
from graphmesh.graph.placing.segments import Mesh
from graphmesh.graph.spec import GraphCall, ModelCall
from graphmesh.v1 import graph_pb2, graph_service_pb2, mesh_service_pb2, model_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.core.signature import Signature
    from graphmesh.graph.spec import Target

__all__ = ["check_worker", "get_revision", "known", "list_revisions"]

_PAGE = 1000


def get_revision(gateway: str, name: str, revision: int) -> graph_pb2.GraphRevision:
    """Return a revision of a graph, the live one for 0; raises as `ControlClient.call`."""
    request = graph_service_pb2.GetGraphRequest(name=name, revision=revision)
    found: graph_pb2.GraphRevision = ask(gateway, lambda client: client.graphs.GetGraph, request)
    return found


def list_revisions(gateway: str) -> list[graph_pb2.GraphRevision]:
    """Return the live revisions of all graphs; raises as `ControlClient.call`."""
    request = graph_service_pb2.ListGraphsRequest(page_size=_PAGE)
    return ask_for_all(gateway, lambda client: client.graphs.ListGraphs, request, "graphs")


def check_worker(gateway: str, worker: str) -> None:
    """Check that a mesh has a worker.

    Raises:
        NotFound: it has not; names those with names close to it (NOT_FOUND, retry: no).
    """
    request = mesh_service_pb2.ListWorkersRequest()
    answer: mesh_service_pb2.ListWorkersResponse = ask(gateway, lambda client: client.mesh.ListWorkers, request)
    workers = [one.worker_id for one in answer.workers]
    if worker not in workers:
        hint = did_you_mean(worker, workers) or "; see: graphmesh workers"
        raise NotFound(f"no worker is named {worker[:140]!r}{hint}")


def known(gateway: str) -> Mesh:
    """Return what the mesh has; raises as `ControlClient.call`."""
    request = mesh_service_pb2.ListModelsRequest(page_size=_PAGE)
    models = ask_for_all(gateway, lambda client: client.mesh.ListModels, request, "models")
    graphs = {one.graph.name: graph_from_wire(one.graph) for one in list_revisions(gateway)}
    available = sorted(
        (replica.worker_id, model.name, replica.model.version)
        for model in models
        for replica in model.replicas
        if replica.model.state == model_pb2.MODEL_STATE_AVAILABLE
    )
    pins: dict[str, dict[str, str]] = {}
    for held in (held for model in models for held in model.held):
        pins.setdefault(held.graph, {})[held.model] = held.used_version
    return Mesh(
        hosts=hosts_from(one for one in available if one[1] not in graphs),
        runners={name: [worker for worker, served, _ in available if served == name] for name in graphs},
        graphs=graphs.get,
        pins=pins,
        signatures=_Signatures(models),
        problems={model.name: model.problem for model in models if model.problem},
    )


class _Signatures:
    """The signatures that the mesh tells: of each model those of all its versions."""

    def __init__(self, models: Iterable[mesh_service_pb2.Model]) -> None:
        self._newest: dict[str, Signature] = {}
        self._digests: dict[Target, str] = {}
        self._told: dict[str, Signature] = {}
        for model in models:
            told = [signature_from_wire(one) for one in model.other_signatures]
            if model.HasField("signature"):
                self._newest[model.name] = signature_from_wire(model.signature)
                told.append(self._newest[model.name])
            self._told.update((one.digest, one) for one in told)
            for hosted in (replica.model for replica in model.replicas if replica.model.signature_digest):
                call = ModelCall(name=model.name, version=hosted.version)
                self._digests.setdefault(call, hosted.signature_digest)

    def __call__(self, target: Target) -> Signature | None:
        """Return what a target takes and gives; None if that is not known."""
        if isinstance(target, GraphCall) or not target.version:
            return self._newest.get(target.name)
        return self._told.get(self._digests.get(target, ""))
