"""The contract gate: which versions of a model a live graph can work with, and which are held out of service for it.

A graph was checked against the signatures of the day it was applied. A version that arrives later and would break it is
held for that graph, while an older one goes on serving it; other graphs and direct calls are not concerned. Decided is
for all models of a graph together, newest versions first (`search`), and once for all versions with equal signatures.
What some models break whatever the others are is found by what all versions of the others have in common (`alike`). It
is all pure, so that gateways and workers come to the same result from the same registry; `choices` remembers it until a
signature changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.promises import broken_promise
from graphmesh.graph.checks.validate import infer_types, type_graph
from graphmesh.graph.gate.alike import common_promise, common_to, part_of
from graphmesh.graph.gate.search import search
from graphmesh.graph.spec import ModelCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.gate.alike import Common
    from graphmesh.graph.spec import Graph, Target

__all__ = ["Choice", "Held", "Versions", "breaks", "called", "choose"]

Versions: TypeAlias = "Mapping[str, Mapping[str, Signature]]"
"""The signatures of models that can serve now, by model and version."""

_GAVE_UP = (
    "other versions may fit together, but too many do not to find out which; unload versions that are not needed, or "
    "fix the versions in the graph"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A version of a model that is held out of service for one graph."""

    graph: str
    """The graph's name."""
    model: str
    """The model's name."""
    version: str
    """Its version."""
    reason: str
    """The edge that would break, both types and the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The versions of models that one graph works with."""

    versions: Mapping[str, str]
    """For each model that the graph calls without fixing a version: the newest that does not break it."""
    held: tuple[Held, ...]
    """Versions that would break it, beside what else it uses; by model, newest first."""
    error: InvalidGraph | None = None
    """Why the graph works with no set of versions; `versions` are the newest then, and nothing is held."""

    @property
    def pins(self) -> dict[str, str]:
        """The versions that calls must be sent to: of models with a version that is held. Others may go anywhere."""
        held = {entry.model for entry in self.held}
        return {model: version for model, version in self.versions.items() if model in held}


def breaks(
    graph: Graph,
    replaced: Mapping[str, Signature],
    signatures: Callable[[str], Signature | None],
    graphs: Callable[[str], Graph | None],
    *,
    pinned: Callable[[ModelCall], Signature | None] | None = None,
) -> InvalidGraph | None:
    """Return why a graph would not work if these models or graphs had these signatures; None if it would.

    A live graph must also keep its promise: take what its callers send, and give what they get.

    Args:
        graph: The graph.
        replaced: Signatures by name, of models and graphs that would change.
        signatures: The signature of any other model or graph by name, and of the graph itself if it is live; None if
            there is none.
        graphs: The live graph of a name, None if there is none.
        pinned: The signature of the version that a call fixes; as for `type_graph`.
    """
    try:
        typed = type_graph(graph, lambda name: replaced.get(name) or signatures(name), graphs=graphs, pinned=pinned)
    except InvalidGraph as error:
        return error
    promised = signatures(graph.name)
    return None if promised is None else broken_promise(graph, promised, typed.signature)


def choose(
    graph: Graph,
    versions: Versions,
    signatures: Callable[[str], Signature | None],
    graphs: Callable[[str], Graph | None],
    *,
    last: Choice | None = None,
) -> Choice:
    """Return which versions a graph works with, and which would break it.

    A version that a node fixes is used for that node alone, whatever is chosen for others. It takes a few passes over
    the graph for each version with a signature of its own: long for large graphs, so to be called off the event loop.

    Args:
        graph: The graph.
        versions: What can serve now; of models that the graph does not call, too.
        signatures: The signature of a live graph by name, None if there is none.
        graphs: The live graph of a name, None if there is none.
        last: What was chosen for it before. If the search gives up, as it may when many versions fit only with one
            another, and this still works, it is kept; else versions that are equally far back for all models are tried.
    """
    return _Chooser(graph, versions, signatures, graphs).choose(last)


