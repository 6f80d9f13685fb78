"""One version of one model on this worker, from its loading to its unloading.

States only go forward; what is loaded again is another `Model`::

    LOADING ──► AVAILABLE ──► UNLOADING ──► UNLOADED
       │            │                          ▲
       └────────────┴──────► FAILED ───────────┘

AVAILABLE is set after the model can answer. UNLOADING is set while it still does: calls that were sent before the mesh
heard of it are run, until `unload` refuses new ones and lets those in flight finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from graphmesh.core.errors import ModelNotReady
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.core.status import as_graphmesh_error
from graphmesh.registry import HostedModel, ModelState
from graphmesh.worker.backends import LoadedModel, load_model
from graphmesh.worker.hosting.execution import Execution, Result
from graphmesh.worker.hosting.own_thread import on_own_thread
from graphmesh.worker.hosting.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.batching.call import Timing
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.memory import LoadMeter
    from graphmesh.worker.metrics.families import Metrics

__all__ = ["Model"]

logger = logging.getLogger(__name__)

_UNLOAD_S = 10.0
_NOTHING_SAID: Mapping[str, object] = MappingProxyType({})


class Model:
    """A hosted model; a `Servable` once it is available."""

    def __init__(self, config: ModelConfig, *, worker_id: str, metrics: Metrics, meter: LoadMeter) -> None:
        self.config = config
        self.name = config.name
        self.version = config.version
        self.state = ModelState.LOADING
        self.message = ""
        """Why it failed, or why it could not be loaded again."""
        self.metrics = metrics.model(config.name, config.version)
        self.changed: Callable[[], None] = _nothing
        """Called after each change that the worker's record shows."""
        self.load_id = secrets.token_hex(8)
        """What tells what was loaded from every other load of the same version, here and elsewhere."""
        self._worker_id = worker_id
        self._meter = meter
        self._grown_bytes = 0
        self._loaded: LoadedModel | None = None
        self._execution: Execution | None = None
        self._open = False
        self._calls = 0
        self._idle = asyncio.Event()

    @property
    def signature(self) -> Signature:
        """What it takes and gives; raises ModelNotReady while that is unknown."""
        self._ready()
        assert self._loaded is not None, "an available model must be loaded"  # noqa: S101
        return self._loaded.signature

    @property
    def platform(self) -> str:
        """The backend and its version; empty while not loaded."""
        return self._loaded.platform if self._loaded else ""

    @property
    def ready(self) -> bool:
        """Whether calls would be run now."""
        return self.state is ModelState.AVAILABLE

    @property
    def waiting(self) -> int:
        """Calls in its queue now."""
        return self._execution.statistics.waiting if self._execution else 0

    @property
    def memory_bytes(self) -> int:
        """Memory that it is known to take now, bytes; 0 while that is unknown."""
        known = self._loaded.memory_bytes if self._loaded else 0
        return known or self._grown_bytes

    @property
    def batching(self) -> Batching | None:
        """How its calls are gathered into batches; None while it is not loaded, or if they are not."""
        return self._execution.batching if self._execution else None

    @property
    def device(self) -> str:
        """Where it takes and, if asked to `keep` them, gives tensors of a device; empty: on the host alone."""
        return self._execution.device if self._execution else ""

    @property
    def hosted(self) -> HostedModel:
        """How the worker's record lists it."""
        return HostedModel(
            name=self.name,
            version=self.version,
            state=self.state,
            signature_digest=self._loaded.signature.digest if self._loaded and self._open else "",
            platform=self.platform,
            message=self.message,
            memory_bytes=self.memory_bytes,
            load_id=self.load_id if self._open else "",
        )

    def remark(self, message: str) -> None:
        """Show a message beside the state, which stays as it is."""
        self.message = message
        self.changed()

    async def load(self) -> None:
        """Load the model on a thread of its own and warm it up; a failure ends in FAILED with the reason.

        Cancellation: what was loaded so far is let go of.
        """
        started = time.monotonic()
        try:
            self._loaded = await self._obtain()
            config = self._tuned(self._loaded)
            self._execution = Execution(self._loaded, config, self.metrics)
            await warm_up(self._execution, self._loaded.signature, config)
            self._confirm()
        except asyncio.CancelledError:
            await self._let_go()
            raise
        except Exception as error:  # noqa: BLE001 - whatever one model does, it ends in its own state
            reason = as_graphmesh_error(error).message
            logger.error("model failed to load model=%s version=%s reason=%s", self.name, self.version, reason)  # noqa: TRY400 - who raised it has logged the traceback
            await self._let_go()
            self._enter(ModelState.FAILED, reason)
            return
        self._open = True
        seconds = time.monotonic() - started
        logger.info("model loaded model=%s version=%s seconds=%.2f", self.name, self.version, seconds)
        self._enter(ModelState.AVAILABLE)

    async def _obtain(self) -> LoadedModel:
        loaded, self._grown_bytes = await self._meter.measure(lambda: on_own_thread(load_model, self.config))
        return loaded

    def _tuned(self, loaded: LoadedModel) -> ModelConfig:  # noqa: ARG002 - for a model that knows it by what was loaded
        """Return the configuration that calls run with."""
        return self.config

    def _confirm(self) -> None:
        """Raise LoadFailed if what was loaded is gone by now."""

    def retire(self) -> None:
        """Say that the model will be unloaded; it goes on answering until `unload`."""
        if self.state is ModelState.AVAILABLE:
            self._enter(ModelState.UNLOADING)

    async def unload(self, grace_s: float = 0.0) -> None:
        """Take no new calls, let those in flight finish for ``grace_s`` seconds, and give back what the model holds.

        A sync call that still runs cannot be stopped, and `unload` must not run beside it: then the model is let go of
        as it is.
        """
        self.retire()
        self._open = False
        if self._calls and grace_s:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
        await self._let_go()
        if self.state in {ModelState.UNLOADING, ModelState.FAILED}:
            self._enter(ModelState.UNLOADED)

    async def _let_go(self) -> None:
        loaded, execution, self._loaded, self._execution = self._loaded, self._execution, None, None
        self._open = False
        self._grown_bytes = 0
        if execution is not None:
            execution.close()
        if loaded is not None:
            running = execution is not None and execution.statistics.running > 0
            await self._dismiss(loaded, busy=running or self._calls > 0)

    async def _dismiss(self, loaded: LoadedModel, *, busy: bool) -> None:
        if busy:
            logger.warning("model is busy and cannot be unloaded model=%s version=%s", self.name, self.version)
            return
        try:
            async with asyncio.timeout(_UNLOAD_S):
                await on_own_thread(_unload, loaded)
        except Exception:
            logger.exception("model failed to unload model=%s version=%s", self.name, self.version)

    def _enter(self, state: ModelState, message: str = "") -> None:
        assert state > self.state, f"states go forward only, not from {self.state.name} to {state.name}"  # noqa: S101
        self.state, self.message = state, message
        self.changed()

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request.

        Inputs may be `DeviceTensor` if `device` says where; those of another device go through the host. Outputs that
        the request names in `keep` may come back as such, all others are arrays.

        Raises:
            ModelNotReady: loading, unloaded or failed (UNAVAILABLE, retry: other endpoint).
            SignatureMismatch: the inputs, or the outputs asked for, do not fit (INVALID_ARGUMENT, retry: no).
            GraphmeshError: as `Execution.infer`.
        """
        execution = self._ready()
        self._check(request)
        self._calls += 1
        try:
            return self._response(request, await execution.infer(request))
        finally:
            self._ended()

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request and yield each of its answers, one for a model that does not stream; raises as `infer`."""
        execution = self._ready()
        self._check(request)
        self._calls += 1
        told = self.signature.streaming and _explains(request)
        begun, answers, first_ms = time.monotonic(), 0, 0.0
        said = _NOTHING_SAID
        try:
            async with contextlib.aclosing(execution.stream(request)) as results:
                async for result in results:
                    if told:
                        answers += 1
                        now_ms = round((time.monotonic() - begun) * 1000, 3)
                        first_ms = first_ms or now_ms
                        said = {"duration_ms": now_ms, "answers": answers, "first_answer_ms": first_ms}
                    yield self._response(request, result, said)
        finally:
            self._ended()

    def _ended(self) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    def _check(self, request: InferenceRequest) -> None:
        signature = self.signature
        signature.check_inputs(request.inputs)
        for name in request.outputs:
            signature.output(name)

    def _response(
        self, request: InferenceRequest, result: Result, said: Mapping[str, object] = _NOTHING_SAID
    ) -> InferenceResponse:
        outputs = result.outputs
        if request.outputs:
            outputs = {name: outputs[name] for name in request.outputs}
        response = InferenceResponse(model=self.name, version=self.version, outputs=outputs, id=request.id)
        if _explains(request):
            response.parameters = {"explain": self._explain(result.timing, said)}
        if result.headers:
            response.headers = result.headers
        return response

    def _explain(self, timing: Timing | None, said: Mapping[str, object]) -> str:
        facts: dict[str, object] = {"model": self.name, "version": self.version, "worker": self._worker_id, **said}
        if timing is not None:
            facts["queue_ms"] = round((timing.begun - timing.asked) * 1000, 3)
            took, computed = timing.ended - timing.begun, timing.computed_s
            if computed:
                facts["batch_ms"] = round((took - computed) * 1000, 3)
            facts["compute_ms"] = round((computed or took) * 1000, 3)
            facts["batch_rows"] = timing.batch_rows
        return orjson.dumps(facts).decode()

    def _ready(self) -> Execution:
        if self._open and self._execution is not None:
            return self._execution
        reason = f": {self.message}" if self.message else ""
        raise ModelNotReady(f"model {self.name!r} version {self.version} is {self.state.name} here{reason}")


def _explains(request: InferenceRequest) -> bool:
    return request.parameters.get("explain") is True


def _unload(loaded: LoadedModel) -> None:
    loaded.unload()


def _nothing() -> None:
    """Tell nobody."""
