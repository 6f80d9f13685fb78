"""Makes the calls of one run: in this process where it can, else through the mesh.

Models here get views of tensors that they cannot write to, since others read the same ones. What goes to a graph
elsewhere has in its headers which revisions the graphs inside it have for this request, how many calls are left, and
those of the caller's headers that conditions in there name. Its answer says how many calls it made.

Below a cache, whose key has no headers, calls carry only what says which request and trace they are of, and a graph
elsewhere is told that its conditions see none of these, nor those of the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.errors import Cancelled
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.status import as_graphmesh_error
from graphmesh.graph.running.host import Answer
from graphmesh.graph.spec import GraphCall
from graphmesh.worker.drive import Drive, told
from graphmesh.worker.forms.headers import CALLS, REQUEST_ID, REVISIONS, SEALED
from graphmesh.worker.graphs.account import CallAccount
from graphmesh.worker.graphs.reach import all_here, inside
from graphmesh.worker.hosting.device import on_host
from graphmesh.worker.tracing.context import TRACEPARENT, TRACESTATE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Hashable, Iterable, Mapping

    from graphmesh.core.inference import InferenceResponse, Parameter
    from graphmesh.graph.running.call import Call
    from graphmesh.graph.spec import ModelCall, Target
    from graphmesh.worker.graphs.catalog import Bound, GraphCatalog
    from graphmesh.worker.handler import Servable
    from graphmesh.worker.hosting.device import AnyTensor
    from graphmesh.worker.hosting.model import Model

__all__ = ["GraphHost"]

_EXPLAIN: Mapping[str, Parameter] = {"explain": True}
_NO_PARAMETERS: Mapping[str, Parameter] = {}
_NO_METADATA: Mapping[str, str] = {}
_OF_ONE_CALL = frozenset({CALLS, REVISIONS, SEALED})
"""Headers that are meant for the graph that was called, not for what it calls."""
_NO_INPUT = frozenset({REQUEST_ID, TRACEPARENT, TRACESTATE})
"""Headers that no answer may depend on."""


class GraphHost(Drive):
    """The host of one run; see `graphmesh.graph.running.host.Host`.

    Args:
        bound: The graph.
        owner: What it shares with all graphs.
        request: The request that led to the run.
        explain: Ask for times.
        within: The host of the graph that calls this one in the same process.
    """

    __slots__ = (
        "_bound",
        "_depth",
        "_explain",
        "_fused",
        "_headers",
        "_kept",
        "_model_parameters",
        "_owner",
        "_request",
    )

    def __init__(
        self,
        bound: Bound,
        owner: GraphCatalog,
        request: InferenceRequest,
        *,
        explain: bool,
        within: GraphHost | None = None,
    ) -> None:
        super().__init__()
        self._bound = bound
        self._owner = owner
        self._request = request
        self._depth = request.depth + 1
        self._explain = explain
        self._headers = _without(request.headers)
        self._model_parameters = _EXPLAIN if explain else _NO_PARAMETERS
        self._kept = False
        self._fused: dict[str, Bound | None] = {} if within is None else within._fused  # noqa: SLF001 - of our own kind

    async def call(self, call: Call) -> Answer:
        """Make one call; see `graphmesh.graph.running.host.Host`."""
        here, request = self._resolve(call)
        account = CallAccount(call, fused=here is not None) if self._explain else None
        start = time.monotonic()
        try:
            if here is None:
                response = await self._owner.mesh.infer(request)
            else:
                response = await self._owner.local.run(here, request)
        except BaseException as error:
            ours = _ours(error)
            if not isinstance(ours, Exception):  # given up, which says something about its time
                end = time.monotonic()
                self._owner.estimates.learn_longer(call.target, end - start, end)
            if account is not None:
                account.ended(error=ours)
            raise ours from error
        end = time.monotonic()
        self._owner.estimates.learn(call.target, end - start, end)
        if account is not None:
            account.ended(response)
        if not response.parameters or not call.is_graph:
            return Answer(response.outputs)
        if here is None:
            call.run.budget.charge(_calls(response) - 1)
        return Answer(response.outputs, _degraded(response))

    async def stream(self, call: Call) -> AsyncGenerator[Answer, None]:
        """Make one call and yield each of its answers; see `graphmesh.graph.running.host.Host`."""
        here, request = self._resolve(call)
        account = CallAccount(call, fused=here is not None) if self._explain else None
        answers = self._owner.mesh.stream(request) if here is None else self._owner.local.stream(here, request)
        counted = False
        try:
            async with contextlib.aclosing(answers):
                async for response in answers:
                    if here is None and call.is_graph:
                        call.run.budget.charge(_calls(response) - (not counted))
                        counted = True
                    if account is not None:
                        account.answered(response)
                    yield Answer(response.outputs, _degraded(response) if call.is_graph else ())
        except BaseException as error:
            ours = _ours(error)
            if account is not None:
                account.ended(error=ours)
            raise ours from error
        if account is not None:
            account.ended()

    def _resolve(self, call: Call) -> tuple[Servable | None, InferenceRequest]:
        """Return what in this process is to be called, None for the mesh, and the request for it."""
        target = call.target
        if isinstance(target, GraphCall):
            return self._resolve_graph(call, target)
        versions = self._bound.versions
        model = versions.here(target)
        request = self._ask(call, self._model_parameters)
        if model is None:
            request.version = versions.elsewhere(target)
            if self._kept:
                request.inputs = on_host(request.inputs)
            return None, request
        if call.stay and model.device:
            request.keep = self._keep(call, model)
        if self._kept and not model.device:
            request.inputs = on_host(request.inputs)
        request.inputs = _read_only(request.inputs)
        return model, request

    def _resolve_graph(self, call: Call, target: GraphCall) -> tuple[Servable | None, InferenceRequest]:
        parameters = call.run.parameters
        if self._explain and "explain" not in parameters:  # hidden below a cache
            parameters = {**parameters, **_EXPLAIN}
        request = self._ask(call, parameters)
        if self._kept:
            request.inputs = on_host(request.inputs)
        bound = self._nested(target.name)
        if bound is not None:
            return self._owner.inside(bound, self, call.run), request
        run = call.run
        sealed = {} if run.headers else {SEALED: "1"}
        request.headers = {**request.headers, CALLS: str(run.budget.calls_left), **sealed}
        run.budget.spend()
        there = self._owner.bind(target.name, self._bound.snapshot)
        if there is not None:
            request.version = str(there.record.revision)
            named, revisions = self._owner.told(there)
            told = {name: run.headers[name] for name in named if name in run.headers}
            request.headers = {**told, **request.headers, **({REVISIONS: revisions} if revisions else {})}
        return None, request

    def _ask(self, call: Call, parameters: Mapping[str, Parameter]) -> InferenceRequest:
        return InferenceRequest(
            model=call.target.name,
            inputs=call.inputs,
            parameters=parameters,
            outputs=call.outputs,
            deadline=call.deadline,
            headers=self._headers if call.run.headers else _only(self._headers, _NO_INPUT),
            metadata=_NO_METADATA,
            depth=self._depth,
            node=call.path,
        )

    def _nested(self, name: str) -> Bound | None:
        """Return a nested graph that can run in this process, None for one to be called through the mesh.

        It is decided once for a request, so that all its calls see the same.
        """
        if name not in self._fused:
            bound = self._owner.bind(name, self._bound.snapshot)
            here = bound is not None and all_here(bound, inside(bound, self._owner))
            self._fused[name] = bound if here else None
        return self._fused[name]

    def _keep(self, call: Call, model: Model) -> tuple[str, ...]:
        """Return the outputs that all their readers take on the model's own device."""
        keep = tuple(name for name, targets in call.stay.items() if self._all_on(model.device, targets))
        self._kept = self._kept or bool(keep)
        return keep

    def _all_on(self, device: str, targets: Iterable[Target]) -> bool:
        for target in targets:
            model = None if isinstance(target, GraphCall) else self._bound.versions.here(target)
            if model is None or model.device != device:
                return False
        return True

    def expected_s(self, target: Target) -> float:
        """Return how long a call takes at least half of the time; 0 while that is not known."""
        return self._owner.estimates.seconds(target, time.monotonic())

    def versions(self, targets: Iterable[Target]) -> Hashable:
        """Return what would answer calls of these targets now: equal values promise equal models."""
        return tuple(_loads(target, self._bound, self._owner) for target in targets)


