"""MeshService: shows the mesh from the snapshot, so that reads work while etcd is away; scales and forgets models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import empty_pb2

from graphmesh.core.errors import FailedPrecondition, InvalidRequest, NotFound
from graphmesh.core.wire import signature_to_wire
from graphmesh.gateway.absent import reason
from graphmesh.gateway.pages import page
from graphmesh.gateway.placement import place_graphs
from graphmesh.gateway.servicer_errors import answers
from graphmesh.registry.records import WorkerState
from graphmesh.registry.wire import encode_gateway, encode_model, encode_worker
from graphmesh.v1 import mesh_service_pb2, mesh_service_pb2_grpc, model_pb2, registry_pb2

if TYPE_CHECKING:
    from graphmesh.gateway.view import View
    from graphmesh.registry.records import WorkerRecord
    from graphmesh.registry.registry import Registry
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["MeshServicer"]


class MeshServicer(mesh_service_pb2_grpc.MeshServiceServicer):
    """MeshService over the gateway's view."""

    def __init__(self, view: View, registry: Registry) -> None:
        self._view = view
        self._registry = registry
        self._placed: tuple[Snapshot, dict[str, list[str]]] | None = None

    @answers
    async def ListWorkers(  # noqa: N802
        self,
        _request: mesh_service_pb2.ListWorkersRequest,
        _: Any,  # noqa: ANN401
    ) -> mesh_service_pb2.ListWorkersResponse:
        """List the live workers by id."""
        workers = self._view.current().workers
        return mesh_service_pb2.ListWorkersResponse(workers=[_worker(workers[key]) for key in sorted(workers)])

    @answers
    async def ListModels(  # noqa: N802
        self,
        request: mesh_service_pb2.ListModelsRequest,
        _: Any,  # noqa: ANN401
    ) -> mesh_service_pb2.ListModelsResponse:
        """List models and graphs by name."""
        snapshot = self._view.current()
        hosts = self._hosts_of_graphs(snapshot)
        names, token = page(_names(snapshot), size=request.page_size, token=request.page_token)
        models = [_model(snapshot, name, hosts) for name in names]
        return mesh_service_pb2.ListModelsResponse(models=models, next_page_token=token)

    @answers
    async def GetModel(self, request: mesh_service_pb2.GetModelRequest, _: Any) -> mesh_service_pb2.Model:  # noqa: ANN401, N802
        """Return one model or graph."""
        snapshot = self._view.current()
        if request.name not in _names(snapshot):
            raise reason(snapshot, request.name)
        return _model(snapshot, request.name, self._hosts_of_graphs(snapshot))

    @answers
    async def ScaleModel(self, request: mesh_service_pb2.ScaleModelRequest, _: Any) -> mesh_service_pb2.Model:  # noqa: ANN401, N802
        """Set how many replicas are kept."""
        snapshot = self._view.current()
        if request.name in snapshot.graphs:
            raise FailedPrecondition(f"{request.name!r} is a graph; scale the models it calls")
        if request.replicas < 1:
            raise InvalidRequest("replicas must be 1 or more, got 0")
        if request.name not in _names(snapshot):
            raise reason(snapshot, request.name)
        spec = await self._registry.scale_model(request.name, request.replicas)
        message = _model(snapshot, request.name, {})
        message.spec.CopyFrom(model_pb2.ModelSpec.FromString(encode_model(spec)))
        return message

    @answers
    async def DeleteModel(self, request: mesh_service_pb2.DeleteModelRequest, _: Any) -> empty_pb2.Empty:  # noqa: ANN401, N802
        """Forget a model that nothing serves."""
        if request.name in self._view.current().graphs:
            raise NotFound(f"no model is named {request.name!r}; it is a graph, delete it as one")
        await self._registry.delete_model(request.name)
        return empty_pb2.Empty()

    @answers
    async def GetStatus(self, _request: mesh_service_pb2.GetStatusRequest, _: Any) -> mesh_service_pb2.MeshStatus:  # noqa: ANN401, N802
        """Return the mesh's health as this gateway sees it."""
        view = self._view
        if view.mirror is None:
            return mesh_service_pb2.MeshStatus(mesh=view.mesh, envoy_pid=view.envoy_pid)
        snapshot = view.mirror.snapshot
        ready = [worker for worker in snapshot.workers.values() if worker.state is WorkerState.READY]
        served = {name for worker in ready for name in worker.available}
        if ready:
            served.update(snapshot.graphs)
        return mesh_service_pb2.MeshStatus(
            mesh=view.mesh,
            etcd_connected=view.mirror.connected,
            snapshot_age_seconds=view.mirror.age(),
            gateways=[
                registry_pb2.GatewayRecord.FromString(encode_gateway(gateway)) for gateway in snapshot.gateways.values()
            ],
            ready_workers=len(ready),
            available_models=len(served),
            held_workers=sorted(snapshot.held),
            envoy_pid=view.envoy_pid,
        )

    def _hosts_of_graphs(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Return the workers each graph is listed on; computed once a snapshot, not once a page."""
        if self._placed is None or self._placed[0] is not snapshot:
            self._placed = snapshot, _hosts_of_graphs(snapshot)
        return self._placed[1]


def _names(snapshot: Snapshot) -> set[str]:
    hosted = (model.name for worker in snapshot.workers.values() for model in worker.models)
    return {*snapshot.models, *snapshot.graphs, *hosted}


def _worker(record: WorkerRecord) -> registry_pb2.WorkerRecord:
    return registry_pb2.WorkerRecord.FromString(encode_worker(record))


def _hosts_of_graphs(snapshot: Snapshot) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {}
    for worker_id, graphs in place_graphs(snapshot).items():
        for graph in graphs:
            hosts.setdefault(graph, []).append(worker_id)
    return hosts


def _model(snapshot: Snapshot, name: str, graph_hosts: dict[str, list[str]]) -> mesh_service_pb2.Model:
    message = mesh_service_pb2.Model(name=name, graph=name in snapshot.graphs)
    signature = snapshot.signature_of(name)
    if signature is not None:
        message.signature.CopyFrom(signature_to_wire(signature))
    if message.graph:
        live = model_pb2.HostedModel(
            name=name, version=str(snapshot.graphs[name].revision), state=model_pb2.MODEL_STATE_AVAILABLE
        )
        for worker_id in sorted(graph_hosts.get(name, ())):
            message.replicas.add(worker_id=worker_id, model=live)
        return message
    if name in snapshot.models:
        message.spec.CopyFrom(model_pb2.ModelSpec.FromString(encode_model(snapshot.models[name])))
    for worker in dict.fromkeys(worker.worker_id for worker, _ in snapshot.replicas(name)):
        for hosted in _worker(snapshot.workers[worker]).models:
            if hosted.name == name:
                message.replicas.add(worker_id=worker, model=hosted)
    return message
