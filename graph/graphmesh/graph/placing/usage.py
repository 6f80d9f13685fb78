"""How often one request to a graph is expected to call what: the weights of placement and of advice.

What only a request decides is guessed, the same for every graph: a map has a few items, an alternative of several is as
likely as the others, a later branch of a fallback or a race is rare. Guesses compare places; they promise nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.spec import Cascade, Fallback, GraphCall, Loop, Map, ModelCall, Race, Split, Switch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from graphmesh.graph.spec import Graph, Node, Target

__all__ = ["ITEMS", "Site", "Uses", "fixed", "sites", "targets_of"]

ITEMS = 8
"""Items that a map is taken to have."""
_RARE = 0.1
"""How often a branch is taken to run that is there in case the one before it fails or is slow."""
_UNSURE = 0.5
"""How often a branch of a cascade is taken not to be sure enough."""


@dataclass(frozen=True, slots=True)
class Site:
    """A step, or branch of one, that calls something."""

    path: str
    """The step as errors name it."""
    target: Target
    """What it calls."""
    calls: float
    """How often one request is expected to."""


def sites(graph: Graph) -> Iterator[Site]:
    """Return every place in a graph that calls something, nested graphs' not."""
    for node in graph.nodes:
        yield from _sites(node, node.name, 1.0)


def targets_of(graph: Graph) -> Mapping[Target, float]:
    """Return how often one request to a graph is expected to call what, nested graphs' calls not."""
    found: defaultdict[Target, float] = defaultdict(float)
    for site in sites(graph):
        found[site.target] += site.calls
    return dict(found)


def _sites(node: Node, path: str, times: float) -> Iterator[Site]:
    if node.target is not None:
        items = -(-ITEMS // (node.kind.batch_size or 1)) if isinstance(node.kind, Map) else 1
        yield Site(path, node.target, times * items)
    for branch, share in zip(node.branches, _shares(node), strict=True):
        yield from _sites(branch, f"{path}/{branch.name}", times * share)


def _shares(node: Node) -> list[float]:
    """Return how often each branch runs when the step does."""
    count = len(node.branches)
    match node.kind:
        case Split(shares=shares):
            total = sum(share.weight for share in shares) or 1
            return [share.weight / total for share in shares]
        case Switch():
            return [1 / count] * count
        case Fallback() | Race():
            return [1.0, *[_RARE] * (count - 1)]
        case Cascade():
            return [_UNSURE**index for index in range(count)]
        case Loop(until=until, max_iterations=most):
            return [(1 + most) / 2 if until else float(most)]
        case _:
            return [1.0] * count


def fixed(target: Target, pins: Mapping[str, str]) -> Target:
    """Return a call with the version that it is for: its own, else that which its graph must use, if it must one."""
    pin = pins.get(target.name, "")
    if isinstance(target, GraphCall) or target.version or not pin:
        return target
    return ModelCall(name=target.name, version=pin)


class Uses:
    """The models that graphs call, nested graphs' included, each with the version that it must be, if one must.

    A graph that cannot be looked into, because it is not known or is inside itself, stands for itself among them: no
    worker can run it alone. Each graph is looked into once. Not to be used by two threads at once.

    Args:
        targets: What one request to a graph of this name calls, as `targets_of`; None if there is no such graph.
        pins: By graph, the versions of models that it must use.
    """

    def __init__(
        self, targets: Callable[[str], Mapping[Target, float] | None], pins: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._targets = targets
        self._pins = pins
        self._known: dict[str, Mapping[Target, float]] = {}

    def of(self, name: str) -> Mapping[Target, float]:
        """Return how often a request to a graph calls each model."""
        found = self._known.get(name)
        if found is None:
            self._known[name] = {GraphCall(name=name): 1.0}  # what it is to a graph inside it
            found = self._known[name] = self._of(name)
        return found

    def direct(self, name: str) -> Mapping[Target, float]:
        """Return how often a request to a graph calls what itself, nested graphs as such; nothing if it is unknown."""
        found: defaultdict[Target, float] = defaultdict(float)
        for target, calls in (self._targets(name) or {}).items():
            found[self.fixed(name, target)] += calls
        return found

    def behind(self, graph: str, target: Target) -> Iterable[Target]:
        """Return what a call by a step of ``graph`` leads to: the model itself, or all that a nested graph calls."""
        return self.of(target.name) if isinstance(target, GraphCall) else (self.fixed(graph, target),)

    def fixed(self, graph: str, target: Target) -> Target:
        """Return a call by a step of ``graph`` with the version that it is for."""
        return fixed(target, self._pins.get(graph, {}))

    def _of(self, name: str) -> Mapping[Target, float]:
        if self._targets(name) is None:
            return self._known[name]
        uses: defaultdict[Target, float] = defaultdict(float)
        for target, calls in self.direct(name).items():
            inner = self.of(target.name) if isinstance(target, GraphCall) else {target: 1.0}
            for model, times in inner.items():
                uses[model] += times * calls
        return dict(uses)
