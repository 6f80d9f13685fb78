"""One revision of a graph, called like a model."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import orjson

from graphmesh.core.errors import FailedPrecondition, InvalidGraph, Unsupported
from graphmesh.core.inference import InferenceResponse, Parameter
from graphmesh.graph.limits import MAX_CALLS, MAX_DEPTH
from graphmesh.graph.running.budget import Budget, size_of
from graphmesh.graph.running.frame import Run
from graphmesh.graph.running.positions import stream_plan
from graphmesh.graph.running.run import admit, run_plan
from graphmesh.graph.running.timeline import Timeline
from graphmesh.worker.forms.headers import CALLS, REVISIONS, SEALED
from graphmesh.worker.graphs.host import GraphHost
from graphmesh.worker.graphs.reach import reachable
from graphmesh.worker.tracing.context import travelling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.inference import InferenceRequest
    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.graphs.catalog import Bound, GraphCatalog
    from graphmesh.worker.metrics.families import CallMetrics

__all__ = ["HostedGraph"]


class HostedGraph:
    """One revision of a graph, with the snapshot that a request sees throughout; a `Servable`.

    Args:
        bound: The revision in its snapshot.
        owner: What it shares with all graphs.
        within: The host and run of the graph that calls it in this process; None for a request of its own.
    """

    __slots__ = ("_bound", "_owner", "_within")

    platform = "graphmesh_graph"

    def __init__(self, bound: Bound, owner: GraphCatalog, within: tuple[GraphHost, Run] | None = None) -> None:
        self._bound = bound
        self._owner = owner
        self._within = within

    @property
    def name(self) -> str:
        """The graph's name."""
        return self._bound.record.name

    @property
    def version(self) -> str:
        """The revision."""
        return str(self._bound.record.revision)

    @property
    def signature(self) -> Signature:
        """What the graph takes and gives, as resolved when it was applied."""
        return self._bound.record.signature

    @property
    def metrics(self) -> CallMetrics:
        """Where its calls are counted."""
        return self._owner.metrics.graph(self._bound.record.name)

    @property
    def ready(self) -> bool:
        """Whether every step that a run needs has somewhere to run now, here or in the mesh."""
        return reachable(self._bound, self._owner)

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request.

        Raises:
            InvalidGraph: graphs called one another too deeply (INVALID_ARGUMENT, retry: no).
            InvalidRequest: the header that fixes revisions cannot be read (INVALID_ARGUMENT, retry: no).
            NotFound: a revision that it fixes does not exist any more (NOT_FOUND, retry: no).
            FailedPrecondition: it works with no version of its models that is served; names the edge
                (FAILED_PRECONDITION, retry: no).
            SignatureMismatch: the inputs, or the outputs asked for, do not fit (INVALID_ARGUMENT, retry: no).
            Unsupported: the graph streams (UNIMPLEMENTED, retry: no).
            DeadlinePassed: the deadline passed, or its steps are expected to take longer than what is left
                (DEADLINE_EXCEEDED, retry: no).
            Overloaded: the request leads to too many calls or too many bytes (RESOURCE_EXHAUSTED, retry: no).
            GraphmeshError: of the first step that failed, with its path.

        Cancellation: steps in flight are cancelled and awaited; none begins.
        """
        if REVISIONS in request.headers:
            await self._fix(request)
        plan = self._bound.plan
        if plan.streams:
            raise Unsupported(
                f"graph {self.name!r} streams; call it by ModelStreamInfer, :predictStream, `graphmesh infer`, or "
                "mesh.stream(...) of a LocalMesh"
            )
        run = self._begin(request)
        if self._within is not None:  # whoever called it watches the deadline, and has counted the inputs
            return self._response(request, run, await run_plan(plan, request.inputs, run, request.deadline))
        run.budget.hold(size_of(request.inputs.values()))
        if request.deadline.at == _NEVER:
            return self._response(request, run, await run_plan(plan, request.inputs, run, request.deadline))
        late = f"graph {plan.graph}: the deadline passed before the answer was there"
        async with run.host.limit(request.deadline.at, late):
            return self._response(request, run, await run_plan(plan, request.inputs, run, request.deadline))

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request and yield each of its answers, one if the graph does not stream; raises as `infer`.

        Each answer is computed once it is asked for. What it says of the run (`degraded`, `explain`) is what is known
        by then. Each may take as many calls as one answer of a graph that does not stream.

        Cancellation: closing it closes the streams inside.
        """
        if REVISIONS in request.headers:
            await self._fix(request)
        plan = self._bound.plan
        if not plan.streams:
            yield await self.infer(request)
            return
        run = self._begin(request)
        if self._within is None:
            run.budget.hold(size_of(request.inputs.values()))
        async with contextlib.aclosing(stream_plan(plan, request.inputs, run, request.deadline)) as answers:
            async for outputs in answers:
                yield self._response(request, run, outputs)
                if self._within is None:
                    run.budget.renew()

    async def _fix(self, request: InferenceRequest) -> None:
        """See the graphs inside this one as the graph elsewhere does that called it."""
        self._bound = await self._owner.fixed(self._bound, request.headers[REVISIONS])

    def _begin(self, request: InferenceRequest) -> Run:
        """Check a request and return its run."""
        record, plan = self._bound.record, self._bound.plan
        if request.depth >= MAX_DEPTH:
            raise InvalidGraph(f"at most {MAX_DEPTH} graphs may call one another, {record.name!r} would be one more")
        problem = self._bound.versions.problem
        if problem is not None:
            raise FailedPrecondition(f"graph {record.name!r} is not ready: {problem.message}")
        record.signature.check_inputs(request.inputs)
        for name in request.outputs:
            record.signature.output(name)
        if request.metadata:  # it came over the network: its trace goes on with the calls that it leads to
            request.headers = {**travelling(request.metadata.get), **request.headers}
        host, around = self._within or (None, None)
        explain = request.parameters.get("explain") is True
        inner = GraphHost(self._bound, self._owner, request, explain=explain, within=host)
        run = Run(
            graph=plan.graph,
            host=inner,
            budget=_budget(request) if around is None else around.budget,
            parameters=request.parameters,
            headers=_seen(request) if around is None else around.headers,
            timeline=Timeline(self._bound.graph, revision=record.revision, start=inner.now()) if explain else None,
        )
        if request.deadline.at != _NEVER:
            admit(plan, run, request.deadline, expected_s=self._bound.expected_s(inner.expected_s))
        return run

    def _response(self, request: InferenceRequest, run: Run, outputs: Mapping[str, Tensor]) -> InferenceResponse:
        if request.outputs:
            outputs = {name: outputs[name] for name in request.outputs}
        parameters: dict[str, Parameter] = {}
        if run.degraded:
            parameters["degraded"] = ",".join(dict.fromkeys(run.degraded))
        if self._within is None and CALLS in request.headers:
            parameters["calls"] = run.budget.max_calls - run.budget.calls_left
        if run.timeline is not None:
            facts = {**run.timeline.to_dict(end=time.monotonic()), "worker": self._owner.worker_id}
            parameters["explain"] = orjson.dumps(facts).decode()
        return InferenceResponse(
            model=run.graph, version=self.version, outputs=outputs, id=request.id, parameters=parameters
        )


_NEVER = float("inf")


def _seen(request: InferenceRequest) -> Mapping[str, str]:
    """Return the headers that conditions see: those that the request came with; none below a cache elsewhere."""
    return {} if SEALED in request.headers else request.metadata or request.headers


def _budget(request: InferenceRequest) -> Budget:
    """Return what a request may use: what is left of the calls, if another graph elsewhere led to it."""
    left = request.headers.get(CALLS)
    return Budget() if left is None else Budget(calls=min(int(left), MAX_CALLS))
