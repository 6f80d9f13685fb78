"""What a call takes and gives, in sizes of the graph around it: models, graphs, and maps of them.

A step's signature gets sizes of its own (its `N` is no other step's `N`); edges make them equal to those of the tensors
that come in, and what the step gives is made of the same sizes. A map takes axis 0 away (or keeps it, a chunk long) and
its answers gain it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.checks.findings import Findings
from graphmesh.graph.checks.flows import Flow, own_size
from graphmesh.graph.checks.hints import did_you_mean, listed
from graphmesh.graph.checks.sizes import Unknown
from graphmesh.graph.spec import Map

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.core.signature import Dimension, Signature, TensorSpec
    from graphmesh.graph.checks.flows import Place
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.spec import Binding

__all__ = ["Called", "MapCalled", "called", "check_bound"]


class Called:
    """One step that calls a model or graph, while types flow through it.

    Args:
        place: The step.
        signature: Its target's.
    """

    def __init__(self, place: Place, signature: Signature) -> None:
        self._place = place
        self._signature = signature
        self._local: dict[str, Unknown] = {}

    def takes(self, spec: TensorSpec) -> list[Size | None]:
        """Return the shape of a tensor for this input, in the sizes of this step; None fits any size."""
        return [None if dimension is None else own_size(dimension, self._local) for dimension in spec.shape]

    def gives(self) -> dict[str, Flow]:
        """Return the outputs; to be called when all inputs are joined."""
        return {
            spec.name: Flow(spec.datatype, self._gathered(spec), spec.text, spec.description)
            for spec in self._signature.outputs
        }

    def _gathered(self, spec: TensorSpec) -> list[Size]:
        return [own_size(dimension, self._local) for dimension in spec.shape]


class MapCalled(Called):
    """One map.

    Args:
        place: The step.
        kind: Its kind.
        signature: Its target's.
    """

    def __init__(self, place: Place, kind: Map, signature: Signature) -> None:
        super().__init__(place, signature)
        self._kind = kind
        self._per_call: set[Dimension] = set()  # how the target writes the size of one chunk along axis 0
        self.length: Size = Unknown("N")
        """How many items it has."""

    def takes(self, spec: TensorSpec) -> list[Size | None]:
        """Return the shape that a tensor must have for its items or chunks to fit this input.

        Raises:
            InvalidGraph: chunks of this size never fit it (INVALID_ARGUMENT, retry: no).
        """
        shape = super().takes(spec)
        if spec.name not in self._kind.over:
            return shape
        size = self._kind.batch_size
        if not size:
            return [self.length, *shape]
        if not shape:
            raise self._place.wrong(
                f"hands over items with axis 0 kept, but {self._kind.target} takes {spec}; "
                "set batch_size to 0 for single items"
            )
        if isinstance(spec.shape[0], int) and spec.shape[0] != size:
            raise self._place.wrong(
                f"hands over up to {size} items a call, but {self._kind.target} takes exactly "
                f"{spec.shape[0]}: {spec}; set batch_size to {spec.shape[0]}"
            )
        self._per_call.add(spec.shape[0])
        return [self.length, *shape[1:]]

    def _gathered(self, spec: TensorSpec) -> list[Size]:
        """Return the shape that all answers have together."""
        shape = super()._gathered(spec)
        if not self._kind.batch_size:
            return [self.length, *shape]
        if not shape:
            raise self._place.wrong(
                f"answers of {self._kind.target} are joined along axis 0, but it gives {spec}; "
                "set batch_size to 0 to stack them"
            )
        first = spec.shape[0]
        if first is not None and first in self._per_call:
            return [self.length, *shape[1:]]
        return [Unknown(first if isinstance(first, str) else None), *shape[1:]]


def called(place: Place, signature: Signature) -> Called:
    """Return what a step that calls something takes and gives."""
    kind = place.node.kind
    return MapCalled(place, kind, signature) if isinstance(kind, Map) else Called(place, signature)


def check_bound(place: Place, bindings: Iterable[Binding], signature: Signature) -> None:
    """Check that exactly the inputs of a step's target are bound.

    Raises:
        InvalidGraph: some are bound without being there, or else missing (INVALID_ARGUMENT, retry: no).
    """
    takes = [spec.name for spec in signature.inputs]
    bound = {binding.name for binding in bindings}
    findings = Findings()
    for binding in bindings:
        if binding.name not in takes:
            has = f"{place.node.target} has no input {binding.name!r}, only {listed(takes)}"
            findings.add([f"{place.edge(binding)}: {has}{did_you_mean(binding.name, takes)}"])
    findings.settle()  # the name that is wrong may be the one that is missing
    for spec in signature.inputs:
        if spec.name not in bound:
            lacks = f"input {spec} of {place.node.target} is not bound; say where it comes from"
            findings.add([f"node {place.path}: {lacks}"])
    findings.settle()
