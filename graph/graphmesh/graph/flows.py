"""Tensors on their way through a graph, and whether they fit what reads them.

Each edge makes the sizes of its tensor equal to those its reader expects, so that a number found at the end of a chain
reaches its beginning. Refused is only what cannot work whatever the request: different datatypes, different numbers of
dimensions, different numbers for one size. A graph input without a datatype takes that of its first reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import TensorSpec
from graphmesh.graph.sizes import Unknown, cause, resolve, unify
from graphmesh.graph.spec import Map
from graphmesh.graph.structure import did_you_mean, edge_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from graphmesh.core.signature import Dimension
    from graphmesh.graph.sizes import Size
    from graphmesh.graph.spec import Binding, GraphInput, Node

__all__ = ["Flow", "Flows", "own_size"]


@dataclass(slots=True)
class Flow:
    """The type of one tensor, as far as it is known."""

    datatype: str
    """A key of `tensor.DTYPES`."""
    shape: list[Size]
    """Outermost first."""
    text: bool
    """The elements of a BYTES tensor are UTF-8 text."""
    description: str = ""
    """For people."""
    read_by: str = ""
    """The edge that a graph input took its type from; empty for all others."""

    def __str__(self) -> str:
        """Return the type as signatures show it, for an error about an edge."""
        made = f" (which {self.read_by} made it)" if self.read_by else ""
        return f"{self.spec('shown', [_label(size) for size in self.shape]).type}{made}"

    def spec(self, name: str, shape: Iterable[Dimension]) -> TensorSpec:
        """Return the spec of this tensor with its sizes written out."""
        return TensorSpec(
            name=name, datatype=self.datatype, shape=tuple(shape), text=self.text, description=self.description
        )


class Flows:
    """The types of one graph's tensors.

    Args:
        inputs: The graph's inputs.
    """

    def __init__(self, inputs: Iterable[GraphInput]) -> None:
        self._flows: dict[str, Flow] = {}  # graph inputs without a type are absent until something reads them
        self._descriptions = {spec.name: spec.description for spec in inputs}
        declared: dict[str, Unknown] = {}
        for spec in inputs:
            if spec.datatype:
                shape = [own_size(dimension, declared) for dimension in spec.shape]
                self._flows[spec.name] = Flow(spec.datatype, shape, spec.text, spec.description)

    def give(self, node: Node, spec: TensorSpec, shape: list[Size]) -> None:
        """Record what a node gives."""
        self._flows[f"{node.name}.{spec.name}"] = Flow(spec.datatype, shape, spec.text, spec.description)

    def join(self, node: Node, binding: Binding, spec: TensorSpec, shape: Sequence[Size | None]) -> None:
        """Let a tensor flow along an edge.

        Args:
            node: The reader.
            binding: The edge.
            spec: What the reader's target expects.
            shape: What that is in this graph's sizes, for the whole tensor; None fits any size.

        Raises:
            InvalidGraph: no such tensor, or it does not fit; names the edge (INVALID_ARGUMENT, retry: no).
        """
        flow = self._find(node.name, binding)
        edge = edge_name(node.name, binding)
        if flow is None:
            description = self._descriptions[binding.source] or spec.description
            sizes = [Unknown() if size is None else size for size in shape]
            self._flows[binding.source] = Flow(spec.datatype, sizes, spec.text, description, edge)
            return
        if flow.datatype != spec.datatype:
            raise _misfit(edge, flow, node, spec, "the datatypes differ; convert it in a model between them")
        if len(flow.shape) != len(shape):
            raise _misfit(edge, flow, node, spec, _rank_hint(node, binding, len(flow.shape) - len(spec.shape)))
        for axis, (have, want) in enumerate(zip(flow.shape, shape, strict=True)):
            if want is not None and not unify(have, want, edge=edge):
                raise _misfit(edge, flow, node, spec, _size_hint(axis, have, want))
        flow.text = flow.text or spec.text

    def _find(self, node: str, binding: Binding) -> Flow | None:
        flow = self._flows.get(binding.source)
        if flow is None and binding.node:
            given = [source.partition(".")[2] for source in self._flows if source.startswith(f"{binding.node}.")]
            raise InvalidGraph(
                f"{edge_name(node, binding)}: node {binding.node} gives no {binding.tensor!r}, but {given}"
                f"{did_you_mean(binding.tensor, given)}"
            )
        return flow

    def end(self, binding: Binding) -> None:
        """Check that something known flows into an output of the graph.

        Raises:
            InvalidGraph: no such tensor, or a graph input whose type nothing tells (INVALID_ARGUMENT, retry: no).
        """
        if self._find("", binding) is None:
            raise InvalidGraph(
                f"graph input {binding.source!r}: only outputs read it, so its type is unknown; give datatype and shape"
            )

    def specs(self, *, first: Iterable[str]) -> dict[str, TensorSpec]:
        """Return every tensor's spec by source, sizes written out: the second size that is called N becomes N2.

        Args:
            first: Sources whose names for sizes are given out first, and so stay as they are.
        """
        names = _Names()
        for source in first:
            names.written(self._flows[source])
        return {
            source: flow.spec(source.partition(".")[2] or source, names.written(flow))
            for source, flow in self._flows.items()
        }


class _Names:
    """Gives each size one name, and no name to two sizes."""

    def __init__(self) -> None:
        self._names: dict[Unknown, str] = {}
        self._taken: set[str] = set()

    def written(self, flow: Flow) -> list[Dimension]:
        return [self._write(resolve(size)) for size in flow.shape]

    def _write(self, size: Size) -> Dimension:
        if isinstance(size, int) or size.name is None:
            return size if isinstance(size, int) else None
        if size not in self._names:
            choice, count = size.name, 1
            while choice in self._taken:
                count += 1
                choice = f"{size.name}{count}"
            self._names[size] = choice
            self._taken.add(choice)
        return self._names[size]


def own_size(dimension: Dimension, local: dict[str, Unknown]) -> Size:
    """Return a dimension as a size; equal names in one ``local`` are the same size."""
    if isinstance(dimension, str):
        return local.setdefault(dimension, Unknown(dimension))
    return Unknown() if dimension is None else dimension


def _label(size: Size) -> Dimension:
    known = resolve(size)
    if isinstance(known, int):
        return known
    return size.name if isinstance(size, Unknown) else None


def _misfit(edge: str, flow: Flow, node: Node, spec: TensorSpec, hint: str) -> InvalidGraph:
    how = ""
    if isinstance(node.kind, Map) and spec.name in node.kind.over:
        how = f", up to {node.kind.batch_size} items a call" if node.kind.batch_size else " for each item"
    return InvalidGraph(f"{edge}: {flow} does not fit {spec.type}{how}: {hint}")


def _rank_hint(node: Node, binding: Binding, surplus: int) -> str:
    """Return what to do about a tensor with ``surplus`` more dimensions than the target's input."""
    text = "the numbers of dimensions differ; "
    if not isinstance(node.kind, Map):
        if surplus == 1:
            return f"{text}to call {node.target} for each item along axis 0, make {node.name} a map over {binding.name}"
    elif surplus == 1:
        what = "set batch_size to 0" if binding.name in node.kind.over else f"add {binding.name} to `over`"
        return f"{text}to hand over single items along axis 0, {what}"
    elif surplus == 0:  # only where axis 0 is taken away
        return f"{text}to hand over items with axis 0 kept, set batch_size to 1 or more"
    return f"{text}reshape it in a model between them"


def _size_hint(axis: int, have: Size, want: Size) -> str:
    causes = [f"{resolve(size)} because of {cause(size)}" for size in (have, want) if cause(size)]
    because = f" ({', '.join(causes)})" if causes else ""
    return f"axis {axis} is {resolve(have)}, but must be {resolve(want)}{because}"
