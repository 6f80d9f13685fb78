"""One version of one model on this worker, from its loading to its unloading.

States only go forward::

    LOADING --> AVAILABLE --> UNLOADING
       |
       +------> FAILED

AVAILABLE is set after the model can answer, UNLOADING before it cannot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import orjson

from graphmesh.core.errors import GraphmeshError, LoadFailed, ModelFailed, ModelNotReady, SignatureMismatch
from graphmesh.core.inference import InferenceRequest, InferenceResponse, Parameter
from graphmesh.core.names import new_id
from graphmesh.registry import HostedModel, ModelState
from graphmesh.worker.backends import LoadedModel, load_model
from graphmesh.worker.instances import Instances, Timing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.metrics import Metrics

__all__ = ["Model"]

logger = logging.getLogger(__name__)

_UNLOAD_S = 10.0


class Model:
    """A hosted model; an `Inferencer` once it is available."""

    def __init__(self, config: ModelConfig, *, worker_id: str, metrics: Metrics) -> None:
        self.config = config
        self.name = config.name
        self.version = config.version
        self.state = ModelState.LOADING
        self.message = ""
        self._worker_id = worker_id
        self._loaded: LoadedModel | None = None
        self._instances = Instances(f"{config.name}-{config.version}", config.instances)
        self.metrics = metrics.model(config.name, config.version, lambda: self._instances.statistics)

    @property
    def signature(self) -> Signature:
        """What it takes and gives; raises ModelNotReady while that is unknown."""
        return self._ready().signature

    @property
    def platform(self) -> str:
        """The backend and its version; empty while not loaded."""
        return self._loaded.platform if self._loaded else ""

    @property
    def ready(self) -> bool:
        """Whether calls would be run now."""
        return self.state is ModelState.AVAILABLE

    @property
    def hosted(self) -> HostedModel:
        """How the worker's record lists it."""
        return HostedModel(
            name=self.name,
            version=self.version,
            state=self.state,
            signature_digest=self._loaded.signature.digest if self._loaded else "",
            platform=self.platform,
            message=self.message,
        )

    async def load(self) -> None:
        """Load the model on its own thread; a failure ends in FAILED with the reason, never in an exception."""
        started = time.monotonic()
        try:
            self._loaded, _ = await self._instances.run(load_model, self.config)
        except LoadFailed as error:
            self.state, self.message = ModelState.FAILED, error.message
            self._instances.close()
            logger.error("model failed to load model=%s version=%s reason=%s", self.name, self.version, error.message)  # noqa: TRY400 - the backend logged the traceback
            return
        self.state = ModelState.AVAILABLE
        seconds = time.monotonic() - started
        logger.info("model loaded model=%s version=%s seconds=%.2f", self.name, self.version, seconds)

    async def unload(self) -> None:
        """Take no new calls and give back what the model holds; a model that was not available stays as it is.

        A sync call that still runs cannot be stopped, and `unload` must not run beside it: then the model is let go of
        as it is.
        """
        if self.state is not ModelState.AVAILABLE or self._loaded is None:
            return
        self.state = ModelState.UNLOADING
        try:
            if self._instances.statistics.running:
                logger.warning("model is busy and cannot be unloaded model=%s version=%s", self.name, self.version)
                return
            async with asyncio.timeout(_UNLOAD_S):
                await self._instances.run(_unload, self._loaded)
        except Exception:
            logger.exception("model failed to unload model=%s version=%s", self.name, self.version)
        finally:
            self._instances.close()

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request.

        Raises:
            ModelNotReady: loading, unloading or failed to load (UNAVAILABLE, retry: other endpoint).
            SignatureMismatch: the inputs, or the outputs asked for, do not fit (INVALID_ARGUMENT, retry: no).
            DeadlinePassed: before the model was begun (DEADLINE_EXCEEDED, retry: no).
            Overloaded: too many calls wait for an instance (RESOURCE_EXHAUSTED, retry: other endpoint).
            ModelFailed: the model raised, or gave what it did not declare (INTERNAL, retry: no).

        Cancellation: an async `predict` is cancelled, a waiting sync one never begins, a running sync one goes on.
        """
        loaded = self._ready()
        signature = loaded.signature
        signature.check_inputs(request.inputs)
        for name in request.outputs:
            signature.output(name)
        timing: Timing | None = None
        try:
            if loaded.is_async:
                running: Any = loaded.run(request.inputs)
                result = await running
            else:
                result, timing = await self._instances.run(loaded.run, request.inputs)
                self.metrics.queue.add(timing.begun - timing.asked)
        except GraphmeshError:
            raise
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error
        try:
            signature.check_outputs(result)
        except SignatureMismatch as error:
            raise ModelFailed(f"model {self.name!r} does not keep to its signature: {error.message}") from error
        return self._response(request, result, timing)

    def _response(
        self, request: InferenceRequest, outputs: Mapping[str, Tensor], timing: Timing | None
    ) -> InferenceResponse:
        if request.outputs:
            outputs = {name: outputs[name] for name in request.outputs}
        parameters: Mapping[str, Parameter] = {}
        if request.parameters.get("explain") is True:
            parameters = {"explain": self._explain(timing)}
        return InferenceResponse(
            model=self.name, version=self.version, outputs=outputs, id=request.id, parameters=parameters
        )

    def _explain(self, timing: Timing | None) -> str:
        facts: dict[str, object] = {"model": self.name, "version": self.version, "worker": self._worker_id}
        if timing is not None:
            facts["queue_ms"] = round((timing.begun - timing.asked) * 1000, 3)
            facts["compute_ms"] = round((timing.ended - timing.begun) * 1000, 3)
        return orjson.dumps(facts).decode()

    def _ready(self) -> LoadedModel:
        if self.state is ModelState.AVAILABLE and self._loaded is not None:
            return self._loaded
        reason = f": {self.message}" if self.message else ""
        raise ModelNotReady(f"model {self.name!r} version {self.version} is {self.state.name} here{reason}")

    def _failure(self, error: BaseException) -> ModelFailed:
        """Return what the client sees: an id; the log has the rest."""
        failure = new_id("failure")
        logger.error("model failed model=%s version=%s id=%s", self.name, self.version, failure, exc_info=error)
        return ModelFailed(f"model {self.name!r} failed; the worker's log has the reason under {failure}")


def _unload(loaded: LoadedModel) -> None:
    loaded.unload()
