"""MeshService: shows the mesh from the snapshot, so that reads work while etcd is away; scales and forgets models."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from google.protobuf import empty_pb2

from graphmesh.core.errors import FailedPrecondition, InvalidRequest, NotFound
from graphmesh.gateway.absent import reason
from graphmesh.gateway.pages import page
from graphmesh.gateway.servicer_errors import answers
from graphmesh.gateway.standing import held_versions
from graphmesh.gateway.wire_mesh import Shown, held_to_wire, worker_to_wire
from graphmesh.registry.records import WorkerState
from graphmesh.registry.wire import encode_gateway, encode_model
from graphmesh.v1 import mesh_service_pb2, mesh_service_pb2_grpc, model_pb2, registry_pb2

if TYPE_CHECKING:
    from graphmesh.gateway.view import View
    from graphmesh.registry.registry import Registry

__all__ = ["MeshServicer"]

_MOST_HELD = 100
"""Versions in a status; lists of models have all."""


class MeshServicer(mesh_service_pb2_grpc.MeshServiceServicer):
    """MeshService over the gateway's view."""

    def __init__(self, view: View, registry: Registry) -> None:
        self._view = view
        self._registry = registry
        self._last: Shown | None = None

    @answers
    async def ListWorkers(  # noqa: N802
        self,
        _request: mesh_service_pb2.ListWorkersRequest,
        _: Any,  # noqa: ANN401
    ) -> mesh_service_pb2.ListWorkersResponse:
        """List the live workers by id."""
        workers = self._view.current().workers
        return mesh_service_pb2.ListWorkersResponse(workers=[worker_to_wire(workers[key]) for key in sorted(workers)])

    @answers
    async def ListModels(  # noqa: N802
        self,
        request: mesh_service_pb2.ListModelsRequest,
        _: Any,  # noqa: ANN401
    ) -> mesh_service_pb2.ListModelsResponse:
        """List models and graphs by name."""
        shown = await self._shown()
        names, token = page(shown.names, size=request.page_size, token=request.page_token)
        return mesh_service_pb2.ListModelsResponse(models=map(shown.model, names), next_page_token=token)

    @answers
    async def GetModel(self, request: mesh_service_pb2.GetModelRequest, _: Any) -> mesh_service_pb2.Model:  # noqa: ANN401, N802
        """Return one model or graph."""
        shown = await self._shown()
        if request.name not in shown.names:
            raise reason(shown.snapshot, request.name)
        return shown.model(request.name)

    @answers
    async def ScaleModel(self, request: mesh_service_pb2.ScaleModelRequest, _: Any) -> mesh_service_pb2.Model:  # noqa: ANN401, N802
        """Set how many replicas are kept."""
        shown = await self._shown()
        if request.name in shown.snapshot.graphs:
            raise FailedPrecondition(f"{request.name!r} is a graph; scale the models it calls")
        if request.replicas < 1:
            raise InvalidRequest("replicas must be 1 or more, got 0")
        if request.name not in shown.names:
            raise reason(shown.snapshot, request.name)
        spec = await self._registry.scale_model(request.name, request.replicas)
        message = shown.model(request.name)
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
        unready = {name for name in snapshot.graphs if view.standing(name).problem}
        if ready:
            served.update(snapshot.graphs.keys() - unready)
        held = itertools.islice(held_versions(view.standings), _MOST_HELD)
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
            held_versions=held_to_wire(held, view.standings),
            unready_graphs=len(unready),
        )

    async def _shown(self) -> Shown:
        """Return what there is now; made once a snapshot, and in a thread, since it places all graphs."""
        snapshot, standings = self._view.current(), self._view.standings
        last = self._last
        if last is None or last.snapshot is not snapshot or last.standings is not standings:
            last = self._last = await asyncio.to_thread(Shown, snapshot, standings)
        return last