class _Chooser:
    """The search for one graph."""

    def __init__(
        self,
        graph: Graph,
        versions: Versions,
        signatures: Callable[[str], Signature | None],
        graphs: Callable[[str], Graph | None],
    ) -> None:
        self._graph = graph
        self._versions = versions
        self._signatures = signatures
        self._graphs = graphs
        free = {target.name for target in called(graph) if isinstance(target, ModelCall) and not target.version}
        self._options = {name: _distinct(versions[name]) for name in sorted(free) if versions.get(name)}
        self._known: dict[str, Common] = {}

    def choose(self, last: Choice | None) -> Choice:
        found = search({name: len(options) for name, options in self._options.items()}, self._fails)
        picks = found.picks
        if found.gave_up:
            picks = (self._still(last) if last is not None else None) or self._together()
        if picks is not None:
            return Choice(versions=self._newest(picks), held=tuple(self._held(picks)))
        newest = dict.fromkeys(self._options, 0)
        error = self._breaks(newest)
        if error is not None and found.gave_up:
            error = InvalidGraph(f"{error.message}; {_GAVE_UP}")
        return Choice(versions=self._newest(newest), held=(), error=error)

    def _together(self) -> dict[str, int] | None:
        """Return the newest options that work of those that are as far back for all models: loaded together, mostly."""
        for back in range(1, max(map(len, self._options.values()), default=0)):
            picks = {name: min(back, len(options) - 1) for name, options in self._options.items()}
            if not self._breaks(picks):
                return picks
        return None

    def _still(self, last: Choice) -> dict[str, int] | None:
        """Return the options that were chosen before; None if one is gone, or they do not work any more."""
        picks = {
            name: index
            for name, options in self._options.items()
            for index, alike in enumerate(options)
            if last.versions.get(name) in alike
        }
        return None if len(picks) < len(self._options) or self._breaks(picks) else picks

    def _fails(self, picks: Mapping[str, int]) -> bool:
        """Return whether the graph breaks with these options, whatever those of other models are."""
        common = {name: self._common(name) for name, options in self._options.items() if len(options) > 1}
        common = {name: one for name, one in common.items() if name not in picks}
        if not common:
            return self._breaks({name: picks.get(name, 0) for name in self._options}) is not None
        picked = {name: self._signature(name, picks.get(name, 0)) for name in self._options if name not in common}
        picked.update({name: one.signature for name, one in common.items()})
        part = part_of(self._graph, common)
        try:
            typed = infer_types(
                part, lambda name: picked.get(name) or self._other(name), graphs=self._graphs, pinned=self._pinned
            )
        except InvalidGraph:
            return True
        promised = self._signatures(self._graph.name)
        return (
            promised is not None and broken_promise(self._graph, *common_promise(promised, typed.signature)) is not None
        )

    def _common(self, name: str) -> Common:
        found = self._known.get(name)
        if found is None:
            options = range(len(self._options[name]))
            found = self._known[name] = common_to([self._signature(name, index) for index in options])
        return found

    def _breaks(self, picks: Mapping[str, int]) -> InvalidGraph | None:
        picked = {name: self._signature(name, index) for name, index in picks.items()}
        return breaks(self._graph, picked, self._other, self._graphs, pinned=self._pinned)

    def _signature(self, name: str, index: int) -> Signature:
        return self._versions[name][self._options[name][index][0]]

    def _other(self, name: str) -> Signature | None:
        """Return a graph's signature, or any of a model that only nodes with a fixed version call."""
        # A model that has this graph's own name promises nothing for it: who stores the graph refuses the name.
        models = {} if name == self._graph.name else self._versions.get(name, {})
        return next(iter(models.values()), None) or self._signatures(name)

    def _pinned(self, call: ModelCall) -> Signature | None:
        return self._versions.get(call.name, {}).get(call.version)

    def _newest(self, picks: Mapping[str, int]) -> dict[str, str]:
        return {name: self._options[name][index][0] for name, index in picks.items()}

    def _held(self, picks: Mapping[str, int]) -> Iterator[Held]:
        for name, options in self._options.items():
            held: dict[str, str] = {}
            for index, alike in enumerate(options):
                error = None if index == picks[name] else self._breaks({**picks, name: index})
                held.update(dict.fromkeys(alike, error.message) if error else {})
            for version in _newest_first(held):
                yield Held(graph=self._graph.name, model=name, version=version, reason=held[version])


def called(graph: Graph) -> set[Target]:
    """Return every model and graph that a graph calls itself."""
    return {target for node in graph.nodes for target in node.targets()}


def _newest_first(versions: Mapping[str, object]) -> list[str]:
    return sorted(versions, key=int, reverse=True)


def _distinct(versions: Mapping[str, Signature]) -> list[list[str]]:
    """Return the versions newest first, those with equal signatures together."""
    alike: dict[str, list[str]] = {}
    for version in _newest_first(versions):
        alike.setdefault(versions[version].digest, []).append(version)
    return list(alike.values())