def _loads(target: Target, bound: Bound, owner: GraphCatalog) -> Hashable:
    """Return which loads of models, and which revisions of graphs, may answer a call by a graph in this process."""
    if not isinstance(target, GraphCall):
        return _loads_of(target, bound, here=True)
    nested = owner.bind(target.name, bound.snapshot)
    if nested is None:
        return target
    within = inside(nested, owner)
    graphs, fused = (nested, *within.values()), all_here(nested, within)
    return frozenset(
        (graph.record.name, graph.record.revision, graph.record.create_time) for graph in graphs
    ), frozenset(
        (model, _loads_of(model, graph, here=fused))
        for graph in graphs
        for model in graph.plan.targets
        if not isinstance(model, GraphCall)
    )


def _loads_of(model: ModelCall, bound: Bound, *, here: bool) -> Hashable:
    """Return which loads of a model may answer a call; ``here``: by a graph in this process.

    Of a model elsewhere these are the loads of all replicas, as any of them may answer. It is all of them, and not the
    newest, or an answer of an old one would be kept that is replaced, and not loaded again, a moment later.
    """
    local = bound.versions.here(model) if here else None
    if local is not None:
        return frozenset({(local.version, local.load_id)})
    version = bound.versions.elsewhere(model)
    return frozenset(
        (hosted.version, hosted.load_id)
        for _, hosted in bound.snapshot.available(model.name)
        if version in {"", hosted.version}
    )


def _ours(error: BaseException) -> BaseException:
    """Return what to raise for an error: any is made one of ours, also a cancellation that nobody asked for."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return told(error) if task is None or task.cancelling() else Cancelled("the call was cancelled")
    return as_graphmesh_error(error) if isinstance(error, Exception) else error


def _read_only(inputs: Mapping[str, AnyTensor]) -> dict[str, Any]:
    """Return tensors that a model cannot write to, since others read them, too; the arrays of their makers stay."""
    views: dict[str, Any] = {}
    for name, tensor in inputs.items():
        if isinstance(tensor, np.ndarray):  # one on a device is never written to
            views[name] = view = tensor[...]
            view.setflags(write=False)
        else:
            views[name] = tensor
    return views


def _without(headers: Mapping[str, str]) -> Mapping[str, str]:
    return headers if headers.keys().isdisjoint(_OF_ONE_CALL) else _only(headers, headers.keys() - _OF_ONE_CALL)


def _only(headers: Mapping[str, str], names: Collection[str]) -> Mapping[str, str]:
    return {name: value for name, value in headers.items() if name in names}


def _calls(response: InferenceResponse) -> int:
    """Return how many calls a graph elsewhere says its answer took; the call itself, if it does not say."""
    calls = response.parameters.get("calls")
    return max(calls, 1) if isinstance(calls, int) else 1


def _degraded(response: InferenceResponse) -> tuple[str, ...]:
    paths = response.parameters.get("degraded")
    return tuple(str(paths).split(",")) if paths else ()
