"""A model in a process of its own, and what becomes of its calls when the process dies.

The model is FAILED from then on; the repository makes another, which takes over. New calls are refused meanwhile
(UNAVAILABLE: another replica may have the model). Calls that were in the process are suspects, see `suspects`: they
wait for the other model and run there once more, each alone. The one that ends that process too is refused; nobody else
notices more than a delay. Calls that had not begun go on there as well. A stream that died is not begun again.

Blame does not depend on who still waits: whatever was running is struck, and a suspect has the process for itself until
also the run of a caller that left has ended, ten seconds at most. Others wait for it that long, see `gate`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import LoadFailed, ModelNotReady, ModelProcessDied, Quarantined
from graphmesh.registry import ModelState
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.hosting.own_thread import on_own_thread
from graphmesh.worker.isolation.gate import PATIENCE_S, Gate, Pass
from graphmesh.worker.isolation.process import ModelProcess
from graphmesh.worker.isolation.suspects import GUILTY, Suspects

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping

    from graphmesh.core.clock import Deadline
    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends import LoadedModel
    from graphmesh.worker.config import ModelConfig

__all__ = ["IsolatedModel"]

logger = logging.getLogger(__name__)

_RESTART_S = 30.0
_POLL_S = 0.01
_ALONE_S = 10.0
_OVERLAPPING = 16
_NOTABLE_BYTES = 8 << 20
_NOTABLE_SHARE = 0.1


class IsolatedModel(Model):
    """A hosted model whose process may die."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as `Model`
        super().__init__(*arguments, **options)
        self.died: Callable[[], None] = lambda: None
        """Called when the process of the available model died."""
        self.served_s = 0.0
        """How long it had been available when it died."""
        self.suspects = Suspects()
        self._process: ModelProcess | None = None
        self._gate = Gate(self.config.max_waiting)
        self._available_since = 0.0
        self._shown_bytes = 0
        self._replacement: IsolatedModel | None = None
        self._replaced = asyncio.Event()
        self._death = object()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int:
        """The model's process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    async def _obtain(self) -> LoadedModel:
        loop = asyncio.get_running_loop()

        def died(how: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody cares any more
                loop.call_soon_threadsafe(self._process_died, how)

        process = self._process = ModelProcess(self.config, died)
        try:
            await on_own_thread(_load, process)
        except BaseException:
            process.kill()
            raise
        self._available_since = time.monotonic()
        return process

    def _tuned(self, loaded: LoadedModel) -> ModelConfig:
        """Let calls of an async model overlap: each takes a thread here. What a hang is does not change."""
        overlaps = isinstance(loaded, ModelProcess) and loaded.overlaps and self.config.instances == 1
        return dataclasses.replace(self.config, instances=_OVERLAPPING) if overlaps else self.config

    def _confirm(self) -> None:
        """Raise LoadFailed if the process has died since it loaded the model."""
        if self._process is not None and not self._process.alive:
            raise LoadFailed(f"after it was loaded, {self._process.death}")

    async def _dismiss(self, loaded: LoadedModel, *, busy: bool) -> None:
        """End the process: at once if a call still runs in it, since that cannot be stopped otherwise."""
        if busy and self._process is not None:
            self._process.kill()
        await super()._dismiss(loaded, busy=False)
        self._process = None

    async def unload(self, grace_s: float = 0.0) -> None:
        """Also end the process; calls that wait for another one are refused if there is none."""
        if self._replacement is None and self.state is ModelState.FAILED:
            self._replaced.set()
        await super().unload(grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _process_died(self, how: str) -> None:
        if self.state not in {ModelState.AVAILABLE, ModelState.UNLOADING}:
            return
        revive = self.state is ModelState.AVAILABLE
        logger.error("model process died model=%s version=%s reason=%s", self.name, self.version, how)
        self.served_s = time.monotonic() - self._available_since
        self._open = False
        self._enter(ModelState.FAILED, how)
        if self._execution is not None:
            self._execution.close()
        self._begin(self._blame(revive=revive))

    async def _blame(self, *, revive: bool) -> None:
        """Strike what was running, before another process takes calls."""
        try:
            for inputs in self._process.casualties if self._process is not None else ():
                await self._strike(inputs)
        except Exception:
            logger.exception("a death is not counted model=%s version=%s", self.name, self.version)
        if revive:
            self.died()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def inherit(self, dead: IsolatedModel) -> None:
        """Go on with the suspects of a model that this one is to replace."""
        self.suspects = dead.suspects

    def replaced_by(self, model: IsolatedModel) -> None:
        """Let the calls that wait go on in another model."""
        self._replacement = model
        self._replaced.set()

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request, once more in another process if this one dies.

        Raises:
            Quarantined: the process died of this request, twice (FAILED_PRECONDITION, retry: no).
            ModelProcessDied: the process died, and no other came in time (INTERNAL, retry: no).
            GraphmeshError: as `Model.infer`.
        """
        strikes = await self._strikes(request)
        self._ready()
        try:
            async with self._alone(request.deadline) if strikes else Pass(self._gate, alone=False):
                response = await super().infer(request)
        except ModelProcessDied as error:
            if await self._strike(request.inputs) >= GUILTY:
                raise self._refusal() from error
            failure: ModelNotReady | ModelProcessDied = error
        except ModelNotReady as error:
            failure = error
        else:
            if strikes:
                await self.suspects.clear(request.inputs)
            return response
        return await (await self._successor(request.deadline, failure)).infer(request)

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request and yield its answers; raises as `infer`, and is not begun again."""
        strikes = await self._strikes(request)
        self._ready()
        try:
            async with (
                self._alone(request.deadline) if strikes else Pass(self._gate, alone=False),
                contextlib.aclosing(super().stream(request)) as answers,
            ):
                async for answer in answers:
                    yield answer
        except ModelProcessDied as error:
            if await self._strike(request.inputs) >= GUILTY:
                raise self._refusal() from error
            raise
        if strikes:
            await self.suspects.clear(request.inputs)

    @contextlib.asynccontextmanager
    async def _alone(self, deadline: Deadline) -> AsyncGenerator[None, None]:
        """Keep everybody else out of the process; raises Overloaded if they stay in it."""
        await self._gate.enter(alone=True)
        try:
            await self._quiet(deadline)
        except BaseException:
            self._gate.leave()
            raise
        left = asyncio.Event()
        self._begin(self._over(left)).add_done_callback(lambda _: self._gate.leave())
        try:
            yield
        finally:
            left.set()

    async def _over(self, left: asyncio.Event) -> None:
        """Wait until a call has been left and its run has ended, ten seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ALONE_S):
                await left.wait()
                while self._busy:  # noqa: ASYNC110 - the state of a thread
                    await asyncio.sleep(_POLL_S)

    async def _quiet(self, deadline: Deadline) -> None:
        """Wait until also those runs have ended whose callers have left; raises Overloaded after two seconds."""
        end = time.monotonic() + PATIENCE_S
        while self._busy:
            deadline.check("the model's process was free of others")
            if time.monotonic() > end:
                raise self._gate.give_up()
            await asyncio.sleep(_POLL_S)

    @property
    def _busy(self) -> bool:
        return self._process is not None and self._process.alive and self._process.busy

    async def _strikes(self, request: InferenceRequest) -> int:
        if not self.suspects:
            return 0
        strikes = await self.suspects.strikes(request.inputs)
        if strikes >= GUILTY:
            self.metrics.refuse("quarantined")
            raise self._refusal()
        return strikes

    async def _strike(self, inputs: Mapping[str, Tensor]) -> int:
        """Count this death for a request that was in the process, and return the request's strikes."""
        alone = self._process is not None and len(self._process.casualties) == 1
        return await self.suspects.strike(inputs, self._death, alone=alone)

    def _refusal(self) -> Quarantined:
        return Quarantined(
            f"model {self.name!r}: its process died twice of this very request, which is not run again; send another, "
            "or load the model again"
        )

    async def _successor(self, deadline: Deadline, failure: ModelNotReady | ModelProcessDied) -> IsolatedModel:
        """Wait for the model that replaces this one, which died."""
        # The news of a death may come after the calls that it failed, and after those that found no process any more.
        dead = self._process is not None and not self._process.alive
        mine = dead or isinstance(failure, ModelProcessDied) or self.state is ModelState.FAILED or self._replacement
        if not mine or self.state is ModelState.UNLOADED:
            raise failure
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_RESTART_S, deadline.remaining())):
                await self._replaced.wait()
        if self._replacement is None:
            raise failure
        return self._replacement

    def look_after(self) -> None:
        """Measure the process, and end it if it hangs: it is then started again like one that died."""
        process = self._process
        if process is None or self.state is not ModelState.AVAILABLE:
            return
        if not process.alive:
            self._process_died(process.death)
            return
        if process.hung(time.monotonic(), self.config.hang_s):
            process.kill(f"it hung: its calls did not return {self.config.hang_s:g} s after their callers had left")
            return
        process.sample()
        change = abs(process.memory_bytes - self._shown_bytes)
        if change > _NOTABLE_BYTES + _NOTABLE_SHARE * self._shown_bytes:
            self._shown_bytes = process.memory_bytes
            self.changed()


def _load(process: ModelProcess) -> None:
    process.load()
