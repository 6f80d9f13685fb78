"""How a graph would run on a worker, as values: its segments, and the calls that leave the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from graphmesh.graph.placing.traffic import Traffic
    from graphmesh.graph.spec import Target

__all__ = ["Crossing", "Itinerary", "Lack", "Segment", "Use"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """A model that a worker would have to host to run a graph by itself."""

    target: Target
    """The model, with the version that it must be; a graph that is not known."""
    workers: tuple[str, ...]
    """Who has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A call that stays in the graph's own process."""

    path: str
    """The step or branch that makes it."""
    target: Target
    """What is called, of a model with the version that answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A call that leaves the worker."""

    path: str
    """The step or branch that makes it."""
    target: Target
    """What is called, with the version that answers; without one if any of several may."""
    many: bool
    """It is called for each item of a map; what is sent and received is told for all of them together."""
    workers: tuple[str, ...]
    """Who may answer; none if nobody can at the moment."""
    sends: tuple[Traffic, ...]
    """Tensors that go there."""
    receives: tuple[Traffic, ...]
    """Tensors that come back: those that are read, as far as they are known."""
    lacks: tuple[Lack, ...] = ()
    """Of a graph: the models for want of which it does not run in the process of the graph that calls it."""


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
    uses: tuple[Use, ...] = ()
    """Calls that do not."""


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
                    "uses": [{"node": use.path, **_target_form(use.target)} for use in one.uses],
                    "crossings": [_crossing_form(crossing) for crossing in one.crossings],
                }
                for one in self.segments
            ],
        }


def _crossing_form(crossing: Crossing) -> dict[str, object]:
    return {
        "node": crossing.path,
        **_target_form(crossing.target),
        "lacks": [{**_target_form(lack.target), "workers": list(lack.workers)} for lack in crossing.lacks],
        "many": crossing.many,
        "workers": list(crossing.workers),
        "sends": [one.to_dict() for one in crossing.sends],
        "receives": [one.to_dict() for one in crossing.receives],
    }


def _target_form(target: Target) -> dict[str, object]:
    return {
        "target": target.name,
        "kind": "graph" if isinstance(target, GraphCall) else "model",
        "version": "" if isinstance(target, GraphCall) else target.version,
    }
