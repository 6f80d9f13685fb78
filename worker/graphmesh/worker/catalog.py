"""Which models this worker hosts, by name and version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from graphmesh.core.errors import NotFound
from graphmesh.registry import ModelState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from graphmesh.worker.model import Model

__all__ = ["Catalog"]


class Catalog:
    """The models of one worker; fixed at its start, while their states go on."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        for model in sorted(models, key=lambda model: int(model.version), reverse=True):
            self._models.setdefault(model.name, {})[model.version] = model
        self._first = {name: self._choose(name) for name in self._models}

    def __iter__(self) -> Iterator[Model]:
        """Yield every version of every model."""
        for versions in self._models.values():
            yield from versions.values()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models, whatever their state."""
        return tuple(self._models)

    def find(self, name: str, version: str = "") -> Model | None:
        """Return a model, or None if this worker has none of that name.

        Without a version: the highest one that is available, or else the highest.

        Raises:
            NotFound: the model is here, the version is not (NOT_FOUND, retry: no).
        """
        if not version:
            return self._first.get(name)
        versions = self._models.get(name)
        if versions is None:
            return None
        if version not in versions:
            have = ", ".join(versions)
            raise NotFound(f"model {name!r} has no version {version[:20]!r} here; there is {have}")
        return versions[version]

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a model, highest first."""
        return tuple(self._models.get(name, ()))

    def available(self, name: str, version: str = "") -> Model | None:
        """Return the model that can answer a call of this name and version here now, None if there is none."""
        model = self._models.get(name, {}).get(version) if version else self._first.get(name)
        return model if model is not None and model.state is ModelState.AVAILABLE else None

    async def load(self) -> None:
        """Load all models side by side, each on a thread of its own; failures are recorded in their states."""
        async with asyncio.TaskGroup() as group:
            for model in self:
                group.create_task(self._load(model))

    async def unload(self) -> None:
        """Unload all models that are available."""
        async with asyncio.TaskGroup() as group:
            for model in self:
                group.create_task(model.unload())

    async def _load(self, model: Model) -> None:
        await model.load()
        self._first[model.name] = self._choose(model.name)

    def _choose(self, name: str) -> Model:
        versions = self._models[name].values()
        return next((model for model in versions if model.state is ModelState.AVAILABLE), next(iter(versions)))
