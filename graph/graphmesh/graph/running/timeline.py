"""What happened to one request inside a graph, step by step: what an answer carries when `explain` is asked for.

Whoever makes a call records it with instants of one clock, whoever runs a step or branch says when it ran, and actions
note what they decided; nothing here reads a clock. All that happens at one place of the graph becomes one entry: the
calls of a map, the times of a loop, the positions of a stream. It reaches from the first start to the last end, with
the number of calls and the time that they took together. These are summed up as they come: what is kept, and what it
costs to tell, grows with the places of a graph, not with its calls. `docs/explain.md` says what each field means.

The critical path is what the answer waited for. Between steps it follows the edges, from the step that ended last
back along the latest producer. Inside a step it follows time: from the branch that ended last to the one that ended
last before that began. What was cancelled is never on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from graphmesh.graph.order import producers
from graphmesh.graph.placing.places import Place, kind_of, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.graph.running.call import Call
    from graphmesh.graph.spec import Graph

__all__ = ["CANCELLED", "PARTS", "CallTiming", "Fact", "Timeline", "timing_of"]

PARTS = ("queue", "batch", "compute", "serialise", "network")
"""What a call's time is made of, in the order that it passes; the rest is the runtime's own."""

CANCELLED = "CANCELLED"
"""The outcome of what was not needed any more."""

Fact: TypeAlias = str | float | bool
"""What a step notes of itself."""

_MOST_NESTED = 16
_MOST_VALUES = 16
_MOST_WORKERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTiming:
    """One call, as whoever made it saw it."""

    start: float
    """When it was made; monotonic seconds."""
    end: float
    """When its answer or error came."""
    worker: str = ""
    """Who answered; empty if unknown."""
    fused: bool = False
    """It ran in the process that ran the graph."""
    version: str = ""
    """The model's version, or the graph's revision, that answered."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Measured parts of it in seconds, by name; see `PARTS`."""
    batch_rows: int = 0
    """Rows of the batch it ran in; 0 if it was not batched or that is unknown."""
    retries: int = 0
    """How often it was sent again on its way."""
    nested: Mapping[str, object] | None = None
    """The called graph's own explanation."""
    outcome: str = "ok"
    """`ok`, or the name of the gRPC code it failed with; `CANCELLED` if it was not needed any more."""


def timing_of(
    facts: Mapping[str, Any], *, start: float, end: float, fused: bool, version: str, outcome: str = "ok"
) -> CallTiming:
    """Return a call's times with what its answer's own explanation says about them.

    Args:
        facts: The `explain` document of the answer, of a model or a graph; empty if it has none.
        start: When the call was made.
        end: When its answer was there.
        fused: It ran in this process.
        version: Who answered.
        outcome: As `CallTiming.outcome`.
    """
    parts = {name: facts[f"{name}_ms"] / 1000 for name in PARTS if isinstance(facts.get(f"{name}_ms"), float | int)}
    return CallTiming(
        start=start,
        end=end,
        worker=str(facts.get("worker", "")),
        fused=fused,
        version=version,
        parts=parts,
        batch_rows=int(facts.get("batch_rows", 0)),
        retries=int(facts.get("retries", 0)),
        nested={k: v for k, v in facts.items() if k not in _COUNTED} if "nodes" in facts else None,
        outcome=outcome,
    )


_COUNTED = frozenset({*(f"{name}_ms" for name in PARTS), "retries"})


@dataclass(slots=True)
class _Calls:
    """The calls of one place together."""

    count: int = 0
    seconds: float = 0.0
    fused: bool = True
    version: str = ""
    batch_rows: int = 0
    retries: int = 0
    workers: set[str] = field(default_factory=set)
    parts: dict[str, float] = field(default_factory=dict)
    nested: list[tuple[str, CallTiming]] = field(default_factory=list)
    """The longest of those that have an explanation of their own, longest first."""

    def add(self, path: str, call: CallTiming) -> None:
        """Take one call."""
        self.count += 1
        self.seconds += call.end - call.start
        self.fused = self.fused and call.fused
        self.version = call.version
        self.batch_rows = max(self.batch_rows, call.batch_rows)
        self.retries += call.retries
        if call.worker and len(self.workers) < _MOST_WORKERS:
            self.workers.add(call.worker)
        for name, seconds in call.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + seconds
        if call.nested is not None:
            self.nested.append((path, call))
            self.nested.sort(key=lambda one: one[1].start - one[1].end)
            del self.nested[_MOST_NESTED:]


@dataclass(slots=True)
class _Spot:
    """All that happened at one place."""

    place: Place
    start: float = float("inf")
    end: float = float("-inf")
    outcome: str = ""
    calls: _Calls = field(default_factory=_Calls)
    notes: dict[str, list[Fact]] = field(default_factory=dict)
    inside: dict[str, _Spot] = field(default_factory=dict)

    def span(self, start: float, end: float, outcome: str) -> None:
        """Take one run; one that was cancelled beside another that was not (a hedge) does not count."""
        if self.outcome == CANCELLED != outcome:
            self.start, self.end = float("inf"), float("-inf")
        elif outcome == CANCELLED != (self.outcome or CANCELLED):
            return
        if end >= self.end:
            self.outcome = outcome
        self.start, self.end = min(self.start, start), max(self.end, end)


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
        """Take one call that has ended, however it did."""
        spot = self._spot(call.path)
        spot.span(timing.start, timing.end, timing.outcome)
        spot.calls.add(call.path, timing)

    def ran(self, path: str, *, start: float, end: float, outcome: str = "ok") -> None:
        """Take one run of a step or branch that has ended; needed for those that make no call themselves."""
        self._spot(path).span(start, end, outcome)

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
            "duration_ms": _ms(end - self._start),
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
            "outcome": spot.outcome or "ok",
            "start_ms": _ms(spot.start - self._start),
            "duration_ms": _ms(spot.end - spot.start),
        }
        if spot.calls.count:
            form |= self._calls(spot)
        if spot.notes:
            form["notes"] = {name: values[0] if len(values) == 1 else values for name, values in spot.notes.items()}
        if spot.inside:
            form["branches"] = self._forms(inner for inner in spot.inside.values() if inner.end >= inner.start)
        return form

    def _calls(self, spot: _Spot) -> dict[str, object]:
        """Return what is said of a step's calls together."""
        calls = spot.calls
        target = spot.place.node.target if spot.place.node else None
        form: dict[str, object] = {
            "target": target.name if target else "",
            "version": calls.version,
            "worker": ",".join(sorted(calls.workers)),
            "fused": calls.fused,
            "calls": calls.count,
            "calls_ms": _ms(calls.seconds),
        }
        form |= {f"{name}_ms": _ms(calls.parts[name]) for name in PARTS if name in calls.parts}
        if calls.batch_rows:
            form["batch_rows"] = calls.batch_rows
        if calls.retries:
            form["retries"] = calls.retries
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
        return {"call": path, "start_ms": _ms(begun - self._start), **document}

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
        spot.start, spot.end = min(spot.start, inner.start), max(spot.end, inner.end)


def _waited_for(spot: _Spot) -> list[str]:
    """Return the branches of a step that its answer waited for, and theirs, in the order of time."""
    path: list[str] = []
    left = [inner for inner in spot.inside.values() if inner.outcome != CANCELLED and inner.end >= inner.start]
    while left:
        last = max(left, key=lambda inner: inner.end)
        path = [last.place.path, *_waited_for(last), *path]
        left = [inner for inner in left if inner.end <= last.start and inner is not last]
    return path


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
