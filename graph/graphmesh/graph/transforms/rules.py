"""What the families of operations are made of: for each kind how its results are typed and how they are computed.

A type rule sees flows, whose sizes may be unknown; when a graph runs it sees the same with numbers alone, so that what
comes out always has the type that was promised, and sizes are known before anything is allocated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.tensor import BYTES
from graphmesh.graph.checks.flows import Flow
from graphmesh.graph.checks.sizes import resolve, unify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.checks.sizes import Size

__all__ = [
    "Rule",
    "axis_of",
    "made",
    "need_equal_shapes",
    "need_numbers",
    "need_one_datatype",
    "need_size",
    "need_text",
]

_Give: TypeAlias = "Callable[[Any, Sequence[Flow]], list[Flow]]"
_Run: TypeAlias = "Callable[[Any, Sequence[Tensor], Sequence[tuple[int, ...] | None]], list[Tensor]]"


class Rule(NamedTuple):
    """How one kind of operation works."""

    give: _Give
    """Types of the results, from the setting and the types of the inputs; raises InvalidGraph with the fix."""
    run: _Run
    """The results, from the setting, the inputs and the results' shapes (None: only the values tell); raises
    InvalidRequest when values do not fit."""
    most: int | None = 1
    """Most inputs; None for any number. All take at least one."""
    outputs: int = 1
    """How many results."""


def made(datatype: str, shape: Sequence[Size], *, text: bool = False) -> list[Flow]:
    """Return the flow of a single result."""
    return [Flow(datatype, list(shape), text)]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from 0, or raise InvalidGraph if there is none such."""
    if not -rank <= axis < rank:
        if not rank:
            raise InvalidGraph("a scalar has no axes; `unsqueeze` gives it one")
        raise InvalidGraph(f"axis must be {-rank} to {rank - 1}, got {axis}")
    return axis % rank


def need_numbers(flow: Flow) -> None:
    """Raise InvalidGraph unless a tensor holds numbers."""
    if flow.datatype in {BYTES, "BOOL"}:
        raise InvalidGraph(f"it takes numbers, got {flow.type}; `cast` it first")


def need_text(flows: Sequence[Flow]) -> None:
    """Raise InvalidGraph unless all tensors hold text."""
    for flow in flows:
        if flow.datatype != BYTES:
            raise InvalidGraph(f"it takes text, got {flow.type}; `cast` it to TEXT first")


def need_one_datatype(flows: Sequence[Flow]) -> None:
    """Raise InvalidGraph unless all tensors have one datatype."""
    for flow in flows[1:]:
        if flow.datatype != flows[0].datatype:
            raise InvalidGraph(f"its inputs must have one datatype, got {_types(flows)}; `cast` what differs")


def need_equal_shapes(flows: Sequence[Flow], *, but: int = -1) -> list[Size]:
    """Return the shape that all tensors have, but for one axis; raise InvalidGraph if they cannot have the same."""
    first = flows[0].shape
    for flow in flows[1:]:
        if len(flow.shape) != len(first):
            raise InvalidGraph(f"its inputs must have equally many dimensions, got {_types(flows)}; `reshape` them")
        for axis, (left, right) in enumerate(zip(first, flow.shape, strict=True)):
            if axis != but and not unify(left, right, edge="an operation"):
                raise InvalidGraph(
                    f"its inputs must have equal sizes, got {resolve(left)} and {resolve(right)} at axis {axis}"
                )
    return list(first)


def need_size(size: Size, wanted: int, what: str) -> None:
    """Make a size the one that is wanted; raise InvalidGraph if it is another."""
    if not unify(size, wanted, edge="an operation"):
        raise InvalidGraph(f"{what} must have size {wanted}, got {resolve(size)}")


def _types(flows: Sequence[Flow]) -> str:
    return ", ".join(flow.type for flow in flows)
