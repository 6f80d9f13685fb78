"""How types flow through one node: into its target's inputs, and out of its outputs.

A node's signature gets sizes of its own (its `N` is no other node's `N`); edges make them equal to those of the tensors
that come in, and what the node gives is made of the same sizes. A map takes axis 0 away (or keeps it, a chunk long) and
its answers gain it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.flows import own_size
from graphmesh.graph.sizes import Unknown
from graphmesh.graph.spec import Map
from graphmesh.graph.structure import did_you_mean, edge_name

if TYPE_CHECKING:
    from graphmesh.core.signature import Dimension, Signature, TensorSpec
    from graphmesh.graph.flows import Flows
    from graphmesh.graph.sizes import Size
    from graphmesh.graph.spec import Node

__all__ = ["infer_node"]


def infer_node(flows: Flows, node: Node, signature: Signature) -> Size | None:
    """Let types flow through a node.

    Args:
        flows: The graph's tensors; what the node gives is added.
        node: The node; those it reads from have been inferred.
        signature: Its target's signature.

    Returns:
        For a map the number of its items, else None.

    Raises:
        InvalidGraph: an input unbound or unknown, or a type that does not fit; names the edge (INVALID_ARGUMENT,
            retry: no).
    """
    _check_bound(node, signature)
    if isinstance(node.kind, Map):
        return _Mapped(node, node.kind, signature).infer(flows)
    local: dict[str, Unknown] = {}
    for binding in node.inputs:
        spec = signature.input(binding.name)
        flows.join(node, binding, spec, _expected(spec, local))
    for spec in signature.outputs:
        flows.give(node, spec, [own_size(dimension, local) for dimension in spec.shape])
    return None


class _Mapped:
    """One map node while types flow through it."""

    def __init__(self, node: Node, kind: Map, signature: Signature) -> None:
        self._node = node
        self._kind = kind
        self._signature = signature
        self._local: dict[str, Unknown] = {}
        self._length = Unknown("N")
        self._per_call: set[Dimension] = set()  # how the target writes the size of one chunk along axis 0

    def infer(self, flows: Flows) -> Size:
        for binding in self._node.inputs:
            spec = self._signature.input(binding.name)
            shape = _expected(spec, self._local)
            flows.join(self._node, binding, spec, self._whole(spec, shape) if spec.name in self._kind.over else shape)
        for spec in self._signature.outputs:
            flows.give(self._node, spec, self._gathered(spec))
        return self._length

    def _whole(self, spec: TensorSpec, shape: list[Size | None]) -> list[Size | None]:
        """Return the shape that a tensor must have for its items or chunks to have ``shape``."""
        size = self._kind.batch_size
        if not size:
            return [self._length, *shape]
        if not shape:
            raise InvalidGraph(
                f"node {self._node.name}: hands over items with axis 0 kept, but {self._node.target} takes {spec}; "
                "set batch_size to 0 for single items"
            )
        if isinstance(spec.shape[0], int) and spec.shape[0] != size:
            raise InvalidGraph(
                f"node {self._node.name}: hands over up to {size} items a call, but {self._node.target} takes exactly "
                f"{spec.shape[0]}: {spec}; set batch_size to {spec.shape[0]}"
            )
        self._per_call.add(spec.shape[0])
        return [self._length, *shape[1:]]

    def _gathered(self, spec: TensorSpec) -> list[Size]:
        """Return the shape that all answers have together."""
        shape = [own_size(dimension, self._local) for dimension in spec.shape]
        if not self._kind.batch_size:
            return [self._length, *shape]
        if not shape:
            raise InvalidGraph(
                f"node {self._node.name}: answers of {self._node.target} are joined along axis 0, but it gives {spec}; "
                "set batch_size to 0 to stack them"
            )
        first = spec.shape[0]
        if first is not None and first in self._per_call:
            return [self._length, *shape[1:]]
        return [Unknown(first if isinstance(first, str) else None), *shape[1:]]


def _expected(spec: TensorSpec, local: dict[str, Unknown]) -> list[Size | None]:
    """Return a target's own shape in the sizes of this node; None fits any size."""
    return [None if dimension is None else own_size(dimension, local) for dimension in spec.shape]


def _check_bound(node: Node, signature: Signature) -> None:
    takes = [spec.name for spec in signature.inputs]
    bound = {binding.name for binding in node.inputs}
    for binding in node.inputs:
        if binding.name not in takes:
            raise InvalidGraph(
                f"{edge_name(node.name, binding)}: {node.target} has no input {binding.name!r}, but {takes}"
                f"{did_you_mean(binding.name, takes)}"
            )
    for spec in signature.inputs:
        if spec.name not in bound:
            raise InvalidGraph(f"node {node.name}: input {spec} of {node.target} is not bound; say where it comes from")
