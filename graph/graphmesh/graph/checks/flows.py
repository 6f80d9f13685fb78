"""Tensors on their way through a graph, and whether they fit what reads them.

Each edge makes the sizes of its tensor equal to those its reader expects, so that a number found at the end of a chain
reaches its beginning. Refused is only what cannot work whatever the request: different datatypes, different numbers of
dimensions, different numbers for one size. A graph input without a type is a flow without a datatype until a reader
gives it its own; inside a composed step its inputs are the very flows that come in, so that this reaches out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import TensorSpec
from graphmesh.core.tensor import BYTES
from graphmesh.graph.checks.hints import did_you_mean, listed
from graphmesh.graph.checks.sizes import Unknown, cause, resolve, unify
from graphmesh.graph.checks.structure import edge_name
from graphmesh.graph.spec import Map

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from graphmesh.core.signature import Dimension
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.spec import Binding, GraphInput, Node

__all__ = ["Clash", "Flow", "Given", "Place", "declared", "join", "misfit", "own_size", "read"]


@dataclass(slots=True, eq=False)
class Flow:
    """The type of one tensor, as far as it is known; whoever holds it sees what others find out."""

    datatype: str
    """A key of `tensor.DTYPES`; empty while nothing tells it, which only a graph input's may be."""
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
        return f"{self.type}{made}"

    @property
    def type(self) -> str:
        """``FP32 (N, 3)``; sizes that have become numbers are these."""
        return self.spec("shown", [_label(size) for size in self.shape]).type

    def spec(self, name: str, shape: Iterable[Dimension]) -> TensorSpec:
        """Return the spec of this tensor with its sizes written out."""
        return TensorSpec(
            name=name, datatype=self.datatype, shape=tuple(shape), text=self.text, description=self.description
        )


@dataclass(frozen=True, slots=True)
class Clash:
    """An output that a composed step cannot give, as its branches do not agree; wrong only if somebody reads it."""

    message: str
    """The step, both branches, both types, and what to do."""


Given: TypeAlias = Flow | Clash
"""What can be read by a name."""


@dataclass(frozen=True, slots=True)
class Place:
    """A step, as errors name it."""

    node: Node
    """The step."""
    path: str
    """``detect``, or ``route/cheap`` for a branch."""

    def inside(self, branch: Node) -> Place:
        """Return the place of a branch of this step."""
        return Place(branch, f"{self.path}/{branch.name}")

    @property
    def within(self) -> str:
        """The path of the step around it; empty for a step of the graph itself."""
        return self.path.rpartition("/")[0]

    def edge(self, binding: Binding) -> str:
        """Return ``edge decode.image -> detect.image``, led by the node for a branch."""
        edge = edge_name(self.node.name, binding)
        return f"node {self.path}: {edge}" if self.within else edge

    def source(self, name: str) -> str:
        """Return where an input of this step comes from; of a branch that takes it by name, that name."""
        return next((binding.source for binding in self.node.inputs if binding.name == name), name)

    def wrong(self, message: str) -> InvalidGraph:
        """Return the error that says so of this step."""
        return InvalidGraph(f"node {self.path}: {message}")


def declared(inputs: Iterable[GraphInput]) -> dict[str, Flow]:
    """Return the flows of a graph's inputs; equal names of sizes are the same size in all of them."""
    local: dict[str, Unknown] = {}
    return {
        spec.name: Flow(
            spec.datatype, [own_size(dimension, local) for dimension in spec.shape], spec.text, spec.description
        )
        for spec in inputs
    }


def read(scope: Mapping[str, Given], binding: Binding, edge: str) -> Flow:
    """Return the tensor that a binding names.

    Args:
        scope: What can be named: all inputs, and what steps give.
        binding: The edge.
        edge: The edge as errors name it.

    Raises:
        InvalidGraph: a node gives no such output, or its branches do not agree on it (INVALID_ARGUMENT, retry: no).
    """
    given = scope.get(binding.source)
    if isinstance(given, Flow):
        return given
    if given is not None:
        raise InvalidGraph(f"{edge}: {given.message}")
    names = [source.partition(".")[2] for source in scope if source.startswith(f"{binding.node}.")]
    hint = did_you_mean(binding.tensor, names)
    raise InvalidGraph(f"{edge}: node {binding.node} gives no {binding.tensor!r}, only {listed(names)}{hint}")


