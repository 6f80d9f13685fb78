"""GraphService: checks graphs against what is registered, and stores them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.protobuf import empty_pb2

from graphmesh.core.errors import DeadlinePassed, FailedPrecondition, NotFound
from graphmesh.core.names import close_names
from graphmesh.core.wire import signature_to_wire
from graphmesh.gateway.advice import advise
from graphmesh.gateway.graph_checks import check_apply, check_delete, check_rollback
from graphmesh.gateway.pages import page
from graphmesh.gateway.servicer_errors import answers
from graphmesh.gateway.standing import pins_of
from graphmesh.graph.forms.wire import graph_from_bytes, graph_from_wire, graph_to_bytes
from graphmesh.registry.wire import encode_graph
from graphmesh.v1 import graph_pb2, graph_service_pb2, graph_service_pb2_grpc

if TYPE_CHECKING:
    from graphmesh.gateway.view import View
    from graphmesh.registry.records import GraphRecord
    from graphmesh.registry.registry import Registry

__all__ = ["GraphServicer"]

_SYNC_WITHIN_S = 2.0


class GraphServicer(graph_service_pb2_grpc.GraphServiceServicer):
    """GraphService over the registry."""

    def __init__(self, view: View, registry: Registry) -> None:
        self._view = view
        self._registry = registry

    @answers
    async def ApplyGraph(self, request: graph_service_pb2.ApplyGraphRequest, _: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802
        """Check a graph, make it live, return once the gateways know it."""
        graph = graph_from_wire(request.graph)
        signature = await asyncio.to_thread(check_apply, graph, self._view.current())
        record = await self._registry.put_graph(graph.name, graph_to_bytes(graph), signature, etag=request.etag)
        await self._spread(record)
        return revision_to_wire(record)

    @answers
    async def ValidateGraph(  # noqa: N802
        self,
        request: graph_service_pb2.ValidateGraphRequest,
        _: Any,  # noqa: ANN401
    ) -> graph_service_pb2.ValidateGraphResponse:
        """Check a graph."""
        signature = await asyncio.to_thread(check_apply, graph_from_wire(request.graph), self._view.current())
        return graph_service_pb2.ValidateGraphResponse(signature=signature_to_wire(signature))

    @answers
    async def GetGraph(self, request: graph_service_pb2.GetGraphRequest, _: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802
        """Return a revision; the live one without asking etcd."""
        live = self._live(request.name)
        if request.revision in {0, live.revision}:
            return revision_to_wire(live)
        return revision_to_wire(await self._registry.get_graph(request.name, request.revision))

    @answers
    async def ListGraphs(  # noqa: N802
        self,
        request: graph_service_pb2.ListGraphsRequest,
        _: Any,  # noqa: ANN401
    ) -> graph_service_pb2.ListGraphsResponse:
        """List the live revisions by name."""
        graphs = self._view.current().graphs
        names, token = page(graphs, size=request.page_size, token=request.page_token)
        return graph_service_pb2.ListGraphsResponse(
            graphs=[revision_to_wire(graphs[name]) for name in names], next_page_token=token
        )

    @answers
    async def ListGraphRevisions(  # noqa: N802
        self,
        request: graph_service_pb2.ListGraphRevisionsRequest,
        _: Any,  # noqa: ANN401
    ) -> graph_service_pb2.ListGraphRevisionsResponse:
        """List a graph's revisions, oldest first."""
        records = await self._registry.list_graph_revisions(request.name)
        return graph_service_pb2.ListGraphRevisionsResponse(revisions=map(revision_to_wire, records))

    @answers
    async def RollbackGraph(self, request: graph_service_pb2.RollbackGraphRequest, _: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802
        """Make an older revision live again, return once the gateways know it."""
        live = await self._registry.get_graph(request.name)
        etag = request.etag or live.etag  # what is live now decides where to, so that it must still be live then
        revision = request.revision or live.replaces
        if not revision:
            raise FailedPrecondition(
                f"graph {live.name!r}: revision {live.revision} replaced none; name one: "
                f"graphmesh graph rollback {live.name} --to REVISION"
            )
        older = await self._registry.get_graph(request.name, revision)
        if not older.live:
            graph = graph_from_bytes(older.document)
            await asyncio.to_thread(check_rollback, graph, older.signature, self._view.current())
        record = await self._registry.set_live(request.name, revision, etag=etag)
        await self._spread(record)
        return revision_to_wire(record)

    @answers
    async def AdviseGraph(  # noqa: N802
        self,
        request: graph_service_pb2.AdviseGraphRequest,
        _: Any,  # noqa: ANN401
    ) -> graph_service_pb2.AdviseGraphResponse:
        """Tell what hosting one model elsewhere would save."""
        live = self._live(request.name)
        standing = self._view.standing(live.name)
        if standing.problem:
            raise FailedPrecondition(f"graph {live.name!r} is not ready: {standing.problem}")
        pins = pins_of(self._view.standings)
        found = await asyncio.to_thread(advise, live.name, self._view.current(), pins)
        return graph_service_pb2.AdviseGraphResponse(
            graph=live.name,
            revision=live.revision,
            workers=found.workers,
            network_calls=found.network_calls,
            calls=found.calls,
            moves=[
                graph_service_pb2.Move(
                    model=move.model,
                    to_worker=move.to_worker,
                    from_workers=move.from_workers,
                    movable=move.movable,
                    network_calls=move.network_calls,
                    tensors=move.tensors,
                    known_bytes=move.known_bytes,
                    unsized_tensors=move.unsized_tensors,
                )
                for move in found.moves
            ],
        )

    @answers
    async def DeleteGraph(self, request: graph_service_pb2.DeleteGraphRequest, _: Any) -> empty_pb2.Empty:  # noqa: ANN401, N802
        """Take a graph out of service, unless live graphs call it."""
        if not request.force:
            await asyncio.to_thread(check_delete, request.name, self._view.current())
        await self._registry.delete_graph(request.name, etag=request.etag)
        return empty_pb2.Empty()

    def _live(self, name: str) -> GraphRecord:
        """Return the live revision of a graph, or raise NotFound with close names."""
        snapshot = self._view.current()
        live = snapshot.graphs.get(name)
        if live is None:
            near = close_names(name, snapshot.graphs)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise NotFound(f"no graph is named {name[:140]!r}{hint}", metadata={"graph": name[:140]})
        return live

    async def _spread(self, record: GraphRecord) -> None:
        """Wait until every live gateway's Envoy has the revision; a gateway that just died is not waited for long."""
        revision = int(record.etag.strip('"'))
        if self._view.mirror is None:
            return
        try:
            await self._view.mirror.wait_for(
                lambda snapshot: (
                    snapshot.revision >= revision
                    and all(gateway.synced_revision >= revision for gateway in snapshot.gateways.values())
                ),
                _SYNC_WITHIN_S,
            )
        except DeadlinePassed:
            return


def revision_to_wire(record: GraphRecord) -> graph_pb2.GraphRevision:
    """Return the message of a graph's revision."""
    message = graph_pb2.GraphRevision.FromString(encode_graph(record))
    message.etag = record.etag
    message.live = record.live
    return message
