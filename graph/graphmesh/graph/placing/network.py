"""How many calls over the network one request to a graph makes, and on which workers these are the fewest.

Counted is what workers do. A model that is on the worker, in a version that the graph may use, is called there; one
that is elsewhere is a call over the network. A nested graph runs in the same process if everything behind it is there;
otherwise all of it is one call through a gateway, also where half of it is there, and runs where it is placed itself.
What it calls from there counts as well, but is no reason to run the graph around it here or there: a graph that calls
anything over the network where it is placed is whole on no worker, so that it costs the same from all of them.

So a graph is placed where most of the calls that it makes itself are answered in the same process. That takes one look
at each of these and the workers that answer it, and one intersection for each nested graph, however many call it.

Bytes are not weighed; decision record 21 says why.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.limits import MAX_DEPTH
from graphmesh.graph.placing.usage import sites
from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from graphmesh.graph.placing.hosts import Hosts
    from graphmesh.graph.placing.usage import Site, Uses
    from graphmesh.graph.spec import Graph, Target

__all__ = ["Hop", "Network", "count"]

_ROUNDING = 1e-9
"""Numbers of calls that differ by less, as a share of them, are a tie: they are sums of fractions."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A step, or branch of one, whose call goes over the network."""

    path: str
    """With the steps of the graphs around it."""
    calls: float
    """How often one request is expected to call."""
    graph: str
    """The graph that the step is in."""
    step: str
    """Its path in there."""


def count(hops: Mapping[str, Hop]) -> float:
    """Return how many calls these are."""
    return math.fsum(hop.calls for hop in hops.values())


class Network:
    """Counts the calls over the network in one state of a mesh. Not to be used by two threads at once.

    Args:
        uses: What graphs call.
        hosts: Where models are available.
        workers: All that can run graphs, by id.
        graphs: The live graph of a name, None if there is none.
    """

    def __init__(
        self, uses: Uses, hosts: Hosts, workers: Collection[str], graphs: Callable[[str], Graph | None]
    ) -> None:
        self._uses = uses
        self._hosts = hosts
        self._workers = sorted(workers)
        self._graphs = graphs
        self._whole: dict[str, Collection[str]] = {}
        self._places: dict[str, Sequence[str]] = {}
        self._left: dict[tuple[str, str], Sequence[Site]] = {}

    def places(self, name: str) -> Sequence[str]:
        """Return the workers on which a request to a graph makes the fewest calls over the network: all, by id."""
        found = self._places.get(name)
        if found is None:
            here = self.here(name)
            most = max(here.values(), default=0.0) * (1 - _ROUNDING)
            best = sorted(worker for worker, calls in here.items() if calls >= most > 0)
            found = self._places[name] = best or self._workers
        return found

    def here(self, name: str) -> Mapping[str, float]:
        """Return how many of the calls that a graph makes itself each worker answers in its own process.

        Workers that answer none are left out.
        """
        found: defaultdict[str, float] = defaultdict(float)
        for target, calls in self._uses.direct(name).items():
            for worker in self.answering(name, target):
                found[worker] += calls
        return found

    def answering(self, graph: str, target: Target) -> Collection[str]:
        """Return the workers that answer a call by a step of ``graph`` in their own process."""
        if not isinstance(target, GraphCall):
            return self._hosts.get(self._uses.fixed(graph, target), ())
        found = self._whole.get(target.name)
        if found is None:
            behind = (self._hosts.get(one, ()) for one in self._uses.of(target.name))
            found = self._whole[target.name] = frozenset(self._workers).intersection(*behind)
        return found

    def hops(self, name: str, worker: str = "") -> dict[str, Hop]:
        """Return the steps whose calls go over the network when a worker runs a graph, by path.

        Args:
            name: The graph.
            worker: Where it runs; by default where it is placed: the first by id stands for all that tie.
        """
        return {hop.path: hop for hop in self._hops(name, worker or self._place(name), "", 1.0, MAX_DEPTH)}

    def _hops(self, name: str, worker: str, prefix: str, times: float, depth: int) -> Iterator[Hop]:
        for site in self._leaving(name, worker) if depth else ():
            path, calls = f"{prefix}{site.path}", times * site.calls
            yield Hop(path, calls, name, site.path)
            if isinstance(site.target, GraphCall):
                inner = site.target.name
                yield from self._hops(inner, self._place(inner), f"{path}/", calls, depth - 1)

    def _leaving(self, name: str, worker: str) -> Sequence[Site]:
        """Return the steps of a graph itself whose calls leave a worker."""
        found = self._left.get((name, worker))
        if found is None:
            graph = self._graphs(name)
            all_sites = sites(graph) if graph else ()
            found = [site for site in all_sites if worker not in self.answering(name, site.target)]
            self._left[name, worker] = found
        return found

    def _place(self, name: str) -> str:
        return next(iter(self.places(name)), "")
