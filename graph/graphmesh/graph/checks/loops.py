"""Types around a loop: what each time gives the next must fit what the first time was given.

A size of a carried tensor may change from one time to the next (a text that grows) unless the body ties it to a number
or to another input, or gives it back as it was: then it is one size for all times.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from graphmesh.graph.checks.flows import Clash, Flow
from graphmesh.graph.checks.hints import did_you_mean, how_to_declare, listed
from graphmesh.graph.checks.sizes import Unknown, resolve, unify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.checks.flows import Given, Place
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.spec import Binding, Loop

__all__ = ["Carried"]


class Carried:
    """The inputs of one loop.

    Args:
        place: The loop.
        kind: Its kind.
        scope: What it is given.
    """

    def __init__(self, place: Place, kind: Loop, scope: Mapping[str, Flow]) -> None:
        self._place = place
        self._kind = kind
        self._given = {binding.name: self._first(binding, scope) for binding in kind.carry}
        self._each = {name: self._any_time(flow) for name, flow in self._given.items()}
        self.scope: dict[str, Flow] = {**scope, **self._each}
        """The inputs as they are each time."""

    def _first(self, binding: Binding, scope: Mapping[str, Flow]) -> Flow:
        flow = scope[binding.name]
        if not flow.datatype:
            raise self._place.wrong(
                f"the type of input {binding.name!r} is unknown: no model or graph reads that graph input; "
                f"{how_to_declare(self._place.source(binding.name))}"
            )
        return flow

    def _any_time(self, flow: Flow) -> Flow:
        sizes = [resolve(size) for size in flow.shape]
        shape: list[Size] = [Unknown(size.name if isinstance(size, Unknown) else None) for size in sizes]
        return Flow(flow.datatype, shape, flow.text, flow.description, flow.read_by)

    def close(self, outputs: Mapping[str, Given]) -> None:
        """Let what the body gives flow back into its inputs.

        Raises:
            InvalidGraph: no such output, or it does not fit; names the edge and both types (INVALID_ARGUMENT, retry:
                no).
        """
        returned = {binding: self._returned(binding, outputs) for binding in self._kind.carry}
        roots = Counter(resolve(size) for flow in self.scope.values() for size in flow.shape)
        tied = [
            (binding, axis)
            for binding, back in returned.items()
            for axis, size in enumerate(self._each[binding.name].shape)
            if isinstance(resolve(size), int) or roots[resolve(size)] > 1 or resolve(back.shape[axis]) is resolve(size)
        ]
        for binding, axis in tied:
            self._tie(binding, axis, returned[binding])
        for name, flow in self._given.items():
            flow.text = flow.text or self._each[name].text

    def _tie(self, binding: Binding, axis: int, back: Flow) -> None:
        """Make a size the same each time: of the input as it is given, at any time, and as it comes back."""
        first, size = self._given[binding.name], self._each[binding.name].shape[axis]
        if not unify(first.shape[axis], size, edge=self._edge(binding)):
            raise self._place.wrong(
                f"input {binding.name!r} is {first}, but {self._kind.body.name} needs axis {axis} to be {resolve(size)}"
            )
        if not unify(back.shape[axis], size, edge=self._edge(binding)):
            raise self._place.wrong(
                f"{self._edge(binding)}: {back} does not fit {first}: axis {axis} must be {resolve(size)} each time; "
                f"make it so in a transform around {self._kind.body.name}"
            )

    def _edge(self, binding: Binding) -> str:
        return f"edge {self._kind.body.name}.{binding.source} -> {self._place.node.name}.{binding.name}"

    def _returned(self, binding: Binding, outputs: Mapping[str, Given]) -> Flow:
        flow = outputs.get(binding.source)
        want = self._given[binding.name]
        edge = self._edge(binding)
        if flow is None:
            raise self._place.wrong(
                f"{edge}: {self._kind.body.name} gives no {binding.source!r}, only {listed(outputs)}"
                f"{did_you_mean(binding.source, outputs)}"
            )
        if isinstance(flow, Clash):
            raise self._place.wrong(f"{edge}: {flow.message}")
        if flow.datatype != want.datatype or len(flow.shape) != len(want.shape):
            what = "datatypes" if flow.datatype != want.datatype else "numbers of dimensions"
            raise self._place.wrong(
                f"{edge}: {flow} does not fit {want}: the {what} differ; what is carried must be of the type of the "
                "input that it replaces"
            )
        return flow
