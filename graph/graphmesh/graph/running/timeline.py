"""What happened to one request inside a graph, step by step: what an answer carries when `explain` is asked for.

Whoever makes a call records it with instants of one clock, whoever runs a step or branch says when it ran, and actions
note what they decided; nothing here reads a clock. All that happens at one place of the graph becomes one entry: the
calls of a map, the times of a loop, the positions of a stream. It reaches from the first start to the last end, with
the number of calls and the time that they took together (`timing`). `docs/explain.md` says what each field means.

A stream is told of while it goes on, each time an answer of it came: how many there are by then, and until when.

The critical path is what the answer waited for. Between steps it follows the edges, from the step that ended last
back along the latest producer. Inside a step it follows time: from the branch that ended last to the one that ended
last before that began. What was not needed any more is never on it; what was cut off by a limit is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.graph.order import producers
from graphmesh.graph.placing.places import Place, kind_of, place_of
from graphmesh.graph.running.ending import CANCELLED, OK
from graphmesh.graph.running.timing import Calls, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.graph.running.call import Call
    from graphmesh.graph.running.ending import Ending
    from graphmesh.graph.running.timing import CallTiming
    from graphmesh.graph.spec import Graph

__all__ = ["RUNNING", "Fact", "Timeline"]

RUNNING = "running"
"""The outcome of a stream that goes on, and of the steps around it."""

Fact: TypeAlias = str | float | bool
"""What a step notes of itself."""

_MOST_VALUES = 16


@dataclass(slots=True)
class _Spot:
    """All that happened at one place."""

    place: Place
    start: float = float("inf")
    end: float = float("-inf")
    ending: Ending | None = None
    calls: Calls = field(default_factory=Calls)
    streaming: dict[Call, CallTiming] = field(default_factory=dict)
    """Calls that go on."""
    notes: dict[str, list[Fact]] = field(default_factory=dict)
    inside: dict[str, _Spot] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """How it ended; empty if nothing of it has."""
        return "" if self.ending is None else self.ending.outcome

    def span(self, start: float, end: float, ending: Ending) -> None:
        """Take one run; one that was cancelled beside another that was not (a hedge) does not count."""
        if self.outcome == CANCELLED != ending.outcome:
            self.start, self.end = float("inf"), float("-inf")
        elif ending.outcome == CANCELLED != (self.outcome or CANCELLED):
            return
        if end >= self.end:
            self.ending = ending
        self.reach(start, end)

    def reach(self, start: float, end: float) -> None:
        """Reach over a time."""
        self.start, self.end = min(self.start, start), max(self.end, end)

    @property
    def goes_on(self) -> bool:
        """Whether a stream at this place, or inside a step that has not ended, goes on."""
        return bool(self.streaming) or (not self.outcome and any(inner.goes_on for inner in self.inside.values()))


class Timeline:
    """Collects what happens in one run.

    Args:
        graph: What is run.
        revision: Which revision of it.
        start: When the run began; monotonic seconds.
    """

    def __init__(self, graph: Graph, *, revision: int, start: float) -> None:
        self._graph = graph
        self._revision = revision
        self._start = start
        self._spots: dict[str, _Spot] = {}

    def record(self, call: Call, timing: CallTiming) -> None:
        """Take one call that has ended, however it did, or how far a stream is that goes on."""
        spot = self._spot(call.path)
        spot.streaming.pop(call, None)
        if timing.ending is None:
            spot.streaming[call] = timing
            spot.reach(timing.start, timing.end)
            return
        spot.span(timing.start, timing.end, timing.ending)
        spot.calls.add(call.path, timing)

    def ran(self, path: str, *, start: float, end: float, ending: Ending = OK) -> None:
        """Take one run of a step or branch that has ended; needed for those that make no call themselves."""
        self._spot(path).span(start, end, ending)

    def note(self, path: str, facts: Mapping[str, Fact]) -> None:
        """Take facts about a step; one that differs from what the step noted before is kept beside it."""
        notes = self._spot(path).notes
        for name, value in facts.items():
            values = notes.setdefault(name, [])
            if value not in values and len(values) < _MOST_VALUES:
                values.append(value)

    def to_dict(self, *, end: float) -> dict[str, object]:
        """Return the explanation, ready for JSON; steps in the order they started, times in milliseconds.

        Args:
            end: When the run ended.
        """
        for spot in self._spots.values():
            _reach(spot)
        spots = {name: spot for name, spot in self._spots.items() if spot.end >= spot.start}
        return {
            "graph": self._graph.name,
            "revision": self._revision,
            "duration_ms": milliseconds(end - self._start),
            "critical_path": self._critical_path(spots),
            "nodes": self._forms(spots.values()),
        }

    def _spot(self, path: str) -> _Spot:
        """Return the spot of a path, whichever call, time or position it names."""
        spots, spot = self._spots, None
        for place in place_of(self._graph, path):
            spot = spots.get(place.name)
            if spot is None:
                spot = spots[place.name] = _Spot(place)
            spots = spot.inside
        assert spot is not None, "a path must name a step"  # noqa: S101
        return spot

    def _forms(self, spots: Iterable[_Spot]) -> list[dict[str, object]]:
        return [self._form(spot) for spot in sorted(spots, key=lambda spot: spot.start)]

    def _form(self, spot: _Spot) -> dict[str, object]:
        form: dict[str, object] = {
            "node": spot.place.path,
            "kind": kind_of(spot.place.node),
            "outcome": RUNNING if spot.goes_on else spot.outcome or "ok",
            "start_ms": milliseconds(spot.start - self._start),
            "duration_ms": milliseconds(spot.end - spot.start),
        }
        if spot.ending is not None and spot.ending.reason and not spot.goes_on:
            form["reason"] = spot.ending.reason
        if spot.calls.count or spot.streaming:
            form |= self._calls(spot)
        elif spot.place.node is not None and spot.place.node.target is not None:  # refused before it was called
            form["target"] = spot.place.node.target.name
        if spot.notes:
            form["notes"] = {name: values[0] if len(values) == 1 else values for name, values in spot.notes.items()}
        if spot.inside:
            form["branches"] = self._forms(inner for inner in spot.inside.values() if inner.end >= inner.start)
        return form

    def _calls(self, spot: _Spot) -> dict[str, object]:
        """Return what is said of a step's calls together."""
        calls = spot.calls
        if spot.streaming:
            calls = calls.copy()
            for call, timing in spot.streaming.items():
                calls.add(call.path, timing)
        target = spot.place.node.target if spot.place.node else None
        form = {"target": target.name if target else "", **calls.to_dict()}
        if calls.nested:
            form["nested"] = [
                self._nested(path, call) for path, call in sorted(calls.nested, key=lambda one: one[1].start)
            ]
        return form

    def _nested(self, path: str, call: CallTiming) -> dict[str, object]:
        """Return a called graph's explanation, placed in this graph's time: if it ran elsewhere, amid the call."""
        document = dict(call.nested or {})
        took = document.get("duration_ms")
        spare = call.end - call.start - (took / 1000 if isinstance(took, float | int) else 0.0)
        begun = call.start if call.fused else call.start + max(0.0, spare) / 2
        return {"call": path, "start_ms": milliseconds(begun - self._start), **document}

    def _critical_path(self, spots: Mapping[str, _Spot]) -> list[str]:
        needs = producers(self._graph)
        path: list[str] = []
        choices = [spot for spot in spots.values() if spot.outcome != CANCELLED]
        while choices:
            last = max(choices, key=lambda spot: spot.end)
            path = [last.place.path, *_waited_for(last), *path]
            choices = [spots[name] for name in needs.get(last.place.name, ()) if name in spots]
        return path


def _reach(spot: _Spot) -> None:
    """Make a spot reach over all inside it."""
    for inner in spot.inside.values():
        _reach(inner)
        spot.reach(inner.start, inner.end)


def _waited_for(spot: _Spot) -> list[str]:
    """Return the branches of a step that its answer waited for, and theirs, in the order of time."""
    path: list[str] = []
    left = [inner for inner in spot.inside.values() if inner.outcome != CANCELLED and inner.end >= inner.start]
    while left:
        last = max(left, key=lambda inner: inner.end)
        path = [last.place.path, *_waited_for(last), *path]
        left = [inner for inner in left if inner.end <= last.start and inner is not last]
    return path
