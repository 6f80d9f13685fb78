"""The plan of a graph as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from graphmesh.graph.placing.itinerary import Crossing, Itinerary, Lack, Segment
    from graphmesh.graph.placing.traffic import Traffic

__all__ = ["plan_to_text"]

_KIB = 1024
_MOST_LACKS = 3


def plan_to_text(plan: Itinerary) -> str:
    """Return the segments in running order, where each runs, and what crosses the network for it."""
    lines = [f"graph {plan.graph} on {plan.worker or 'no worker'}"]
    for number, segment in enumerate(plan.segments, start=1):
        lines += ["", f"{number}  {_segment(segment)}"]
        lines += [f"   {line}" for line in (*_uses(segment), *_crossings(segment))]
    return "\n".join([*lines, "", _summary(plan)]) + "\n"


def _segment(segment: Segment) -> str:
    if segment.fused:
        return f"{', '.join(segment.steps)}: here{', fused' if len(segment.steps) > 1 else ''}"
    return f"{', '.join(segment.steps)}: {_where(segment.crossings[0])}"


def _uses(segment: Segment) -> Iterator[str]:
    for use in segment.uses:
        yield f"{use.path}: runs {use.target}"


def _crossings(segment: Segment) -> Iterator[str]:
    for crossing in segment.crossings:
        if segment.fused:
            yield f"{crossing.path}: {_where(crossing)}"
        indent = "  " if segment.fused else ""
        yield f"{indent}calls {crossing.target}{' for its items' if crossing.many else ''}"
        if crossing.lacks:
            yield f"{indent}not fused: {_lacks(crossing.lacks)}"
        yield from (f"{indent}sends {_tensor(one)}" for one in crossing.sends)
        yield from (f"{indent}gets  {_tensor(one)}" for one in crossing.receives)


def _where(crossing: Crossing) -> str:
    if crossing.workers:
        return f"on {' or '.join(crossing.workers)}, through a gateway"
    return "nowhere, as no worker has it now: its calls fail"


def _lacks(lacks: Sequence[Lack]) -> str:
    said = [f"{one.target} is {_only_on(one.workers)}" for one in lacks[:_MOST_LACKS]]
    more = len(lacks) - len(said)
    return ", ".join([*said, *([f"and {more} more"] if more else [])])


def _only_on(workers: Sequence[str]) -> str:
    return f"only on {' and '.join(workers)}" if workers else "on no worker"


def _tensor(traffic: Traffic) -> str:
    if not traffic.type:
        return f"{traffic.tensor}, of unknown type"
    if traffic.unit_bytes is None:
        return f"{traffic.tensor}: {traffic.type}"
    times = "".join(f" x {size}" for size in traffic.open)
    return f"{traffic.tensor}: {traffic.type}, {_bytes(traffic.unit_bytes)}{times}"


def _bytes(count: int) -> str:
    if count < _KIB:
        return f"{count} B"
    return f"{count / _KIB:.4g} KiB" if count < _KIB**2 else f"{count / _KIB**2:.4g} MiB"


def _summary(plan: Itinerary) -> str:
    crossings = [crossing for segment in plan.segments for crossing in segment.crossings]
    if not crossings:
        return "nothing crosses the network"
    where = "step or branch calls" if len(crossings) == 1 else "steps or branches call"
    return f"{len(crossings)} {where} over the network{_known(crossings)}"


def _known(crossings: Sequence[Crossing]) -> str:
    tensors = [one for crossing in crossings for one in (*crossing.sends, *crossing.receives)]
    sizes = [one.total_bytes for one in tensors]
    total = sum(size for size in sizes if size is not None)
    if None not in sizes:
        return f", {_bytes(total)} in all"
    return f", {_bytes(total)} and what the request decides" if total else ""
