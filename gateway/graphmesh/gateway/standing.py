"""Whether each graph works with the mesh as it is now, and which versions of models are held out of service for it.

Computed once for each snapshot of the registry, off the event loop. The contract gate, which is dear, remembers what it
chose for a graph until the graph or a signature changes; what is left is a walk over the nodes. Workers come to the
same choice from the same registry when they run a graph; here it is what people are shown, and calls of a graph that
works with no version are refused before any worker sees them. What merely is not there now is left to the workers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.gateway.absent import reason
from graphmesh.gateway.usage import graph_of
from graphmesh.graph.gate.choices import Gate
from graphmesh.graph.gate.choose import Choice
from graphmesh.graph.spec import Fallback, GraphCall, Join, Parallel, Race

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.gate.choose import Held
    from graphmesh.graph.spec import Graph, Node, Target
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["READY", "Standing", "Standings", "Watch", "held_versions", "pins_of"]

logger = logging.getLogger(__name__)

_UNREADABLE = "its document cannot be read; apply it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one graph stands."""

    choice: Choice = field(default_factory=lambda: Choice(versions={}, held=()))
    """The versions of models that it works with, and those held."""
    problem: str = ""
    """Why calls of it fail; empty if it is ready."""
    broken: bool = False
    """The problem is that it, or a graph that it cannot do without, works with no version that is served."""


READY = Standing()
"""How a graph stands of which nothing is known yet."""

Standings: TypeAlias = "Mapping[str, Standing]"
"""By name of the graph."""


def held_versions(standings: Standings) -> list[Held]:
    """Return all versions that are held, by graph and model."""
    return [held for name in sorted(standings) for held in standings[name].choice.held]


def pins_of(standings: Standings) -> dict[str, Mapping[str, str]]:
    """Return, by graph, the versions of models that it must use."""
    return {name: standing.choice.pins for name, standing in standings.items() if standing.choice.held}


class Watch:
    """Follows the graphs of a mesh, snapshot by snapshot; not to be used by two threads at once."""

    def __init__(self) -> None:
        self._gate = Gate()
        self._standings: dict[str, Standing] = {}

    def update(self, snapshot: Snapshot) -> Standings:
        """Return how every graph stands; what is new and needs someone is logged once."""
        before = self._standings
        found = _Look(snapshot, self._gate).all()
        for name in before.keys() - found.keys():
            self._gate.forget(name)
        self._standings = found
        for name, standing in found.items():
            _log(name, before.get(name, READY), standing)
        return found


def _log(name: str, before: Standing, now: Standing) -> None:
    if now is before:
        return
    known = {(held.model, held.version) for held in before.choice.held}
    for held in now.choice.held:
        if (held.model, held.version) not in known:
            logger.warning(
                "model version held out of service for a graph graph=%s model=%s version=%s used_version=%s reason=%s",
                name, held.model, held.version, now.choice.versions[held.model], held.reason,
            )  # fmt: skip
    broken = now.choice.error
    if broken and now.problem == broken.message and before.problem != now.problem:
        logger.warning("graph does not work with any version that is served graph=%s reason=%s", name, now.problem)


@dataclass(frozen=True, slots=True)
class _Missing:
    """What a graph cannot do without."""

    text: str
    broken: bool = False


class _Look:
    """One look at all graphs of a snapshot."""

    def __init__(self, snapshot: Snapshot, gate: Gate) -> None:
        self._snapshot = snapshot
        self._gate = gate
        self._found: dict[str, Standing] = {}

    def all(self) -> dict[str, Standing]:
        for name in self._snapshot.graphs:
            self._standing(name)
        return self._found

    def _standing(self, name: str) -> Standing:
        found = self._found.get(name)
        if found is None:
            self._found[name] = READY  # graphs in a circle, which validation refuses, end here
            found = self._found[name] = self._look(name)
        return found

    def _look(self, name: str) -> Standing:
        snapshot, graph = self._snapshot, graph_of(self._snapshot, name)
        if graph is None:
            return Standing(problem=_UNREADABLE)
        choice = self._gate.choose(
            graph,
            snapshot.served,
            self._signature,
            lambda other: graph_of(snapshot, other),
            revision=snapshot.graphs[name].revision,
        )
        missing = next(filter(None, (self._missing(node, node.name, choice) for node in graph.nodes)), None)
        if missing:
            return Standing(choice=choice, problem=missing.text, broken=missing.broken)
        broken = choice.error is not None and self._complete(graph)
        return Standing(choice=choice, problem=choice.error.message if choice.error and broken else "", broken=broken)

    def _signature(self, name: str) -> Signature | None:
        return self._snapshot.signature_of(name)

    def _complete(self, graph: Graph) -> bool:
        """Return whether all that a graph may call is there; without some of it types do not say what breaks."""
        return not any(self._absent(target, "", "") for node in graph.nodes for target in node.targets())

    def _missing(self, node: Node, path: str, choice: Choice) -> _Missing | None:
        """Return what a step cannot do without and is not served now; None if it can run."""
        if node.target is not None:
            pin = choice.pins.get(node.target.name, "")
            return self._absent(node.target, pin, f"node {path}: ")
        found = [self._missing(branch, f"{path}/{branch.name}", choice) for branch in node.branches]
        missing = next(filter(None, found), None)
        match node.kind:
            case Fallback() | Race() | Parallel(join=Join.ANY | Join.FIRST):
                return missing if all(found) else None
            case Parallel(join=Join.QUORUM, quorum=quorum):
                return missing if found.count(None) < quorum else None
            case _:
                return missing

    def _absent(self, target: Target, pin: str, where: str) -> _Missing | None:
        """Return why what a step calls cannot answer; None if it can."""
        if isinstance(target, GraphCall):
            if target.name not in self._snapshot.graphs:
                return _Missing(f"{where}there is no graph {target.name!r}; apply it")
            standing = self._standing(target.name)
            text = f"{where}graph {target.name!r} is not ready: {standing.problem}"
            return _Missing(text, standing.broken) if standing.problem else None
        version, served = target.version or pin, self._snapshot.served.get(target.name, {})
        if version in served if version else served:
            return None
        return _Missing(where + reason(self._snapshot, target.name, version).message)
