"""Which versions of its models each graph works with, found out beside the event loop.

A choice takes a few passes over the graph, so a request that needs one waits until a thread has made it, together with
all others that need the same; then it is remembered (`graphmesh.graph.gate.choices`) until a signature changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from graphmesh.graph.gate.choices import Gate
from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.gate.choose import Choice, Versions
    from graphmesh.graph.spec import Graph, Target
    from graphmesh.registry import GraphRecord, Snapshot
    from graphmesh.worker.hosting.catalog import Catalog

__all__ = ["Choosing", "Question", "offered"]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a choice is to be made for; any thread may read it."""

    graph: Graph
    """The graph."""
    record: GraphRecord
    """Its revision, live or not; it keeps the promise of its own signature."""
    snapshot: Snapshot
    """The registry."""
    versions: Versions
    """What the graph's models can be now; newest first."""
    graphs: Mapping[str, Graph]
    """All graphs that it calls, those that they call, and so on."""

    def promised(self, name: str) -> Signature | None:
        """Return what a graph or model takes and gives."""
        return self.record.signature if name == self.record.name else self.snapshot.signature_of(name)


class Read(Protocol):
    """A revision, read."""

    @property
    def graph(self) -> Graph:
        """What its author wrote."""
        ...

    @property
    def targets(self) -> tuple[Target, ...]:
        """Everything that it calls itself."""
        ...


class Choosing:
    """Makes the choices of a worker, each once.

    Args:
        read: Returns a revision, read.
        catalog: The models of this worker.
    """

    def __init__(self, read: Callable[[GraphRecord], Read], catalog: Catalog) -> None:
        self._read = read
        self._catalog = catalog
        self._gate = Gate()
        self._making: dict[tuple[str, int], asyncio.Future[Choice]] = {}

    async def ready(self, record: GraphRecord, snapshot: Snapshot) -> None:
        """Wait until all is chosen for a revision and for the graphs inside it.

        Cancellation: others go on waiting; a thread that makes a choice ends by itself.
        """
        while True:
            asked = (self._question(each, snapshot) for each in (record, *self._inside(record, snapshot)))
            pending = next((question for question in asked if self._remembered(question) is None), None)
            if pending is None:
                return
            await self._make(pending)

    def now(self, record: GraphRecord, snapshot: Snapshot) -> tuple[Question, Choice]:
        """Return at once what was chosen, and for what: as it is now, else what was chosen before.

        Only if there is none it is chosen here: when a model of this worker came or went since the request found its
        graph, and this is the graph's first.
        """
        question, gate = self._question(record, snapshot), self._gate
        choice = self._remembered(question) or gate.latest(question.graph, revision=record.revision)
        return question, choice or self._choose(question)

    def forget(self, name: str) -> None:
        """Forget a graph that is gone."""
        self._gate.forget(name)

    async def _make(self, question: Question) -> None:
        """Wait for the choice, or for one that is being made for the same revision, which may be of another state."""
        key = (question.record.name, question.record.revision)
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.get_running_loop().run_in_executor(None, self._choose, question)
            making.add_done_callback(lambda _: self._making.pop(key))
        await asyncio.shield(making)

    def _question(self, record: GraphRecord, snapshot: Snapshot) -> Question:
        read = self._read(record)
        models = {target.name for target in read.targets if not isinstance(target, GraphCall)}
        # Whether a name is a graph's is asked of models, too.
        graphs = {name: self._read(snapshot.graphs[name]).graph for name in models if name in snapshot.graphs}
        graphs.update({inner.name: self._read(inner).graph for inner in self._inside(record, snapshot)})
        versions = {name: offered(name, snapshot, self._catalog) for name in models}
        return Question(graph=read.graph, record=record, snapshot=snapshot, versions=versions, graphs=graphs)

    def _inside(self, record: GraphRecord, snapshot: Snapshot) -> list[GraphRecord]:
        """Return the graphs that a graph calls, those that they call, and so on."""
        found: dict[str, GraphRecord] = {}
        pending = [record]
        while pending:
            for target in self._read(pending.pop()).targets:
                if isinstance(target, GraphCall) and target.name not in found and target.name in snapshot.graphs:
                    found[target.name] = snapshot.graphs[target.name]
                    pending.append(found[target.name])
        return list(found.values())

    def _remembered(self, question: Question) -> Choice | None:
        revision = question.record.revision
        return self._gate.remembered(question.graph, question.versions, question.promised, revision=revision)

    def _choose(self, question: Question) -> Choice:
        graph, revision = question.graph, question.record.revision
        return self._gate.choose(graph, question.versions, question.promised, question.graphs.get, revision=revision)


def offered(name: str, snapshot: Snapshot, catalog: Catalog) -> dict[str, Signature]:
    """Return the signatures of a model's versions that can serve now, newest first: listed ones, then those here."""
    found = dict(snapshot.served.get(name, {}))
    for model in catalog.hosted(name):
        if model.ready:
            found.setdefault(model.version, model.signature)
    return dict(sorted(found.items(), key=lambda entry: int(entry[0]), reverse=True))
