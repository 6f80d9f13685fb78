"""What the contract gate chose for each live graph, kept until something that it depends on changes.

Whoever holds a `Gate` asks it at every change of the registry: what did not change costs a walk over a graph's targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphmesh.graph.gate.choose import called, choose
from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from graphmesh.core.signature import Signature
    from graphmesh.graph.gate.choose import Choice, Versions
    from graphmesh.graph.spec import Graph

__all__ = ["Gate"]


_MAX_STATES = 8
"""For one graph: of several revisions in use at once, or signatures that come and go."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    graph: Graph
    choice: Choice


class Gate:
    """Remembers what was chosen for each graph until something that it depends on changes.

    Any thread may use it; two that ask the same at once both make the choice, which is the same.
    """

    def __init__(self) -> None:
        self._chosen: dict[str, dict[tuple[int, Hashable], _Chosen]] = {}

    def choose(
        self,
        graph: Graph,
        versions: Versions,
        signatures: Callable[[str], Signature | None],
        graphs: Callable[[str], Graph | None],
        *,
        revision: int,
    ) -> Choice:
        """Return what `choose` returns; a choice is made anew when the revision or a signature has changed.

        While something that the graph calls is gone, so that no versions work, it keeps those that it had: they may
        still serve a fallback.
        """
        choice = self.remembered(graph, versions, signatures, revision=revision)
        if choice is None:
            last = self.latest(graph, revision=revision)
            choice = choose(graph, versions, signatures, graphs, last=last)
            if choice.error and last is not None and _offered(last, versions):
                choice = replace(last, error=choice.error)
        self._remember(graph, (revision, _state(graph, versions, signatures)), choice)
        return choice

    def remembered(
        self, graph: Graph, versions: Versions, signatures: Callable[[str], Signature | None], *, revision: int
    ) -> Choice | None:
        """Return what was chosen for the same question; None if it has to be made."""
        found = self._chosen.get(graph.name, {}).get((revision, _state(graph, versions, signatures)))
        return found.choice if found is not None and found.graph == graph else None

    def latest(self, graph: Graph, *, revision: int) -> Choice | None:
        """Return what was chosen last for a revision, whatever has changed since; None if nothing was."""
        for (of, _), chosen in reversed(self._chosen.get(graph.name, {}).items()):
            if of == revision and chosen.graph == graph:
                return chosen.choice
        return None

    def _remember(self, graph: Graph, state: tuple[int, Hashable], choice: Choice) -> None:
        others = {key: chosen for key, chosen in self._chosen.get(graph.name, {}).items() if key != state}
        kept = dict(list(others.items())[1 - _MAX_STATES :])
        self._chosen[graph.name] = {**kept, state: _Chosen(graph, choice)}

    def forget(self, name: str) -> None:
        """Forget a graph that is gone; one that is not known is no mistake."""
        self._chosen.pop(name, None)


def _offered(choice: Choice, versions: Versions) -> bool:
    """Return whether no chosen version of a model that is there has gone."""
    return all(version in versions[model] for model, version in choice.versions.items() if versions.get(model))


def _state(graph: Graph, versions: Versions, signatures: Callable[[str], Signature | None]) -> Hashable:
    """Return what a choice for a graph depends on, by digests."""
    models: dict[str, tuple[tuple[str, str], ...]] = {}
    graphs = {graph.name: _digest(signatures(graph.name))}
    for target in called(graph):
        if isinstance(target, GraphCall):
            graphs[target.name] = _digest(signatures(target.name))
        else:
            offered = versions.get(target.name, {})
            models[target.name] = tuple((version, offered[version].digest) for version in sorted(offered))
    return tuple(sorted(models.items())), tuple(sorted(graphs.items()))


def _digest(signature: Signature | None) -> str:
    return "" if signature is None else signature.digest
