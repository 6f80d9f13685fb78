"""What several versions of a model have in common, and the part of a graph whose types follow from that alone.

If that part breaks, the graph breaks with each of the versions. A tensor of which they differ in more than sizes is
open: what reads it takes it from nowhere, as a graph takes an input without a type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.core.tensor import BYTES
from graphmesh.graph.spec import Binding, Graph, GraphInput, ModelCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from graphmesh.core.signature import Dimension
    from graphmesh.graph.spec import Node

__all__ = ["Common", "common_promise", "common_to", "part_of"]


@dataclass(frozen=True, slots=True)
class Common:
    """What versions of one model have in common."""

    signature: Signature
    """The tensors that are not open; sizes that differ are named, those that are equal in each version alike."""
    inputs: frozenset[str]
    """Inputs that are open."""
    outputs: frozenset[str]
    """Outputs that are open."""
    nothing: bool
    """They differ in whether they stream: whatever calls the model is left out."""


def common_to(signatures: Sequence[Signature]) -> Common:
    """Return what these signatures have in common."""
    sizes: dict[tuple[Dimension, ...], str] = {}
    inputs, open_inputs = _specs([signature.inputs for signature in signatures], sizes)
    outputs, open_outputs = _specs([signature.outputs for signature in signatures], sizes)
    streaming = {signature.streaming for signature in signatures}
    return Common(Signature(inputs, outputs, any(streaming)), open_inputs, open_outputs, len(streaming) > 1)


def _specs(
    options: Sequence[tuple[TensorSpec, ...]], sizes: dict[tuple[Dimension, ...], str]
) -> tuple[tuple[TensorSpec, ...], frozenset[str]]:
    """Return the tensors that are in each option with equal datatype and rank, and the names of the others."""
    found: list[TensorSpec] = []
    others: set[str] = set()
    named = [{spec.name: spec for spec in specs} for specs in options]
    for name in dict.fromkeys(name for specs in named for name in specs):
        specs = [specs[name] for specs in named if name in specs]
        if len(specs) < len(named) or len({(spec.datatype, spec.text, len(spec.shape)) for spec in specs}) > 1:
            others.add(name)
            continue
        shape = tuple(_size(axis, sizes) for axis in zip(*(spec.shape for spec in specs), strict=True))
        found.append(replace(specs[0], shape=shape))
    return tuple(found), frozenset(others)


def _size(axis: tuple[Dimension, ...], sizes: dict[tuple[Dimension, ...], str]) -> Dimension:
    if None in axis:
        return None
    if len(set(axis)) == 1 and isinstance(axis[0], int):
        return axis[0]
    return sizes.setdefault(axis, f"S{len(sizes)}")


def part_of(graph: Graph, common: Mapping[str, Common]) -> Graph:
    """Return the part of a graph whose types do not depend on what is open.

    Args:
        graph: The graph.
        common: By name, what is known of the models of which several versions are possible.

    Returns:
        The graph without the steps that cannot be typed; sources that are open are graph inputs without a type. It may
        have no steps, and steps that lead nowhere.
    """
    return _Part(graph, common).made()


class _Part:
    def __init__(self, graph: Graph, common: Mapping[str, Common]) -> None:
        self._graph = graph
        self._common = common
        self._nodes = {node.name: node for node in graph.nodes}
        self._untyped = {spec.name for spec in graph.inputs if not spec.datatype}
        self._gone: set[str] = set()
        self._vague: set[str] = set()
        """Graph inputs that took their type from a step that is left out, perhaps."""

    def made(self) -> Graph:
        while sum(self._leave_out(node) for node in self._graph.nodes if node.name not in self._gone):
            pass
        prefix = "open"
        while any(spec.name.startswith(prefix) for spec in self._graph.inputs):
            prefix += "_"
        opened: dict[str, str] = {}
        nodes = []
        for node in self._graph.nodes:
            if node.name not in self._gone:
                bound = [
                    replace(one, source=opened.setdefault(one.source, f"{prefix}{len(opened)}"))
                    if self._open(one)
                    else one
                    for one in self._bound(node)
                ]
                nodes.append(replace(node, inputs=tuple(bound)))
        read = {one.source for node in nodes for one in node.inputs}
        inputs = [spec for spec in self._graph.inputs if spec.datatype or spec.name in read]
        known = {spec.name for spec in inputs}
        outputs = [one for one in self._graph.outputs if not self._open(one) and (one.node or one.source in known)]
        inputs.extend(GraphInput(name=name) for name in opened.values())
        return Graph(name=self._graph.name, inputs=tuple(inputs), nodes=tuple(nodes), outputs=tuple(outputs))

    def _leave_out(self, node: Node) -> bool:
        """Leave a step out if its types are not known; return whether it was."""
        called = list(self._called(node))
        vague = any(one.nothing for one in called)
        if not isinstance(node.kind, ModelCall):
            vague = vague or any(one.inputs for one in called)
        if node.target is None:
            vague = vague or any(one.outputs for one in called)
            vague = vague or any(self._open(one) or one.source in self._vague for one in node.inputs)
        kept = () if vague else self._bound(node)
        dropped = {one.source for one in node.inputs if one not in kept and one.source in self._untyped}
        news = vague or not dropped <= self._vague
        self._vague |= dropped
        if vague:
            self._gone.add(node.name)
        return news

    def _called(self, node: Node) -> Iterator[Common]:
        for target in node.targets():
            if isinstance(target, ModelCall) and not target.version and target.name in self._common:
                yield self._common[target.name]

    def _bound(self, node: Node) -> tuple[Binding, ...]:
        """Return the bindings of a step but those of open inputs."""
        if not isinstance(node.kind, ModelCall):
            return node.inputs
        left_out = {name for one in self._called(node) for name in one.inputs}
        return tuple(one for one in node.inputs if one.name not in left_out)

    def _open(self, binding: Binding) -> bool:
        if not binding.node:
            return False
        made_by = self._nodes.get(binding.node)
        return (
            made_by is None
            or binding.node in self._gone
            or any(binding.tensor in one.outputs for one in self._called(made_by))
        )


def common_promise(promised: Signature, now: Signature) -> tuple[Signature, Signature]:
    """Return what a graph promised and what its part now takes and gives, of the tensors that both have.

    Whether it streams, and whether bytes are text, may yet follow from what is open, and is made equal.
    """
    takes = {spec.name for spec in promised.inputs} & {spec.name for spec in now.inputs}
    gives = {spec.name for spec in promised.outputs} & {spec.name for spec in now.outputs}
    return tuple(  # type: ignore[return-value]  # two of them
        Signature(tuple(_plain(one.inputs, takes)), tuple(_plain(one.outputs, gives)), promised.streaming)
        for one in (promised, now)
    )


def _plain(specs: Iterable[TensorSpec], names: set[str]) -> Iterator[TensorSpec]:
    for spec in specs:
        if spec.name in names:
            yield replace(spec, text=False) if spec.datatype == BYTES else spec
