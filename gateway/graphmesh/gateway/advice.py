"""What hosting one model of a graph on another worker would save: pure, from a snapshot of the registry.

A graph runs on a worker that hosts the most of it (`placement`; of several that tie, the first by id stands for all). A
step whose model is elsewhere costs a call over the network, and so does a nested graph unless all of it is on the same
worker; it then runs where it is placed itself. For models and workers that lack them, the graph is placed anew as if
the worker had the model, and the calls are counted again. Numbers of calls are expectations (`placing.usage`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.tensor import DTYPES
from graphmesh.gateway.graph_checks import typed
from graphmesh.gateway.placement import hosts_of, ready_workers
from graphmesh.gateway.usage import graph_of, uses_of
from graphmesh.graph.limits import MAX_DEPTH
from graphmesh.graph.placing.hosts import best_hosts, local_calls, runs_on
from graphmesh.graph.placing.usage import sites
from graphmesh.graph.spec import GraphCall, ModelCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.placing.hosts import Hosts
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Advice", "Move", "advise"]

_MOST_MOVES = 20
_MOST_TRIED = 200
"""Placements that are counted through: two or three seconds for a graph of nearly the largest size."""
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


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A step whose call goes over the network."""

    path: str
    calls: float
    graph: str
    """The graph that the step is in."""
    step: str
    """Its path in there."""


class _Adviser:
    def __init__(self, name: str, snapshot: Snapshot, pins: Mapping[str, Mapping[str, str]]) -> None:
        self._name = name
        self._snapshot = snapshot
        self._uses = uses_of(snapshot, pins)
        self._hosts = hosts_of(snapshot)
        self._types: dict[str, dict[str, list[TensorSpec]]] = {}

    def advise(self) -> Advice:
        uses = self._uses.of(self._name)
        now = self._crossings(self._hosts)
        before = _calls(now)
        candidates = []
        for model, worker_id in self._worth_trying():
            after = self._crossings(_with(self._hosts, model, [*self._hosts.get(model, []), worker_id]))
            if _calls(after) < before:
                candidates.append((_calls(after), model, worker_id, after))
        candidates.sort(key=lambda found: (found[0], found[1].name, found[2]))
        ready = [worker.worker_id for worker in ready_workers(self._snapshot)]
        return Advice(
            workers=tuple(best_hosts(uses, self._hosts) or sorted(ready)),
            network_calls=before,
            calls=sum(uses.values()),
            moves=tuple(self._move(now, *candidate) for candidate in candidates[:_MOST_MOVES]),
        )

    def _worth_trying(self) -> list[tuple[ModelCall, str]]:
        """Return models with workers that lack them and that, with them, would run the graph or one inside it.

        Those come first with which a worker would be furthest ahead of where the graph is best now.
        """
        found: dict[tuple[ModelCall, str], float] = {}
        for name in self._inside():
            uses = self._uses.of(name)
            scores = local_calls(uses, self._hosts)
            most = max(scores.values(), default=0)
            for model, calls in uses.items():
                if isinstance(model, GraphCall):
                    continue
                there = self._hosts.get(model, ())
                for worker_id, score in scores.items():
                    ahead = score + calls - most
                    if ahead >= -_NEARLY and worker_id not in there:
                        found[model, worker_id] = max(ahead, found.get((model, worker_id), 0.0))
        order = sorted(found, key=lambda one: (-found[one], one[0].name, one[0].version, one[1]))
        return order[:_MOST_TRIED]

    def _inside(self) -> list[str]:
        """Return the graph and all inside it."""
        found = [self._name]
        for name in found:
            graph = graph_of(self._snapshot, name)
            targets = (site.target for site in sites(graph)) if graph else ()
            found += dict.fromkeys(t.name for t in targets if isinstance(t, GraphCall) and t.name not in found)
        return found

    def _move(
        self, now: Mapping[str, _Crossing], calls: float, model: ModelCall, worker: str, after: Mapping[str, _Crossing]
    ) -> Move:
        saved = [tensor for path, crossing in now.items() if path not in after for tensor in self._tensors(crossing)]
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
        moved = _with(self._hosts, model, [worker])
        others = [
            name
            for name in self._snapshot.graphs
            if name != self._name and any(used.name == model.name for used in self._uses.of(name))
        ]
        return _calls(self._crossings(moved)) <= calls and all(
            _calls(self._crossings(moved, name)) <= _calls(self._crossings(self._hosts, name)) for name in others
        )

    def _crossings(self, hosts: Hosts, name: str = "") -> dict[str, _Crossing]:
        """Return the steps whose calls go over the network, by path."""
        return {found.path: found for found in self._crossing(name or self._name, hosts, "", 1.0, MAX_DEPTH)}

    def _crossing(self, name: str, hosts: Hosts, prefix: str, times: float, depth: int) -> Iterator[_Crossing]:
        graph = graph_of(self._snapshot, name)
        here = next(iter(best_hosts(self._uses.of(name), hosts)), "")
        for site in sites(graph) if graph and depth else ():
            if runs_on(here, self._uses.behind(name, site.target), hosts):
                continue
            calls = times * site.calls
            yield _Crossing(f"{prefix}{site.path}", calls, name, site.path)
            if isinstance(site.target, GraphCall):
                yield from self._crossing(site.target.name, hosts, f"{prefix}{site.path}/", calls, depth - 1)

    def _tensors(self, crossing: _Crossing) -> Iterator[tuple[str, TensorSpec]]:
        """Return the tensors that a step takes and gives."""
        for spec in self._typed(crossing.graph).get(crossing.step, ()):
            yield f"{crossing.path}.{spec.name}", spec

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


def _with(hosts: Hosts, model: ModelCall, workers: list[str]) -> Hosts:
    """Return hosts as they would be if exactly these workers hosted a model: the version that it fixes, or all."""
    if not model.version:
        return {**hosts, **{known: workers for known in (model, *hosts) if known.name == model.name}}
    some = ModelCall(name=model.name)
    return {**hosts, model: workers, some: list(dict.fromkeys((*hosts.get(some, ()), *workers)))}


def _calls(crossings: Mapping[str, _Crossing]) -> float:
    return math.fsum(crossing.calls for crossing in crossings.values())


def _bytes(spec: TensorSpec) -> int | None:
    """Return a tensor's size; None if only a request decides it."""
    if spec.datatype == "BYTES" or not all(isinstance(size, int) for size in spec.shape):
        return None
    return math.prod(size for size in spec.shape if isinstance(size, int)) * DTYPES[spec.datatype].itemsize
