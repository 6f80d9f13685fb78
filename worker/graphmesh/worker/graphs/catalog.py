"""The graphs of the mesh, compiled as they are called."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from graphmesh.graph.checks.nesting import count_calls
from graphmesh.graph.forms.wire import graph_from_bytes
from graphmesh.graph.gate.choose import called
from graphmesh.graph.running.actions.memory import DEFAULT_MEMORY_BYTES, CacheMemory
from graphmesh.graph.running.estimates import Estimates, critical_path_s
from graphmesh.graph.running.plan import make_plan
from graphmesh.worker.forms.headers import forwardable, read_revisions, write_revisions
from graphmesh.worker.graphs.choosing import Choosing
from graphmesh.worker.graphs.hosted import HostedGraph
from graphmesh.worker.graphs.reach import inside
from graphmesh.worker.graphs.versions import ModelVersions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.graph.running.frame import Run
    from graphmesh.graph.running.plan import Plan
    from graphmesh.graph.spec import Graph, Target
    from graphmesh.registry import GraphRecord, Snapshot
    from graphmesh.worker.graphs.host import GraphHost
    from graphmesh.worker.handler import Servable
    from graphmesh.worker.hosting.catalog import Catalog
    from graphmesh.worker.metrics.families import Metrics

__all__ = ["Bound", "GraphCatalog"]

_MAX_COMPILED = 1024
_EXPECTED_FOR_S = 0.1
_MAX_VIEWS = 16
_MAX_FIXED = 64
_FORGET_EVERY_S = 60.0


class Revisions(Protocol):
    """Where revisions come from that the snapshot does not have; the registry."""

    async def get_graph(self, name: str, revision: int = 0) -> GraphRecord:
        """Return a revision, or raise NotFound."""
        ...


class Elsewhere(Protocol):
    """Calls of what is not in this process; the mesh."""

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request; see `graphmesh.core.inference.Inferencer`."""
        ...

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request and yield each of its answers."""
        ...


class Local(Protocol):
    """Runs what is in this process; the handler."""

    async def run(self, servable: Servable, request: InferenceRequest) -> InferenceResponse:
        """Run one request through a model or graph."""
        ...

    def stream(self, servable: Servable, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request through a model or graph and yield each of its answers."""
        ...


@dataclass(slots=True)
class _Compiled:
    """A revision, read, and its plan for what was known of signatures last."""

    record: GraphRecord
    graph: Graph
    targets: tuple[Target, ...]
    """Everything that it calls itself."""
    known: tuple[str, ...] | None = None
    """Digests of the signatures of all targets."""
    plan: Plan | None = None
    replaced: bool = False
    """Another revision was the live one at the last look."""


@dataclass(slots=True)
class _View:
    """What is made for one snapshot of the registry."""

    snapshot: Snapshot
    bound: dict[tuple[str, int], Bound] = field(default_factory=dict)
    """By graph and revision."""
    fixed: dict[str, Snapshot] = field(default_factory=dict)
    """Snapshots that differ by the revisions of some graphs, by how a caller says that."""


class Bound:
    """One revision of a graph as one snapshot of the registry sees it; shared by all requests that do."""

    __slots__ = ("_expected_s", "_expected_until", "graph", "plan", "record", "snapshot", "told", "versions")

    def __init__(
        self, record: GraphRecord, graph: Graph, plan: Plan, *, snapshot: Snapshot, versions: ModelVersions
    ) -> None:
        self.record = record
        """The revision."""
        self.graph = graph
        """What its author wrote."""
        self.plan = plan
        """How it runs."""
        self.snapshot = snapshot
        """The registry, for all calls of a request."""
        self.versions = versions
        """Where calls of models go."""
        self.told: tuple[frozenset[str], str] | None = None
        """See `GraphCatalog.told`."""
        self._expected_s = 0.0
        self._expected_until = 0.0

    def expected_s(self, expected: Callable[[Target], float]) -> float:
        """Return what a run takes at least, half of the time, as known a tenth of a second ago or less."""
        now = time.monotonic()
        if now >= self._expected_until:
            self._expected_until = now + _EXPECTED_FOR_S
            self._expected_s = critical_path_s(self.plan, expected)
        return self._expected_s


