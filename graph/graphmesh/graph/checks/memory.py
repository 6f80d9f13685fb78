"""Bytes that one request holds at least, as far as sizes are numbers.

A walk along the order in which steps run: a tensor is held from the step that gives it to the last that reads it.
Tensors of unknown size, and of BYTES, count as nothing; a run counts the real ones, so that refused here is only what
never fits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.tensor import itemsize
from graphmesh.graph.checks.sizes import resolve
from graphmesh.graph.limits import MAX_BYTES_IN_FLIGHT
from graphmesh.graph.spec import Aggregate, Join, Parallel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from graphmesh.graph.checks.flows import Flow, Place
    from graphmesh.graph.spec import Graph

__all__ = ["check_memory"]


def check_memory(graph: Graph, places: Sequence[Place], flows: Mapping[str, Flow]) -> None:
    """Check what one request holds at once.

    Args:
        graph: The graph.
        places: Its steps, each after those it reads from.
        flows: Every tensor by source, those inside steps too.

    Raises:
        InvalidGraph: more than `MAX_BYTES_IN_FLIGHT`; names the step at which it is most (INVALID_ARGUMENT, retry: no).
    """
    last = {binding.source: index for index, place in enumerate(places) for binding in place.node.inputs}
    last |= {binding.source: len(places) for binding in graph.outputs}
    ending: dict[int, list[str]] = {}
    given: dict[str, list[str]] = {}
    for source, index in last.items():
        ending.setdefault(index, []).append(source)
        given.setdefault(source.partition(".")[0] if "." in source else "", []).append(source)
    held = sum(_size(flows[source]) for source in given.get("", ()))
    most, where = held, "the request itself"
    for index, place in enumerate(places):
        read = given.get(place.path, [])
        peak = held + _peak(place, {source.partition(".")[2] for source in read}, flows)
        most, where = max((most, where), (peak, f"node {place.path}"), key=lambda entry: entry[0])
        held += sum(_size(flows[source]) for source in read)
        held -= sum(_size(flows[source]) for source in ending.get(index, ()))
    if most > MAX_BYTES_IN_FLIGHT:
        raise InvalidGraph(
            f"{where}: tensors of at least {most} bytes are held at once, more than the {MAX_BYTES_IN_FLIGHT} that one "
            "request may; make them smaller, or divide large ones among requests"
        )


def _peak(place: Place, wanted: Collection[str], flows: Mapping[str, Flow]) -> int:
    """Return the bytes that a step makes and holds at once, its outputs included."""
    made = sum(_size(flows[f"{place.path}.{name}"]) for name in wanted)
    inside = [_branch(place.inside(branch), wanted, flows) for branch in place.node.branches]
    kind = place.node.kind
    if not isinstance(kind, Parallel) or kind.join is not Join.ALL:
        return max(made, *inside, 0)
    return sum(inside) + (0 if kind.aggregate is Aggregate.MERGE else made)


def _branch(place: Place, wanted: Collection[str], flows: Mapping[str, Flow]) -> int:
    renamed = {binding.name: binding.source for binding in place.node.outputs}
    own = {renamed.get(name, "") if renamed else name for name in wanted}
    return _peak(place, {name for name in own if f"{place.path}.{name}" in flows}, flows)


def _size(flow: Flow) -> int:
    width = itemsize(flow.datatype)
    shape = [resolve(size) for size in flow.shape]
    numbers = [size for size in shape if isinstance(size, int)]
    return math.prod(numbers) * width if width is not None and len(numbers) == len(shape) else 0
