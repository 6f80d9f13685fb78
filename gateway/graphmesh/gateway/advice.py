"""What hosting one model of a graph on another worker would save: pure, from a snapshot of the registry.

For models and workers that lack them, the graph is placed anew as if the worker had the model, and the calls over the
network are counted again, as placement counts them (`graphmesh.graph.placing.network`): expectations, no measurement.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.tensor import DTYPES
from graphmesh.gateway.graph_checks import typed
from graphmesh.gateway.placement import hosts_of, network_of, ready_workers
from graphmesh.gateway.usage import graph_of, uses_of
from graphmesh.graph.placing.network import count
from graphmesh.graph.spec import GraphCall, ModelCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.placing.hosts import Hosts
    from graphmesh.graph.placing.network import Hop, Network
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Advice", "Move", "advise"]

_MOST_MOVES = 20
_MOST_TRIED = 200
"""Placements that are counted through: two to seven seconds for a graph of nearly the largest size."""
_NEARLY = 1e-6
"""Sums of fractions may be a little less than they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One model hosted on one more worker, or there instead of where it is."""

    model: str
    """The model."""
    to_worker: str
    """The worker that would host it."""
    from_workers: tuple[str, ...]
    """The workers that host it now."""
    movable: bool
    """It may leave them: the graph saves the same, and no other graph makes more calls over the network."""
    network_calls: float
    """Calls that one request would make over the network."""
    tensors: tuple[str, ...]
    """Tensors that would not leave the process any more: ``node.name``, with the nodes of graphs around them."""
    known_bytes: int
    """Bytes of those whose sizes are known before a request."""
    unsized_tensors: int
    """How many of them have sizes that only a request decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """How a graph runs, and what would make it run with fewer calls over the network."""

    workers: tuple[str, ...]
    """Where it runs."""
    network_calls: float
    """Calls that one request makes over the network."""
    calls: float
    """Calls that one request makes of models."""
    moves: tuple[Move, ...]
    """What would save some, best first."""


def advise(name: str, snapshot: Snapshot, pins: Mapping[str, Mapping[str, str]]) -> Advice:
    """Return the advice for a live graph that is ready.

    Args:
        name: The graph.
        snapshot: The registry.
        pins: By graph, the versions of models that it must use.
    """
    return _Adviser(name, snapshot, pins).advise()