class GraphCatalog:
    """The graphs of the mesh, compiled as they are called.

    What caches inside a graph remember lives as long as its plan: until the signature of something that it calls
    changes, or a minute or two after another revision went live. All of them share one memory of ``cache_bytes``.
    """

    def __init__(
        self,
        revisions: Revisions,
        snapshot: Callable[[], Snapshot],
        *,
        catalog: Catalog,
        mesh: Elsewhere,
        metrics: Metrics,
        worker_id: str,
        cache_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        self._revisions = revisions
        self._snapshot = snapshot
        self._compiled: OrderedDict[tuple[str, int], _Compiled] = OrderedDict()
        self._views: OrderedDict[int, _View] = OrderedDict()
        self._look_at = time.monotonic() + _FORGET_EVERY_S
        self._choosing = Choosing(self._read, catalog)
        self.catalog = catalog
        self.mesh = mesh
        self.metrics = metrics
        metrics.caches = self._memory = CacheMemory(cache_bytes)
        self.worker_id = worker_id
        self.estimates = Estimates()
        """How long calls take, of everything that graphs here call."""
        self.local: Local
        """Runs local nodes; set once the handler exists, which in turn needs the graphs."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all graphs."""
        return tuple(self._snapshot().graphs)

    async def find(self, name: str, revision: int) -> HostedGraph | None:
        """Return a revision, the live one for 0, bound to the registry as it is now; None if there is no such graph.

        Raises:
            NotFound: the graph never had this revision, or is deleted (NOT_FOUND, retry: no).
            RegistryUnavailable: the revision is not known here and etcd does not answer (UNAVAILABLE, retry: other).
            InvalidGraph: it cannot work with the signatures that are known now (INVALID_ARGUMENT, retry: no).
        """
        snapshot = self._snapshot()
        record = snapshot.graphs.get(name)
        if record is None or revision not in {0, record.revision}:
            if not revision:
                return None
            record = await self._revision(name, revision)
        return HostedGraph(await self._chosen(record, snapshot), self)

    async def _revision(self, name: str, revision: int) -> GraphRecord:
        compiled = self._compiled.get((name, revision))
        return compiled.record if compiled is not None else await self._revisions.get_graph(name, revision)

    async def fixed(self, bound: Bound, revisions: str) -> Bound:
        """Return the same graph as a caller elsewhere sees it, who fixed the revisions of graphs inside.

        Args:
            bound: The graph.
            revisions: As `graphmesh.worker.forms.headers.REVISIONS`.

        Raises:
            InvalidRequest: what is fixed cannot be read (INVALID_ARGUMENT, retry: no).
            InvalidGraph: with these revisions graphs call one another in a cycle, or too deeply (INVALID_ARGUMENT,
                retry: no).
            NotFound, RegistryUnavailable: as `find`.
        """
        known = self._view(bound.snapshot).fixed
        snapshot = known.get(revisions)
        if snapshot is None:
            live = bound.snapshot.graphs
            others = {
                name: await self._revision(name, revision)
                for name, revision in read_revisions(revisions).items()
                if name not in live or live[name].revision != revision
            }
            snapshot = replace(bound.snapshot, graphs={**live, **others}) if others else bound.snapshot
            if others:
                count_calls(bound.graph, lambda name: self._live(name, snapshot))
            if len(known) >= _MAX_FIXED:
                known.clear()
            known[revisions] = snapshot
        return bound if snapshot is bound.snapshot else await self._chosen(bound.record, snapshot)

    def told(self, bound: Bound) -> tuple[frozenset[str], str]:
        """Return what a call of a graph elsewhere tells beside its inputs.

        Returns:
            Names of the headers that conditions in it and in the graphs inside it name, and the revisions of these.
        """
        if bound.told is None:
            nested = inside(bound, self)
            headers = bound.plan.headers.union(*(found.plan.headers for found in nested.values()))
            revisions = write_revisions({name: found.record.revision for name, found in nested.items()})
            bound.told = frozenset(filter(forwardable, headers)), revisions
        return bound.told

    def bind(self, name: str, snapshot: Snapshot) -> Bound | None:
        """Return a graph's live revision in a snapshot; None if it has no such graph."""
        record = snapshot.graphs.get(name)
        return None if record is None else self._bind(record, snapshot)

    def inside(self, bound: Bound, host: GraphHost, run: Run) -> HostedGraph:
        """Return a graph to be called by another one's run in this process, whose budget and headers it shares."""
        return HostedGraph(bound, self, (host, run))

    def _bind(self, record: GraphRecord, snapshot: Snapshot) -> Bound:
        known = self._view(snapshot).bound
        key = (record.name, record.revision)
        bound = known.get(key)
        if bound is None or bound.record is not record:
            bound = known[key] = self._make(record, snapshot)
        return bound

    def _view(self, snapshot: Snapshot) -> _View:
        if time.monotonic() >= self._look_at:
            self._forget()
        view = self._views.get(id(snapshot))  # its own: a view keeps its snapshot alive
        if view is None:
            view = self._views[id(snapshot)] = _View(snapshot)
            if len(self._views) > _MAX_VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(id(snapshot))
        return view

    def _forget(self) -> None:
        """Let go of the plans of revisions that have not been live since the last look, and of all old snapshots."""
        self._look_at = time.monotonic() + _FORGET_EVERY_S
        self._views.clear()
        live = self._snapshot().graphs
        for name in {name for name, _ in self._compiled} - live.keys():
            self._choosing.forget(name)
        for (name, revision), compiled in self._compiled.items():
            replaced = name not in live or live[name].revision != revision
            if replaced and compiled.replaced:
                compiled.plan = compiled.known = None
            compiled.replaced = replaced

    async def _chosen(self, record: GraphRecord, snapshot: Snapshot) -> Bound:
        """Return a revision bound, when it is chosen which versions it and the graphs inside it work with."""
        bound = self._view(snapshot).bound.get((record.name, record.revision))
        if bound is not None and bound.record is record:
            return bound
        await self._choosing.ready(record, snapshot)
        return self._bind(record, snapshot)

    def _make(self, record: GraphRecord, snapshot: Snapshot) -> Bound:
        compiled = self._read(record)
        versions = ModelVersions(*self._choosing.now(record, snapshot), self.catalog)
        known = tuple(versions.digest(target) for target in compiled.targets)
        if compiled.plan is None or compiled.known != known:
            compiled.plan = make_plan(compiled.graph, versions.signature, pinned=versions.pinned, memory=self._memory)
            compiled.known = known
        return Bound(record, compiled.graph, compiled.plan, snapshot=snapshot, versions=versions)

    def _live(self, name: str, snapshot: Snapshot) -> Graph | None:
        record = snapshot.graphs.get(name)
        return None if record is None else self._read(record).graph

    def _read(self, record: GraphRecord) -> _Compiled:
        key = (record.name, record.revision)
        compiled = self._compiled.get(key)
        if compiled is None or compiled.record.create_time != record.create_time:  # deleted and made again
            graph = graph_from_bytes(record.document)
            compiled = self._compiled[key] = _Compiled(record, graph, tuple(called(graph)))
            if len(self._compiled) > _MAX_COMPILED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return compiled
