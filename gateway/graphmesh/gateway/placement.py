"""What each worker is sent: decided from a snapshot of the registry, pure.

A worker is sent requests for its AVAILABLE models while it is READY. A graph can run on any worker, and is listed on
those where one request to it makes the fewest calls over the network (`graphmesh.graph.placing.network`, by which
`graph advise` counts, too); all of those that tie, for balance. A version that is held out of service for the graph
does not count. A graph none of whose models is hosted is listed on every ready worker, which can say what is missing;
one that works with no version that is served is listed on none, and the gateway says why.

Two records with one address (a worker that came back under a new name before its old lease ended) are one endpoint: the
younger record's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.gateway.standing import READY, pins_of
from graphmesh.gateway.usage import graph_of, uses_of
from graphmesh.graph.placing.hosts import hosts_from
from graphmesh.graph.placing.network import Network
from graphmesh.registry.records import ModelState, WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.gateway.standing import Standings
    from graphmesh.graph.placing.hosts import Hosts
    from graphmesh.graph.placing.usage import Uses
    from graphmesh.registry.records import WorkerRecord
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Endpoint", "endpoints", "hosts_of", "network_of", "place_graphs", "ready_workers", "revisions"]


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


def endpoints(snapshot: Snapshot, standings: Standings) -> tuple[Endpoint, ...]:
    """Return the endpoints of a snapshot, by worker id; workers that serve nothing have none.

    Args:
        snapshot: The registry.
        standings: How its graphs stand.
    """
    graphs = place_graphs(snapshot, standings)
    found = (_endpoint(worker, graphs.get(worker.worker_id, ())) for worker in ready_workers(snapshot))
    return tuple(endpoint for endpoint in found if endpoint.models)


def revisions(snapshot: Snapshot) -> dict[str, int]:
    """Return the live revision of every graph."""
    return {name: graph.revision for name, graph in snapshot.graphs.items()}


def place_graphs(snapshot: Snapshot, standings: Standings) -> dict[str, tuple[str, ...]]:
    """Return the graphs that each worker is sent, sorted, by worker id; arguments as for `endpoints`."""
    workers = ready_workers(snapshot)
    network = network_of(snapshot, uses_of(snapshot, pins_of(standings)), workers, hosts_of(workers))
    placed = defaultdict(list)
    for name in sorted(snapshot.graphs):
        if standings.get(name, READY).broken:
            continue
        for worker_id in network.places(name):
            placed[worker_id].append(name)
    return {worker_id: tuple(names) for worker_id, names in placed.items()}


def network_of(snapshot: Snapshot, uses: Uses, workers: Iterable[WorkerRecord], hosts: Hosts) -> Network:
    """Return what counts the calls over the network between these workers, if they hosted this."""
    ids = [worker.worker_id for worker in workers]
    return Network(uses, hosts, ids, lambda name: graph_of(snapshot, name))


def hosts_of(workers: Iterable[WorkerRecord]) -> Hosts:
    """Return where each model, and each version of it, can be called, if these are the ready workers."""
    return hosts_from(
        (worker.worker_id, model.name, model.version)
        for worker in workers
        for model in worker.models
        if model.state is ModelState.AVAILABLE
    )


def ready_workers(snapshot: Snapshot) -> list[WorkerRecord]:
    """Return the workers that take requests; of two at one address the younger."""
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
