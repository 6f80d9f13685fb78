"""How a graph would run on a worker, as values: its segments, and the calls that leave the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from graphmesh.graph.placing.traffic import Traffic
    from graphmesh.graph.spec import Target

__all__ = ["Crossing", "Itinerary", "Segment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A call that leaves the worker."""

    path: str
    """The step or branch that makes it."""
    target: Target
    """What is called, with the version that it must be, if it must be one."""
    many: bool
    """It is called for each item of a map; what is sent and received is told for all of them together."""
    workers: tuple[str, ...]
    """Who may answer; none if nobody can at the moment."""
    sends: tuple[Traffic, ...]
    """Tensors that go there."""
    receives: tuple[Traffic, ...]
    """Tensors that come back: those that are read, as far as they are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Steps that run one after the other, or side by side, in one place."""

    steps: tuple[str, ...]
    """Names, in running order."""
    fused: bool
    """They run in the graph's own process."""
    workers: tuple[str, ...]
    """Where they run: the graph's worker, or those that one of them is chosen from."""
    crossings: tuple[Crossing, ...]
    """Calls that leave the graph's worker: the step itself, or branches of fused ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Itinerary:
    """How a graph would run on a worker."""

    graph: str
    """Its name."""
    worker: str
    """Where."""
    segments: tuple[Segment, ...]
    """In running order."""

    def to_dict(self) -> dict[str, object]:
        """Return it ready for JSON."""
        return {
            "graph": self.graph,
            "worker": self.worker,
            "segments": [
                {
                    "steps": list(one.steps),
                    "fused": one.fused,
                    "workers": list(one.workers),
                    "crossings": [_crossing_form(crossing) for crossing in one.crossings],
                }
                for one in self.segments
            ],
        }


def _crossing_form(crossing: Crossing) -> dict[str, object]:
    target = crossing.target
    return {
        "node": crossing.path,
        "target": target.name,
        "kind": "graph" if isinstance(target, GraphCall) else "model",
        "version": "" if isinstance(target, GraphCall) else target.version,
        "many": crossing.many,
        "workers": list(crossing.workers),
        "sends": [one.to_dict() for one in crossing.sends],
        "receives": [one.to_dict() for one in crossing.receives],
    }