class _Adviser:
    def __init__(self, name: str, snapshot: Snapshot, pins: Mapping[str, Mapping[str, str]]) -> None:
        self._name = name
        self._snapshot = snapshot
        self._uses = uses_of(snapshot, pins)
        self._workers = ready_workers(snapshot)
        self._hosts = hosts_of(self._workers)
        self._network = self._with(self._hosts)
        self._types: dict[str, dict[str, list[TensorSpec]]] = {}

    def advise(self) -> Advice:
        now = self._network.hops(self._name)
        before = count(now)
        candidates = []
        for model, worker_id in self._worth_trying():
            hosts = _hosted(self._hosts, model, [*self._hosts.get(model, []), worker_id])
            after = self._with(hosts).hops(self._name)
            if count(after) < before - _NEARLY:
                candidates.append((count(after), model, worker_id, after))
        candidates.sort(key=lambda found: (found[0], found[1].name, found[2]))
        return Advice(
            workers=tuple(self._network.places(self._name)),
            network_calls=before,
            calls=sum(self._uses.of(self._name).values()),
            moves=tuple(self._move(now, *candidate) for candidate in candidates[:_MOST_MOVES]),
        )

    def _with(self, hosts: Hosts) -> Network:
        """Return what counts the calls if models were hosted so."""
        return network_of(self._snapshot, self._uses, self._workers, hosts)

    def _worth_trying(self) -> list[tuple[ModelCall, str]]:
        """Return models with workers on which, with them, the graph or one inside it would make fewer calls.

        Those come first with which a worker would be furthest ahead of where the graph is best now.
        """
        found: dict[tuple[ModelCall, str], float] = {}
        for name in self._inside():
            here = self._network.here(name)
            most = max(here.values(), default=0.0)
            for worker_id, models, gain in self._gains(name):
                ahead = here.get(worker_id, 0.0) + gain - most
                for model in models if ahead > _NEARLY else ():
                    found[model, worker_id] = max(ahead, found.get((model, worker_id), 0.0))
        order = sorted(found, key=lambda one: (-found[one], one[0].name, one[0].version, one[1]))
        return order[:_MOST_TRIED]

    def _gains(self, name: str) -> Iterator[tuple[str, set[ModelCall], float]]:
        """Return how many calls of a graph one model would keep on a worker that lacks no other for them.

        The model is given as the graphs ask for it: in some versions, or in any.
        """
        gains: defaultdict[tuple[str, str], float] = defaultdict(float)
        asked: defaultdict[tuple[str, str], set[ModelCall]] = defaultdict(set)
        for target, calls in self._uses.direct(name).items():
            behind = [(one, frozenset(self._hosts.get(one, ()))) for one in self._uses.behind(name, target)]
            for worker in self._workers:
                lacks = {one for one, there in behind if worker.worker_id not in there and isinstance(one, ModelCall)}
                names = {one.name for one in lacks}
                if len(names) == 1:
                    key = worker.worker_id, names.pop()
                    gains[key] += calls
                    asked[key] |= lacks
        return ((key[0], asked[key], gain) for key, gain in gains.items())

    def _inside(self) -> list[str]:
        """Return the graph and all inside it."""
        found = [self._name]
        for name in found:
            targets = self._uses.direct(name)
            found += [one.name for one in targets if isinstance(one, GraphCall) and one.name not in found]
        return found

    def _move(
        self, now: Mapping[str, Hop], calls: float, model: ModelCall, worker: str, after: Mapping[str, Hop]
    ) -> Move:
        saved = [tensor for path, hop in now.items() if path not in after for tensor in self._tensors(hop)]
        sizes = [_bytes(spec) for _, spec in saved]
        return Move(
            model=model.name,
            to_worker=worker,
            from_workers=tuple(self._hosts.get(model, ())),
            movable=self._movable(model, worker, calls),
            network_calls=calls,
            tensors=tuple(name for name, _ in saved),
            known_bytes=sum(size or 0 for size in sizes),
            unsized_tensors=sizes.count(None),
        )

    def _movable(self, model: ModelCall, worker: str, calls: float) -> bool:
        """Return whether the model may leave the workers that host it: nothing costs more then."""
        if not self._hosts.get(model):
            return False
        moved = self._with(_hosted(self._hosts, model, [worker]))
        others = [
            name
            for name in self._snapshot.graphs
            if name != self._name and any(used.name == model.name for used in self._uses.of(name))
        ]
        return count(moved.hops(self._name)) <= calls + _NEARLY and all(
            count(moved.hops(name)) <= count(self._network.hops(name)) + _NEARLY for name in others
        )

    def _tensors(self, hop: Hop) -> Iterator[tuple[str, TensorSpec]]:
        """Return the tensors that a step takes and gives."""
        for spec in self._typed(hop.graph).get(hop.step, ()):
            yield f"{hop.path}.{spec.name}", spec

    def _typed(self, name: str) -> dict[str, list[TensorSpec]]:
        """Return, by step, what it takes and what it gives that somebody reads."""
        if name not in self._types:
            graph = graph_of(self._snapshot, name)
            found: dict[str, list[TensorSpec]] = {}
            if graph is not None:
                types = typed(graph, self._snapshot, promised=self._snapshot.graphs[name].signature)
                own = {node.name for node in graph.nodes}
                read = {binding.source for _, binding in graph.edges()}
                for source, spec in (*types.takes.items(), *types.tensors.items()):
                    step, dot, _ = source.partition(".")
                    if dot and (source in types.takes or step not in own or source in read):
                        found.setdefault(step, []).append(spec)
            self._types[name] = found
        return self._types[name]


def _hosted(hosts: Hosts, model: ModelCall, workers: list[str]) -> Hosts:
    """Return hosts as they would be if exactly these workers hosted a model: the version that it fixes, or all."""
    if not model.version:
        return {**hosts, **{known: workers for known in (model, *hosts) if known.name == model.name}}
    some = ModelCall(name=model.name)
    return {**hosts, model: workers, some: list(dict.fromkeys((*hosts.get(some, ()), *workers)))}


def _bytes(spec: TensorSpec) -> int | None:
    """Return a tensor's size; None if only a request decides it."""
    if spec.datatype == "BYTES" or not all(isinstance(size, int) for size in spec.shape):
        return None
    return math.prod(size for size in spec.shape if isinstance(size, int)) * DTYPES[spec.datatype].itemsize