def join(flow: Flow, place: Place, binding: Binding, spec: TensorSpec, shape: Sequence[Size | None]) -> None:
    """Let a tensor flow along an edge; one without a type takes what its reader expects.

    Args:
        flow: The tensor.
        place: The reader.
        binding: The edge.
        spec: What the reader's target expects.
        shape: What that is in this graph's sizes, for the whole tensor; None fits any size.

    Raises:
        InvalidGraph: it does not fit; names the edge, both types and the fix (INVALID_ARGUMENT, retry: no).
    """
    edge = place.edge(binding)
    if not flow.datatype:
        flow.datatype, flow.text, flow.read_by = spec.datatype, spec.text, edge
        flow.shape = [Unknown() if size is None else size for size in shape]
        flow.description = flow.description or spec.description
        return
    if flow.datatype != spec.datatype:
        raise _unfit(edge, flow, place.node, spec, _datatype_hint(flow, spec))
    if len(flow.shape) != len(shape):
        raise _unfit(edge, flow, place.node, spec, _rank_hint(place.node, binding, flow, spec, shape))
    for axis, (have, want) in enumerate(zip(flow.shape, shape, strict=True)):
        if want is not None and not unify(have, want, edge=edge):
            raise _unfit(edge, flow, place.node, spec, _size_hint(axis, have, want))
    flow.text = flow.text or spec.text


def misfit(have: Flow, want: Flow, *, edge: str) -> str:
    """Make two flows one type because of ``edge``; return why that cannot be, empty if it can."""
    if have.datatype != want.datatype:
        return "the datatypes differ"
    if len(have.shape) != len(want.shape):
        return "the numbers of dimensions differ"
    for axis, (left, right) in enumerate(zip(have.shape, want.shape, strict=True)):
        if not unify(left, right, edge=edge):
            return _size_hint(axis, left, right)
    return ""


def own_size(dimension: Dimension, local: dict[str, Unknown]) -> Size:
    """Return a dimension as a size; equal names in one ``local`` are the same size."""
    if isinstance(dimension, str):
        return local.setdefault(dimension, Unknown(dimension))
    return Unknown() if dimension is None else dimension


def _label(size: Size) -> Dimension:
    known = resolve(size)
    return known if isinstance(known, int) else known.name


def _unfit(edge: str, flow: Flow, node: Node, spec: TensorSpec, hint: str) -> InvalidGraph:
    how = ""
    if isinstance(node.kind, Map) and spec.name in node.kind.over:
        how = f", up to {node.kind.batch_size} items a call" if node.kind.batch_size else " for each item"
    return InvalidGraph(f"{edge}: {flow} does not fit {spec.type}{how}: {hint}")


def _datatype_hint(flow: Flow, spec: TensorSpec) -> str:
    how = "convert" if BYTES in {flow.datatype, spec.datatype} else "cast"
    return f"the datatypes differ; {how} it in a transform between them"


def _rank_hint(node: Node, binding: Binding, flow: Flow, spec: TensorSpec, shape: Sequence[Size | None]) -> str:
    """Return what to do about a tensor of another number of dimensions than its reader's ``shape``."""
    text, surplus = "the numbers of dimensions differ; ", len(flow.shape) - len(spec.shape)
    if isinstance(node.kind, Map) and binding.name in node.kind.over and not flow.shape:
        whole = Flow(spec.datatype, [Unknown() if size is None else size for size in shape], flow.text or spec.text)
        return f"there is no axis 0 to map over; give {binding.source}: {whole.type}"
    if not isinstance(node.kind, Map):
        if surplus == 1:
            return f"{text}to call {node.target} for each item along axis 0, make {node.name} a map over {binding.name}"
    elif surplus == 1:
        what = "set batch_size to 0" if binding.name in node.kind.over else f"add {binding.name} to `over`"
        return f"{text}to hand over single items along axis 0, {what}"
    elif surplus == 0:  # only where axis 0 is taken away
        return f"{text}to hand over items with axis 0 kept, set batch_size to 1 or more"
    return f"{text}reshape it in a transform between them"


def _size_hint(axis: int, have: Size, want: Size) -> str:
    causes = [f"{resolve(size)} because of {cause(size)}" for size in (have, want) if cause(size)]
    because = f" ({', '.join(causes)})" if causes else ""
    return f"axis {axis} is {resolve(have)}, but must be {resolve(want)}{because}"
