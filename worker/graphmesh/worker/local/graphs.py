"""Graphs of a local mesh: read, checked against its models, and held as one snapshot of a registry of one worker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.errors import InvalidRequest, NotFound
from graphmesh.graph import Graph, GraphBuilder, graph_from_bytes, graph_to_bytes, parse_textproto, parse_yaml, validate
from graphmesh.graph.callees import callees_first
from graphmesh.graph.checks.hints import at
from graphmesh.registry import GraphRecord, Snapshot, WorkerRecord, WorkerState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.worker.hosting.catalog import Catalog

__all__ = ["GraphSource", "LocalGraphs", "Nowhere"]

GraphSource: TypeAlias = str | Path | Graph | GraphBuilder
"""A file (`.yaml`, `.textproto`), or a graph made in Python."""

_TEXTPROTO = frozenset({".textproto", ".pbtxt", ".txtpb"})


class LocalGraphs:
    """What a worker asks its registry: the snapshot, and revisions it does not have, of which there are none."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        """The models and the graphs."""

    def set(self, catalog: Catalog, sources: Iterable[GraphSource]) -> None:
        """Take the loaded models, and the graphs, which may come in any order.

        Raises:
            InvalidRequest: a file cannot be read (INVALID_ARGUMENT).
            InvalidGraph: a graph cannot work; names it, its file and the node or edge (INVALID_ARGUMENT).
        """
        # Nobody connects to this record: it is what graphs learn the models' signatures from.
        worker = WorkerRecord(
            worker_id="local",
            host="127.0.0.1",
            http_port=1,
            grpc_port=1,
            state=WorkerState.READY,
            models=tuple(model.hosted for model in catalog),
        )
        signatures = {model.signature.digest: model.signature for model in catalog}
        self.snapshot = Snapshot(workers={worker.worker_id: worker}, signatures=signatures)
        read = [(source, _read(source)) for source in sources]
        for source, graph in (read[number] for number in callees_first([graph for _, graph in read])):
            with at(_where(source, graph)):
                record = _record(graph, self.snapshot, catalog)
            graphs = {**self.snapshot.graphs, record.name: record}
            self.snapshot = Snapshot(workers=self.snapshot.workers, signatures=signatures, graphs=graphs)

    async def get_graph(self, name: str, revision: int = 0) -> GraphRecord:
        """Raise NotFound: a local mesh has the first revision of each graph only."""
        raise NotFound(f"graph {name!r} has no revision {revision} here")


class Nowhere:
    """The rest of the mesh, seen from a worker that is all of it."""

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Raise NotFound: what is not in this process is nowhere."""
        raise NotFound(f"{request.model!r} is not in this local mesh; give it among its models or graphs")

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Raise NotFound: what is not in this process is nowhere."""
        yield await self.infer(request)


def _record(graph: Graph, snapshot: Snapshot, catalog: Catalog) -> GraphRecord:
    if graph.name in catalog.names or graph.name in snapshot.graphs:
        raise InvalidRequest(f"{graph.name!r} is a model or graph of this mesh already; names must differ")

    def live(name: str) -> Graph | None:
        found = snapshot.graphs.get(name)
        return None if found is None else graph_from_bytes(found.document)

    signature = validate(
        graph, snapshot.signature_of, graphs=live, known=dict.fromkeys((*catalog.names, *snapshot.graphs), "")
    )
    return GraphRecord(
        name=graph.name, document=graph_to_bytes(graph), revision=1, signature=signature, create_time=time.time()
    )


def _where(source: GraphSource, graph: Graph) -> str:
    return f"graph {graph.name} from {source}" if isinstance(source, str | Path) else f"graph {graph.name}"


def _read(source: GraphSource) -> Graph:
    if isinstance(source, Graph):
        return source
    if isinstance(source, GraphBuilder):
        return source.build()
    path = Path(source)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"graph {path.name} cannot be read: {error}") from error
    with at(str(path)):
        return parse_textproto(text) if path.suffix in _TEXTPROTO else parse_yaml(text)
