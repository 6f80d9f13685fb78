"""Which version of each model the calls of one graph go to, as one snapshot of the registry has it.

Usually any: then a call takes the highest version that is available here, or leaves the choice to the mesh. A version
whose signature would break the graph is held out of service for it: that is chosen before (`choosing`), from what the
registry lists and from versions here that it does not list yet. One that appears here later waits until it is listed,
unless it takes and gives the same as the one in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.gate.choose import called
from graphmesh.graph.spec import ModelCall

if TYPE_CHECKING:
    from graphmesh.core.signature import Signature
    from graphmesh.graph.gate.choose import Choice
    from graphmesh.graph.spec import Target
    from graphmesh.worker.graphs.choosing import Question
    from graphmesh.worker.hosting.catalog import Catalog
    from graphmesh.worker.hosting.model import Model

__all__ = ["ModelVersions"]


class ModelVersions:
    """The versions that one graph's calls go to.

    Args:
        question: The graph, the registry, and what can serve.
        choice: The answer.
        catalog: The models of this worker.
    """

    def __init__(self, question: Question, choice: Choice, catalog: Catalog) -> None:
        self._snapshot = question.snapshot
        self._catalog = catalog
        self._seen: dict[str, Model] = {}
        self._versions = {name: dict(versions) for name, versions in question.versions.items()}
        self._pins = {name: version for name, version in choice.pins.items() if version in self._versions[name]}
        complete = all(map(self._there, called(question.graph)))
        self.problem = choice.error if complete else None
        """Why the graph works with no version that is served; None if it works, or if something is not there now."""

    def _there(self, target: Target) -> bool:
        if not isinstance(target, ModelCall):
            return target.name in self._snapshot.graphs
        versions = self._versions[target.name]
        return target.version in versions if target.version else bool(versions)

    def here(self, target: ModelCall) -> Model | None:
        """Return the model in this process that a call goes to now; None if it goes elsewhere."""
        name = target.name
        if target.version:
            return self._catalog.available(name, target.version)
        model = self._catalog.available(name, self._pins.get(name, "") if self._pins else "")
        if model is not None and self._seen.get(name) is not model:
            if model.version not in self._versions[name]:
                model = self._appeared(name, model)
            if model is not None:
                self._seen[name] = model
        return model

    def _appeared(self, name: str, model: Model) -> Model | None:
        """Return what is called instead of a version that was not there when the choice was made, or itself."""
        versions = self._versions[name]
        used = next(iter(versions), "")
        if used and versions[used].digest != model.signature.digest:
            old = self._catalog.available(name, used)
            if old is not None or used in self._snapshot.served.get(name, {}):
                self._pins[name] = used
                return old
        self._versions[name] = {model.version: model.signature, **versions}
        return model

    def elsewhere(self, target: ModelCall) -> str:
        """Return the version that a call through the mesh asks for; empty if any will do."""
        return target.version or self._pins.get(target.name, "")

    def signature(self, name: str) -> Signature | None:
        """Return what a model's version in use, or a graph, takes and gives; None if that is not known."""
        versions = self._versions.get(name)
        if not versions:
            return self._snapshot.signature_of(name)
        pin = self._pins.get(name, "")
        return versions[pin] if pin in versions else next(iter(versions.values()))

    def pinned(self, target: ModelCall) -> Signature | None:
        """Return what the version that a call fixes takes and gives; None if that is not known."""
        return self._versions[target.name].get(target.version) or self._listed(target)

    def digest(self, target: Target) -> str:
        """Return the digest of what a target takes and gives; empty if that is not known."""
        if isinstance(target, ModelCall) and target.version:
            signature = self.pinned(target)
        else:
            signature = self.signature(target.name)
        return "" if signature is None else signature.digest

    def _listed(self, target: ModelCall) -> Signature | None:
        """Return the signature of a version that cannot serve now."""
        for _, hosted in self._snapshot.replicas(target.name):
            if hosted.version == target.version:
                return self._snapshot.signatures.get(hosted.signature_digest)
        return None
