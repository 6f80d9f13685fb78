"""The mesh's graphs, executed on this worker.

A graph is called like a model. Nodes whose model is available here run in this process, tensors handed over as they
are; so do nested graphs all of whose nodes do. The rest is called through the mesh. A run takes no model's instance
itself, so that graphs waiting for nodes cannot block them. It sees one snapshot of the registry from start to end.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.inference import InferenceRequest, InferenceResponse, Parameter
from graphmesh.graph.limits import MAX_DEPTH
from graphmesh.graph.plan import Plan, make_plan
from graphmesh.graph.run import GraphRun
from graphmesh.graph.timeline import CallTiming, Timeline
from graphmesh.graph.wire import graph_from_bytes
from graphmesh.worker.drive import drive

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from graphmesh.core.inference import Inferencer
    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.call import Call
    from graphmesh.registry import GraphRecord, Snapshot
    from graphmesh.worker.handler import Servable
    from graphmesh.worker.hosting.catalog import Catalog
    from graphmesh.worker.metrics.families import CallMetrics, Metrics

__all__ = ["GraphCatalog", "HostedGraph", "Revisions"]

_MAX_COMPILED = 1024


class Revisions(Protocol):
    """Where revisions come from that the snapshot does not have; the registry."""

    async def get_graph(self, name: str, revision: int = 0) -> GraphRecord:
        """Return a revision, or raise NotFound."""
        ...


class Local(Protocol):
    """Runs what is in this process; the handler."""

    async def run(self, servable: Servable, request: InferenceRequest) -> InferenceResponse:
        """Run one request through a model or graph."""
        ...


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A revision and its plan."""

    record: GraphRecord
    plan: Plan


class GraphCatalog:
    """The graphs of the mesh, compiled as they are called."""

    def __init__(
        self,
        revisions: Revisions,
        snapshot: Callable[[], Snapshot],
        *,
        catalog: Catalog,
        mesh: Inferencer,
        metrics: Metrics,
        worker_id: str,
    ) -> None:
        self._revisions = revisions
        self._snapshot = snapshot
        self._compiled: OrderedDict[tuple[str, int], _Compiled] = OrderedDict()
        self.catalog = catalog
        self.mesh = mesh
        self.metrics = metrics
        self.worker_id = worker_id
        self.local: Local | None = None
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
        """
        snapshot = self._snapshot()
        live = snapshot.graphs.get(name)
        if live is not None and revision in {0, live.revision}:
            return HostedGraph(self._compile(live), snapshot, self)
        if not revision:
            return None
        compiled = self._compiled.get((name, revision))
        if compiled is None:
            compiled = self._compile(await self._revisions.get_graph(name, revision))
        return HostedGraph(compiled, snapshot, self)

    def bind(self, name: str, snapshot: Snapshot) -> HostedGraph | None:
        """Return a graph's live revision in a snapshot, bound to it; None if it has no such graph."""
        record = snapshot.graphs.get(name)
        return None if record is None else HostedGraph(self._compile(record), snapshot, self)

    def _compile(self, record: GraphRecord) -> _Compiled:
        key = (record.name, record.revision)
        compiled = self._compiled.get(key)
        if compiled is None or compiled.record.create_time != record.create_time:  # deleted and made again
            plan = make_plan(graph_from_bytes(record.document), lambda name: self._snapshot().signature_of(name))
            compiled = self._compiled[key] = _Compiled(record, plan)
            if len(self._compiled) > _MAX_COMPILED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return compiled


