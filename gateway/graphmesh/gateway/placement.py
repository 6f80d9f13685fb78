"""What each worker is sent: decided from a snapshot of the registry, pure.

A worker is sent requests for its AVAILABLE models while it is READY. A graph can run on any worker, and runs best where
most of its nodes are local, so it is listed on the workers that host the most of its nodes, nested graphs included; all
of those that tie, for balance. A graph none of whose models is hosted is listed on every ready worker, which can say
what is missing.

Two records with one address (a worker that came back under a new name before its old lease ended) are one endpoint: the
younger record's.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError
from graphmesh.graph.spec import GraphCall
from graphmesh.graph.wire import graph_from_bytes
from graphmesh.registry.records import ModelState, WorkerState

if TYPE_CHECKING:
    from graphmesh.graph.spec import Graph
    from graphmesh.registry.records import WorkerRecord
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Endpoint", "endpoints", "graph_of", "models_of", "place_graphs", "revisions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One worker as Envoy sees it."""

    host: str
    """An IP literal."""
    http_port: int
    """Where unary calls and JSON go, and health checks."""
    grpc_port: int
    """Where streams go."""
    models: tuple[str, ...]
    """Names of the models and graphs it is sent, sorted."""
    versions: tuple[str, ...]
    """`name@version` of the models it is sent, sorted."""


def endpoints(snapshot: Snapshot) -> tuple[Endpoint, ...]:
    """Return the endpoints of a snapshot, by worker id; workers that serve nothing have none."""
    ready = _ready(snapshot)
    graphs = place_graphs(snapshot)
    found = (_endpoint(worker, graphs.get(worker.worker_id, ())) for worker in ready)
    return tuple(endpoint for endpoint in found if endpoint.models)


def revisions(snapshot: Snapshot) -> dict[str, int]:
    """Return the live revision of every graph."""
    return {name: graph.revision for name, graph in snapshot.graphs.items()}


def place_graphs(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Return the graphs that each worker is sent, sorted, by worker id."""
    ready = _ready(snapshot)
    hosts = defaultdict(list)
    for worker in ready:
        for model in worker.available:
            hosts[model].append(worker.worker_id)
    placed = defaultdict(list)
    for name in snapshot.graphs:
        scores: Counter[str] = Counter()
        for model, nodes in _model_nodes(name, snapshot).items():
            for worker_id in hosts[model]:
                scores[worker_id] += nodes
        best = max(scores.values(), default=0)
        for worker in ready:
            if scores[worker.worker_id] == best:
                placed[worker.worker_id].append(name)
    return {worker_id: tuple(sorted(names)) for worker_id, names in placed.items()}


def graph_of(snapshot: Snapshot, name: str) -> Graph | None:
    """Return the live revision of a graph; None if there is none, or none that can be read."""
    record = snapshot.graphs.get(name)
    return None if record is None else _parsed(record.document)


def models_of(snapshot: Snapshot, name: str) -> set[str]:
    """Return the models that a graph calls, those of nested graphs too."""
    return set(_model_nodes(name, snapshot))


@functools.lru_cache(maxsize=4096)
def _parsed(document: bytes) -> Graph | None:
    try:
        return graph_from_bytes(document)
    except GraphmeshError:
        return None


def _model_nodes(name: str, snapshot: Snapshot) -> Counter[str]:
    """Return how many nodes of a graph call each model; a graph met twice counts once, so that circles end."""
    found: Counter[str] = Counter()
    pending, seen = [name], {name}
    while pending:
        graph = graph_of(snapshot, pending.pop())
        for node in graph.nodes if graph else ():
            target = node.target
            if not isinstance(target, GraphCall):
                found[target.name] += 1
            elif target.name not in seen:
                seen.add(target.name)
                pending.append(target.name)
    return found


def _ready(snapshot: Snapshot) -> list[WorkerRecord]:
    youngest: dict[tuple[str, int], WorkerRecord] = {}
    for worker in snapshot.workers.values():
        if worker.state is WorkerState.READY:
            for port in (worker.http_port, worker.grpc_port):
                known = youngest.get((worker.host, port))
                if known is None or known.start_time <= worker.start_time:
                    youngest[worker.host, port] = worker
    return [
        worker
        for worker in snapshot.workers.values()
        if youngest.get((worker.host, worker.http_port)) is worker
        and youngest.get((worker.host, worker.grpc_port)) is worker
    ]


def _endpoint(worker: WorkerRecord, graphs: tuple[str, ...]) -> Endpoint:
    serving = [model for model in worker.models if model.state is ModelState.AVAILABLE]
    return Endpoint(
        host=worker.host,
        http_port=worker.http_port,
        grpc_port=worker.grpc_port,
        models=tuple(sorted({*(model.name for model in serving), *graphs})),
        versions=tuple(sorted({f"{model.name}@{model.version}" for model in serving})),
    )
