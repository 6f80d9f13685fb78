"""Whether a graph may become the live one: it works with what is served now, and so do the graphs that call it.

Pure and slow for large graphs, so to be called off the event loop. Of several versions of a model the newest that fit
are assumed, as the contract gate will choose them; a version that breaks the graph is no reason to refuse it while
another one fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import FailedPrecondition, InvalidGraph
from graphmesh.gateway.absent import absence
from graphmesh.gateway.usage import graph_of
from graphmesh.graph.checks.validate import type_graph
from graphmesh.graph.gate.choose import choose
from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from graphmesh.core.signature import Signature
    from graphmesh.graph.checks.validate import Typed
    from graphmesh.graph.gate.choose import Choice
    from graphmesh.graph.spec import Graph, ModelCall
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["check_apply", "check_callers", "check_delete", "check_rollback", "typed"]


def check_apply(graph: Graph, snapshot: Snapshot) -> Signature:
    """Return the signature that a graph has if it is applied now.

    Raises:
        InvalidGraph: it cannot work, or a live graph that calls it could not any more; names the edge
            (INVALID_ARGUMENT, retry: no).
    """
    signature = typed(graph, snapshot, promised=None).signature
    check_callers(graph, signature, snapshot)
    return signature


def check_rollback(graph: Graph, promised: Signature, snapshot: Snapshot) -> None:
    """Check that an older revision can be live again with the signature that it was applied with; raises as above."""
    choice = _chosen(graph, snapshot, promised)
    if choice.error:
        raise choice.error
    check_callers(graph, promised, snapshot)


def check_delete(name: str, snapshot: Snapshot) -> None:
    """Check that no live graph calls a graph.

    Raises:
        FailedPrecondition: some do; names them (FAILED_PRECONDITION, retry: no).
    """
    callers = [caller.name for caller in _callers(name, snapshot)]
    if callers and name in snapshot.graphs:
        raise FailedPrecondition(
            f"graph {name!r} is called by {', '.join(callers)}; delete or change what calls it first, or delete it "
            "nevertheless: `graphmesh graph delete --force`, `force` in a request"
        )


def typed(graph: Graph, snapshot: Snapshot, *, promised: Signature | None) -> Typed:
    """Return a graph's types, with the versions of models that it would use.

    Args:
        graph: The graph.
        snapshot: The registry.
        promised: The signature that it must keep; None for a graph that is new, or that may have a new one.

    Raises:
        InvalidGraph: it cannot work; names the edge (INVALID_ARGUMENT, retry: no).
    """
    choice = _chosen(graph, snapshot, promised)

    def signature(name: str) -> Signature | None:
        versions = snapshot.served.get(name, {})
        return versions.get(choice.versions.get(name, "")) or snapshot.signature_of(name)

    return type_graph(
        graph,
        signature,
        graphs=lambda name: graph_of(snapshot, name),
        pinned=lambda call: _pinned(call, snapshot),
        known={name: absence(snapshot, name) for name in (*snapshot.models, *snapshot.graphs)},
    )


def check_callers(graph: Graph, signature: Signature, snapshot: Snapshot) -> None:
    """Check that a graph with this signature breaks no live graph that calls it and works now.

    Raises:
        InvalidGraph: it would; names the calling graph and the edge (INVALID_ARGUMENT, retry: no).
    """
    live = snapshot.graphs.get(graph.name)
    if live is not None and live.signature.digest == signature.digest:
        return

    def graphs(name: str) -> Graph | None:
        return graph if name == graph.name else graph_of(snapshot, name)

    for caller in _callers(graph.name, snapshot):
        name = caller.name
        error = choose(
            caller,
            snapshot.served,
            lambda other: signature if other == graph.name else snapshot.signature_of(other),
            graphs,
        ).error
        if live is None:
            works = _has_all_others(caller, graph.name, snapshot)
            advice = f"let it fit, or delete {name} first"
        else:
            works = not _chosen(caller, snapshot, snapshot.graphs[name].signature).error
            advice = f"give the changed graph a name of its own, apply {name} for it, then delete {graph.name}"
        if error and works:
            raise InvalidGraph(f"graph {name} calls {graph.name} and would break: {error.message}; {advice}")


def _callers(name: str, snapshot: Snapshot) -> Iterator[Graph]:
    """Return the live graphs that call a graph, itself left out."""
    for other in snapshot.graphs:
        caller = graph_of(snapshot, other)
        if caller is not None and other != name and _calls(caller, name):
            yield caller


def _has_all_others(caller: Graph, name: str, snapshot: Snapshot) -> bool:
    """Return whether a graph lacks nothing but the graph of this name, which is not live: then its fit decides."""
    targets = {target.name for node in caller.nodes for target in node.targets()} - {name}
    return all(snapshot.signature_of(target) is not None for target in targets)


def _chosen(graph: Graph, snapshot: Snapshot, promised: Signature | None) -> Choice:
    def signatures(name: str) -> Signature | None:
        return promised if name == graph.name else snapshot.signature_of(name)

    return choose(graph, snapshot.served, signatures, _graphs(snapshot))


def _graphs(snapshot: Snapshot) -> Callable[[str], Graph | None]:
    return lambda name: graph_of(snapshot, name)


def _pinned(call: ModelCall, snapshot: Snapshot) -> Signature | None:
    """Return the signature of a version that a node fixes: of a replica that is available, else of any."""
    served = snapshot.served.get(call.name, {}).get(call.version)
    if served is not None:
        return served
    digests = [hosted.signature_digest for _, hosted in snapshot.replicas(call.name) if hosted.version == call.version]
    return next((snapshot.signatures[digest] for digest in digests if digest in snapshot.signatures), None)


def _calls(graph: Graph, name: str) -> bool:
    target = GraphCall(name=name)
    return any(target == one for node in graph.nodes for one in node.targets())
