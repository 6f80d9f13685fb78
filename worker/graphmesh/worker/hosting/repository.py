"""The models that a worker was given, and their loading, reloading and unloading while it runs.

A load makes new models beside the old ones. Each version that loaded takes over at once: new calls go to it, those in
flight end where they began, then the old one is unloaded. A version that failed to load leaves the old one serving,
with the reason beside it. Versions that the source no longer has are unloaded once all the others have loaded.

To unload is to say so first: the record says UNLOADING for one propagation time before calls are refused.

A model whose process died is started again with a pause that doubles from 0.1 s to 30 s, and starts over once the model
has run for a minute.

Loads and unloads of one name run one after the other, of different names side by side; once begun they end, whoever
waits for them. Not done: models that the worker was not given at its start.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol, Self

from graphmesh.core.clock import SystemClock
from graphmesh.core.errors import GraphmeshError, LoadFailed, NotFound
from graphmesh.core.names import check_model_name, close_names
from graphmesh.registry import ModelState
from graphmesh.worker.isolation import IsolatedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from graphmesh.core.clock import Clock
    from graphmesh.registry import HostedModel
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.catalog import Catalog
    from graphmesh.worker.hosting.model import Model

__all__ = ["Publisher", "Repository"]

logger = logging.getLogger(__name__)

_SERVING = frozenset({ModelState.AVAILABLE, ModelState.UNLOADING})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 30.0
_SETTLED_S = 60.0
_TICK_S = 1.0


class Publisher(Protocol):
    """Who tells the mesh of changes."""

    def changed(self) -> None:
        """Tell it soon."""
        ...

    async def published(self) -> None:
        """Return once the mesh knows."""
        ...


class Repository:
    """The models of one worker. Use as an async context manager: leaving it unloads them."""

    def __init__(
        self,
        configs: Iterable[ModelConfig],
        *,
        catalog: Catalog,
        make: Callable[[ModelConfig], Model],
        resolve: Callable[[ModelConfig], Awaitable[Sequence[ModelConfig]]],
        publisher: Publisher,
        clock: Clock | None = None,
        drain_s: float = 1.0,
        grace_s: float = 30.0,
    ) -> None:
        self._configs: dict[str, list[ModelConfig]] = {}
        for config in configs:
            self._configs.setdefault(config.name, []).append(config)
        self._catalog = catalog
        catalog.expected = frozenset(self._configs)
        self._make_model = make
        self._resolve = resolve
        self._publisher = publisher
        self._clock = clock or SystemClock()
        self._drain_s = drain_s
        self._grace_s = grace_s
        self._locks = {name: asyncio.Lock() for name in self._configs}
        self._pauses: dict[tuple[str, str], float] = {}
        self._replaced: set[Model] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.loading: set[str] = set()
        """Names that are being loaded now."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models that the worker was given."""
        return tuple(self._configs)

    def index(self) -> tuple[HostedModel, ...]:
        """Return every version of every model, also those that failed or were unloaded."""
        return tuple(model.hosted for model in self._catalog)

    async def __aenter__(self) -> Self:
        """Watch over the models that run in processes of their own; nothing is loaded yet."""
        self._begin(self._keep_watch(), "watch over model processes")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Unload everything, at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        async with asyncio.TaskGroup() as group:
            for model in {*self._catalog, *self._replaced}:
                group.create_task(model.unload())

    async def load_all(self) -> None:
        """Load every model, side by side; failures are in the index."""
        await asyncio.gather(*(self._load(name) for name in self._configs))

    async def load(self, name: str) -> None:
        """Load a model, or load it again: every version that its source has.

        Raises:
            NotFound: the worker was not given a model of this name (NOT_FOUND, retry: no).
            LoadFailed: a version could not be loaded, and why; what served before goes on (FAILED_PRECONDITION,
                retry: after it was mended).

        Cancellation: the load goes on.
        """
        failures = await self._shielded(self._load(self._known(name)), f"load {name}")
        if failures:
            raise LoadFailed(f"model {name!r}: {'; '.join(failures)}")

    async def unload(self, name: str) -> None:
        """Unload every version of a model: calls in flight finish, new ones are refused. No effect if none is loaded.

        Raises:
            NotFound: the worker was not given a model of this name (NOT_FOUND, retry: no).

        Cancellation: the unloading goes on.
        """
        await self._shielded(self._unload(self._known(name)), f"unload {name}")

    def _known(self, name: str) -> str:
        if name in self._configs:
            return name
        near = close_names(check_model_name(name), self._configs)
        hint = f"; close names: {', '.join(near)}" if near else ""
        raise NotFound(f"this worker was not given a model named {name!r}{hint}", metadata={"name": name})

    # Loading

    async def _load(self, name: str) -> list[str]:
        """Return why versions failed to load, one text for each."""
        async with self._locks[name]:
            self.loading.add(name)
            try:
                models = [self._make(config) for config in await self._resolved(name)]
                for model in models:
                    current = self._current(model)
                    if current is None or current.state is ModelState.UNLOADED:
                        self._replace(current, model)
                await self._load_each(models)
                failures = [self._settle(model) for model in models]
                failed = [failure for failure in failures if failure]
                gone = [] if failed else self._gone(name, models)
            finally:
                self.loading.discard(name)
            await self._publisher.published()
        if gone:
            self._begin(self._finish(gone), f"unload old versions of {name}")
        return failed

    async def _load_each(self, models: Sequence[Model]) -> None:
        """Load models side by side; if that is cancelled, those that nobody has found yet are unloaded."""
        try:
            await asyncio.gather(*(model.load() for model in models))
        except asyncio.CancelledError:
            await asyncio.gather(*(model.unload() for model in models if self._current(model) is not model))
            raise

    async def _resolved(self, name: str) -> list[ModelConfig]:
        found: dict[str, ModelConfig] = {}
        for config in self._configs[name]:
            for resolved in await self._resolve(config):
                if found.setdefault(resolved.version, resolved) is not resolved:
                    logger.warning(
                        "a version is given twice, the first counts model=%s version=%s", name, resolved.version
                    )
        return list(found.values())

    def _make(self, config: ModelConfig) -> Model:
        model = self._make_model(config)
        model.changed = lambda: self._changed(model)
        if isinstance(model, IsolatedModel):
            model.died = lambda: self._died(model)
        return model

    def _died(self, model: IsolatedModel) -> None:
        self._begin(self._revive(model), f"revive {model.name}")

    def _changed(self, model: Model) -> None:
        if self._current(model) is model:
            self._catalog.refresh(model.name)
            self._publisher.changed()

    def _current(self, model: Model) -> Model | None:
        return next((one for one in self._catalog.hosted(model.name) if one.version == model.version), None)

    def _settle(self, model: Model) -> str:
        """Let a model that was loaded take over; of one that failed, return why."""
        current = self._current(model)
        if model.ready:
            self._replace(current, model)
            return ""
        if current is not None and current is not model:
            serving = current.state in _SERVING
            current.remark(f"reload failed: {model.message}" if serving else model.message)
        return f"version {model.version}: {model.message}"

    def _replace(self, old: Model | None, new: Model) -> None:
        """Send calls to another model of the same version; the old one ends when its calls have."""
        self._catalog.put(new)
        self._publisher.changed()
        if old is not None and old is not new:
            if isinstance(old, IsolatedModel) and isinstance(new, IsolatedModel):
                old.replaced_by(new)
            self._replaced.add(old)
            self._begin(self._end_replaced(old), f"unload replaced {old.name}")

    async def _end_replaced(self, old: Model) -> None:
        """Unload a model that calls no longer find; those that found it a moment ago may still come."""
        if old.state in _SERVING:
            await self._clock.sleep(self._drain_s)
        await old.unload(self._grace_s)
        self._replaced.discard(old)

    def _gone(self, name: str, models: Sequence[Model]) -> list[Model]:
        """Retire the versions that the source no longer has; forget those that do not serve anyway."""
        versions = {model.version for model in models}
        gone = [model for model in self._catalog.hosted(name) if model.version not in versions]
        for model in gone:
            if model.state in _SERVING:
                model.retire()
            else:
                self._catalog.discard(model)
        return [model for model in gone if model.state in _SERVING]

    # Unloading

    async def _unload(self, name: str) -> None:
        async with self._locks[name]:
            models = self._catalog.hosted(name)
            for model in models:
                model.retire()
            if any(model.state in _SERVING for model in models):
                await self._publisher.published()
            await self._finish(models)

    async def _finish(self, models: Sequence[Model]) -> None:
        """Refuse calls once everybody could have heard, and give back what the models hold."""
        if any(model.state in _SERVING for model in models):
            await self._clock.sleep(self._drain_s)
        await asyncio.gather(*(model.unload(self._grace_s) for model in models))
        await self._publisher.published()

    # Processes that died

    async def _revive(self, dead: IsolatedModel) -> None:
        """Start a model again until it runs, or somebody else loads or unloads it."""
        key = dead.name, dead.version
        if dead.served_s > _SETTLED_S:
            self._pauses.pop(key, None)
        while True:
            pause = self._pauses.get(key, _FIRST_PAUSE_S)
            self._pauses[key] = min(_LONGEST_PAUSE_S, pause * 2)
            await self._clock.sleep(pause)
            async with self._locks[dead.name]:
                if self._current(dead) is not dead or dead.state is not ModelState.FAILED:
                    return
                model = self._make(dead.config)
                if isinstance(model, IsolatedModel):
                    model.inherit(dead)
                await model.load()
                if model.ready:
                    self._replace(dead, model)
                    return
                dead.remark(model.message)

    async def _keep_watch(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            for model in self._catalog:
                if isinstance(model, IsolatedModel):
                    model.look_after()

    # Tasks

    def _begin(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, GraphmeshError):
            logger.error("task failed task=%s", task.get_name(), exc_info=error)

    async def _shielded(self, work: Coroutine[Any, Any, Any], name: str) -> Any:  # noqa: ANN401 - what the work gives
        return await asyncio.shield(self._begin(work, name))