class HostedGraph:
    """One revision of a graph, with the snapshot that a request sees throughout; a `Servable`."""

    __slots__ = ("_owner", "_plan", "_record", "_snapshot")

    platform = "graphmesh_graph"

    def __init__(self, compiled: _Compiled, snapshot: Snapshot, owner: GraphCatalog) -> None:
        self._record = compiled.record
        self._plan = compiled.plan
        self._snapshot = snapshot
        self._owner = owner

    @property
    def name(self) -> str:
        """The graph's name."""
        return self._record.name

    @property
    def version(self) -> str:
        """The revision."""
        return str(self._record.revision)

    @property
    def signature(self) -> Signature:
        """What the graph takes and gives, as resolved when it was applied."""
        return self._record.signature

    @property
    def metrics(self) -> CallMetrics:
        """Where its calls are counted."""
        return self._owner.metrics.graph(self._record.name)

    @property
    def ready(self) -> bool:
        """Whether every node has somewhere to run now, here or in the mesh."""
        return all(self._reachable(step.target, step.version, graph=step.target_is_graph) for step in self._plan.steps)

    def _reachable(self, name: str, version: str, *, graph: bool) -> bool:
        if graph:
            nested = self._owner.bind(name, self._snapshot)
            return nested is not None and nested.ready
        hosted = {model.version for _, model in self._snapshot.available(name)}
        here = self._owner.catalog.available(name, version) is not None
        return here or (version in hosted if version else bool(hosted))

    def all_local(self) -> bool:
        """Return whether every node, nested ones too, can run in this process now."""
        return all(self._target(step.target, step.version, graph=step.target_is_graph) for step in self._plan.steps)

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request.

        Raises:
            InvalidGraph: graphs called one another too deeply (INVALID_ARGUMENT, retry: no).
            SignatureMismatch: the inputs, or the outputs asked for, do not fit (INVALID_ARGUMENT, retry: no).
            GraphmeshError: of the first node that failed, with its name.

        Cancellation: nodes in flight are cancelled and awaited.
        """
        if request.depth >= MAX_DEPTH:
            raise InvalidGraph(f"at most {MAX_DEPTH} graphs may call one another, {self.name!r} would be one more")
        self.signature.check_inputs(request.inputs)
        for name in request.outputs:
            self.signature.output(name)
        timeline = None
        if request.parameters.get("explain") is True:
            timeline = Timeline(self._plan, revision=self._record.revision, start=time.monotonic())
        outputs = await drive(GraphRun(self._plan, request.inputs), lambda call: self._make(call, request, timeline))
        if request.outputs:
            outputs = {name: outputs[name] for name in request.outputs}
        parameters: Mapping[str, Parameter] = {}
        if timeline is not None:
            facts = {**timeline.to_dict(end=time.monotonic()), "worker": self._owner.worker_id}
            parameters = {"explain": orjson.dumps(facts).decode()}
        return InferenceResponse(
            model=self.name, version=self.version, outputs=outputs, id=request.id, parameters=parameters
        )

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request and yield its answer; nodes that stream are not offered yet."""
        yield await self.infer(request)

    async def _make(self, call: Call, request: InferenceRequest, timeline: Timeline | None) -> Mapping[str, Tensor]:
        request.deadline.check("the node was called")
        inner = InferenceRequest(
            model=call.target,
            version=self._pinned(call.target) if call.target_is_graph else call.version,
            inputs=call.inputs,
            outputs=call.outputs,
            parameters={} if timeline is None else {"explain": True},
            deadline=request.deadline,
            headers=request.headers,
            depth=request.depth + 1,
        )
        start = time.monotonic() if timeline is not None else 0.0
        target = self._target(call.target, call.version, graph=call.target_is_graph)
        local = self._owner.local
        if target is not None and local is not None:
            response = await local.run(target, inner)
        else:
            response = await self._owner.mesh.infer(inner)
        if timeline is not None:
            timing = _timing(response, start=start, end=time.monotonic(), fused=target is not None)
            timeline.record(call, timing)
        return response.outputs

    def _pinned(self, graph: str) -> str:
        """Return the revision that a nested graph had when this request began; every call of it names that one."""
        record = self._snapshot.graphs.get(graph)
        return str(record.revision) if record is not None else ""

    def _target(self, name: str, version: str, *, graph: bool) -> Servable | None:
        """Return what can run in this process, None for what must be called through the mesh."""
        if graph:
            nested = self._owner.bind(name, self._snapshot)
            return nested if nested is not None and nested.all_local() else None
        return self._owner.catalog.available(name, version)


def _timing(response: InferenceResponse, *, start: float, end: float, fused: bool) -> CallTiming:
    """Return a call's times, with what the answer itself says about them."""
    facts = _explanation(response)
    nested = facts if "nodes" in facts else None
    parts = {name: facts[f"{name}_ms"] / 1000 for name in ("queue", "compute") if f"{name}_ms" in facts}
    return CallTiming(
        start=start,
        end=end,
        worker=str(facts.get("worker", "")),
        fused=fused,
        version=response.version,
        parts=parts,
        nested=nested,
    )


def _explanation(response: InferenceResponse) -> dict[str, Any]:
    try:
        facts = orjson.loads(str(response.parameters.get("explain", "{}")))
    except orjson.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}
