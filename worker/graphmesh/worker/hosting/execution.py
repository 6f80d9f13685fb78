"""How a loaded model runs its calls: async ones on the event loop, sync ones on threads, in batches if it batches.

Made when the model is loaded, closed when it is unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphmesh.core.clock import NO_DEADLINE
from graphmesh.core.errors import GraphmeshError, ModelFailed, Unsupported
from graphmesh.core.names import new_id
from graphmesh.worker.batching.call import NEVER, Call, Limits, Statistics
from graphmesh.worker.batching.costs import CostCurve
from graphmesh.worker.batching.options import read_priority, read_timeout_s
from graphmesh.worker.batching.refusals import too_slow
from graphmesh.worker.batching.tasks import Tasks
from graphmesh.worker.batching.threads import Threads
from graphmesh.worker.forms.headers import DEPTH, REQUEST_ID
from graphmesh.worker.hosting.compute import Compute, DeviceCompute, device_of
from graphmesh.worker.hosting.context import Context
from graphmesh.worker.hosting.streaming import from_loop, from_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from graphmesh.core.inference import InferenceRequest
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends import LoadedModel
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.batching.call import Timing
    from graphmesh.worker.batching.driver import Driver
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.metrics.families import CallMetrics

__all__ = ["Execution", "Result", "model_failure"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Result:
    """What a call gave."""

    outputs: Mapping[str, Tensor]
    """Tensors by name, checked against the signature; a `DeviceTensor` only of those that the call asked to keep."""
    timing: Timing | None = None
    """When it waited and ran; None for an answer of a stream."""
    headers: Mapping[str, str] | None = None
    """Response headers that the model set."""


class Execution:
    """Runs the calls of one loaded model.

    Raises:
        LoadFailed: the model cannot be batched as it or its operator says (FAILED_PRECONDITION).
    """

    def __init__(self, loaded: LoadedModel, config: ModelConfig, metrics: CallMetrics) -> None:
        self._loaded = loaded
        self._config = config
        self._metrics = metrics
        self.batching = config.batching or loaded.batching
        """How calls are gathered into batches: what the configuration says, or else the model; None if they are not."""
        self.device = device_of(loaded, self.batching)
        """Where calls may bring and take tensors, such as ``cuda:0``; empty: on the host alone."""
        self._compute = (DeviceCompute if self.device else Compute)(config.name, loaded, self.batching)
        self._costs = CostCurve()
        self._instances = self._driver()

    def _driver(self) -> Driver | None:
        """Return what runs the calls; None for an async model that is not batched, which needs no queue."""
        limits = _limits(self._config, self.batching)
        name = f"model {self._config.name!r} version {self._config.version}"
        if not self._loaded.is_async:
            compute = self._compute.alone if self.batching is None else self._compute.together
            return Threads(name, limits, self._metrics, compute)
        return None if self.batching is None else Tasks(name, limits, self._metrics, self._compute.together_async)

    @property
    def statistics(self) -> Statistics:
        """The counts of this moment."""
        return Statistics(running=0, waiting=0) if self._instances is None else self._instances.statistics

    async def infer(self, request: InferenceRequest) -> Result:
        """Run one call, whose inputs fit the signature.

        Raises:
            DeadlinePassed: before the model was begun, or it alone takes longer (DEADLINE_EXCEEDED, retry: no).
            Overloaded: too many calls wait, or for too long (RESOURCE_EXHAUSTED, retry: other endpoint).
            ModelFailed: the model raised, or gave what it did not declare (INTERNAL, retry: no).
            InvalidRequest: inputs that cannot be batched, or `priority` or `timeout` is no such (INVALID_ARGUMENT,
                retry: no).
            Unsupported: the model streams (UNIMPLEMENTED, retry: no).

        Cancellation: an async `predict` is cancelled, a waiting sync one never begins, a running sync one goes on; its
        context says so. A batch goes on for its other callers.
        """
        if self._loaded.signature.streaming:
            raise Unsupported(
                f"model {self._config.name!r} streams; call it by ModelStreamInfer, :predictStream, `graphmesh infer`, "
                "or mesh.stream(...) of a LocalMesh"
            )
        try:
            call = self._call(request)
            if self._instances is None:
                outputs = await self._direct(call)
            else:
                if self.batching is not None:
                    self._compute.measure(call)
                outputs = await self._instances.submit(call)
        except GraphmeshError:
            raise
        except (Exception, SystemExit) as error:
            raise model_failure(self._config, error) from error
        headers = None if call.context is None else call.context.response_headers
        return Result(outputs, call, headers)

    def _call(self, request: InferenceRequest) -> Call:
        call = Call(request.inputs, time.monotonic())
        if request.deadline is not NO_DEADLINE:
            call.deadline = request.deadline.at
        if request.headers:
            call.request_id = request.headers.get(REQUEST_ID, "")
        if request.parameters:
            call.priority = read_priority(request.parameters)
            call.start_by = call.asked + read_timeout_s(request.parameters)
        if request.keep:
            call.keep = request.keep
        if self._loaded.wants_context:
            call.context = self.context(request)
        return call

    async def _direct(self, call: Call) -> Mapping[str, Tensor]:
        """Run an async model at once on the event loop: not batched, it gains nothing by waiting."""
        if (refusal := too_slow(self._config.name, call, self._costs, call.asked)) is not None:
            self._metrics.refuse(refusal.reason)
            raise refusal.error
        call.begun, call.batch_rows = call.asked, 1
        try:
            outputs = await self._compute.direct(call)
        except asyncio.CancelledError:
            if call.context is not None:
                call.context.cancel()
            raise
        finally:
            call.ended = time.monotonic()
            self._metrics.batch(1, 1, call.ended - call.begun)
        self._costs.learn(1.0, call.ended - call.begun, call.ended)
        return outputs

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Result, None]:
        """Run one call and yield each of its answers: one for a model that does not stream.

        Raises as `infer`, also after the first answers.

        Cancellation: closing the generator closes the model's at its next yield.
        """
        if not self._loaded.signature.streaming:
            yield await self.infer(request)
            return
        context = self.context(request)
        if self._loaded.is_async:
            answers = from_loop(self._on_loop(request, context), deadline=request.deadline)
        else:
            answers = from_thread(
                functools.partial(self._submit, request),
                lambda: self._on_thread(request, context),
                name=f"{self._config.name}-{self._config.version}",
                deadline=request.deadline,
            )
        try:
            async with contextlib.aclosing(answers):
                try:
                    async for result in answers:
                        yield result
                finally:
                    context.cancel()  # before the generator is closed, so that it can know why
        except GraphmeshError:
            raise
        except (Exception, SystemExit) as error:
            raise model_failure(self._config, error) from error

    async def _submit(self, request: InferenceRequest, work: Callable[[Any], None], argument: Any) -> None:  # noqa: ANN401 - what `work` takes
        """Run a function on an instance, in the place of a call.

        Its deadline is not the queue's affair: a stream is worth beginning even if it will not come to its end.
        """
        assert self._instances is not None, "a sync model must have instances"  # noqa: S101
        call = self._call(request)
        call.inputs, call.work, call.deadline = argument, work, NEVER
        await self._instances.submit(call)

    def _on_thread(self, request: InferenceRequest, context: Context) -> Generator[Result, None, None]:
        with contextlib.closing(self._run_stream(request, context)) as answers:
            for outputs in answers:
                yield self._streamed(outputs, context)

    async def _on_loop(self, request: InferenceRequest, context: Context) -> AsyncGenerator[Result, None]:
        async with contextlib.aclosing(self._run_stream(request, context)) as answers:
            async for outputs in answers:
                yield self._streamed(outputs, context)

    def _run_stream(self, request: InferenceRequest, context: Context) -> Any:  # noqa: ANN401 - a generator, see `Run`
        loaded = self._loaded
        return loaded.run(request.inputs, (context,)) if loaded.wants_context else loaded.run(request.inputs)

    def _streamed(self, outputs: Mapping[str, Tensor], context: Context) -> Result:
        self._compute.check(outputs)
        return Result(outputs, headers=dict(context.response_headers) or None)

    def context(self, request: InferenceRequest) -> Context:
        """Return what the model can know of a call."""
        context = Context(
            model=self._config.name,
            version=self._config.version,
            request_id=request.headers.get(REQUEST_ID, ""),
            deadline=request.deadline,
            # A node of a graph has no caller of its own, but what travels with the call reaches it.
            headers=request.metadata or {**request.headers, DEPTH: str(request.depth)},
            parameters=request.parameters,
        )
        context.inputs = request.inputs
        return context

    def close(self) -> None:
        """Let the instances end after what they run; calls still waiting fail with ModelNotReady."""
        if self._instances is not None:
            self._instances.close()


def _limits(config: ModelConfig, batching: Batching | None) -> Limits:
    limits = Limits(instances=max(1, config.instances), max_waiting=config.max_waiting, max_wait_s=config.max_wait_s)
    if batching is None:
        return limits
    return dataclasses.replace(
        limits,
        max_rows=batching.max_batch_size,
        max_cost=batching.max_cost or NEVER,
        max_delay_s=batching.max_delay_ms / 1000,
    )


def model_failure(config: ModelConfig, error: BaseException) -> ModelFailed:
    """Log what a model raised, and return what the client sees: an id under which the log has it."""
    failure = new_id("failure")
    logger.error("model failed model=%s version=%s id=%s", config.name, config.version, failure, exc_info=error)
    return ModelFailed(f"model {config.name!r} failed; the worker's log has the reason under {failure}")
