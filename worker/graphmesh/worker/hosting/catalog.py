"""Which models this worker hosts, by name and version: a lookup that the hot path reads and the repository changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import ModelNotReady, NotFound
from graphmesh.registry import ModelState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from graphmesh.worker.hosting.model import Model

__all__ = ["Catalog"]

_PREFERENCE = (
    ModelState.AVAILABLE,
    ModelState.UNLOADING,
    ModelState.LOADING,
    ModelState.FAILED,
    ModelState.UNLOADED,
)


class Catalog:
    """The models of one worker: for each name and version the one that calls go to, whatever its state."""

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        self._first: dict[str, Model] = {}
        self.expected: frozenset[str] = frozenset()
        """Names of models that this worker was given: until they are here they are being loaded."""
        for model in models:
            self.put(model)

    def __iter__(self) -> Iterator[Model]:
        """Yield every version of every model."""
        for versions in list(self._models.values()):
            yield from list(versions.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models, whatever their state."""
        return tuple(self._models)

    def put(self, model: Model) -> None:
        """Let calls of a name and version go to this model from now on."""
        versions = {**self._models.get(model.name, {}), model.version: model}
        ordered = sorted(versions, key=int, reverse=True)
        self._models[model.name] = {version: versions[version] for version in ordered}
        self.refresh(model.name)

    def discard(self, model: Model) -> None:
        """Forget a model, if it is still the one of its name and version."""
        versions = self._models.get(model.name, {})
        if versions.get(model.version) is not model:
            return
        del versions[model.version]
        if not versions:
            del self._models[model.name], self._first[model.name]
        else:
            self.refresh(model.name)

    def refresh(self, name: str) -> None:
        """Choose again which version answers calls that name none, since a state has changed."""
        versions = self._models.get(name)
        if versions:
            self._first[name] = min(versions.values(), key=lambda model: _PREFERENCE.index(model.state))

    def find(self, name: str, version: str = "") -> Model | None:
        """Return a model, or None if this worker has none of that name.

        Without a version: the highest one that is available, or else that is nearest to it.

        Raises:
            NotFound: the model is here, the version is not (NOT_FOUND, retry: no).
            ModelNotReady: it is not known yet what its source holds (UNAVAILABLE, retry: other endpoint).
        """
        if not version:
            return self._first.get(name) or self._expected(name)
        versions = self._models.get(name)
        if versions is None:
            return self._expected(name)
        if version not in versions:
            have = ", ".join(versions)
            raise NotFound(f"model {name!r} has no version {version[:20]!r} here; there is {have}")
        return versions[version]

    def _expected(self, name: str) -> Model | None:
        if name in self.expected:
            raise ModelNotReady(f"model {name!r} is LOADING here")
        return None

    def hosted(self, name: str) -> tuple[Model, ...]:
        """Return all versions of a model, highest first."""
        return tuple(self._models.get(name, {}).values())

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a model that are not unloaded, highest first."""
        return tuple(model.version for model in self.hosted(name) if model.state is not ModelState.UNLOADED)

    def available(self, name: str, version: str = "") -> Model | None:
        """Return the model that can answer a call of this name and version here now, None if there is none."""
        model = self._models.get(name, {}).get(version) if version else self._first.get(name)
        return model if model is not None and model.state is ModelState.AVAILABLE else None
