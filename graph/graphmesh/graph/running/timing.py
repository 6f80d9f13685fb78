"""The times of calls: of one, and of all calls that a step made together.

They are summed up as they come: what is kept, and what it costs to tell, grows with the places of a graph, not with its
calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from graphmesh.graph.running.ending import OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.running.ending import Ending

__all__ = ["PARTS", "CallTiming", "Calls", "milliseconds", "timing_of"]

PARTS = ("queue", "batch", "compute", "serialise", "network")
"""What a call's time is made of, in the order that it passes; the rest is the runtime's own."""

_MOST_NESTED = 16
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
    ending: Ending | None = OK
    """How it ended; None for a stream that goes on, whose ``end`` is when its last answer came."""
    answers: int = 0
    """Of a stream: how many answers came."""
    first_answer_s: float = 0.0
    """Of a stream: seconds from ``start`` to its first answer."""


def timing_of(facts: Mapping[str, Any], **known: Any) -> CallTiming:  # noqa: ANN401 - fields
    """Return a call's times with what its answer's own explanation says about them.

    Args:
        facts: The `explain` document of the answer, of a model or a graph; empty if it has none.
        known: Fields of `CallTiming` that whoever made the call knows.
    """
    parts = {name: facts[f"{name}_ms"] / 1000 for name in PARTS if isinstance(facts.get(f"{name}_ms"), float | int)}
    return CallTiming(
        worker=str(facts.get("worker", "")),
        parts=parts,
        batch_rows=int(facts.get("batch_rows", 0)),
        retries=int(facts.get("retries", 0)),
        nested={k: v for k, v in facts.items() if k not in _COUNTED} if "nodes" in facts else None,
        **known,
    )


_COUNTED = frozenset({*(f"{name}_ms" for name in PARTS), "retries"})


@dataclass(slots=True)
class Calls:
    """The calls of one place together."""

    count: int = 0
    seconds: float = 0.0
    fused: bool = True
    version: str = ""
    batch_rows: int = 0
    retries: int = 0
    workers: set[str] = field(default_factory=set)
    parts: dict[str, float] = field(default_factory=dict)
    answers: int = 0
    first_answer_s: float = 0.0
    nested: list[tuple[str, CallTiming]] = field(default_factory=list)
    """The longest of those that have an explanation of their own, longest first."""

    def copy(self) -> Calls:
        """Return the same, to be added to."""
        return replace(self, workers=set(self.workers), parts=dict(self.parts), nested=list(self.nested))

    def add(self, path: str, call: CallTiming) -> None:
        """Take one call."""
        self.count += 1
        self.seconds += call.end - call.start
        self.fused = self.fused and call.fused
        self.version = call.version
        self.batch_rows = max(self.batch_rows, call.batch_rows)
        self.retries += call.retries
        if call.answers:
            self.first_answer_s = self.first_answer_s if self.answers else call.first_answer_s
            self.answers += call.answers
        if call.worker and len(self.workers) < _MOST_WORKERS:
            self.workers.add(call.worker)
        for name, seconds in call.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + seconds
        if call.nested is not None:
            self.nested.append((path, call))
            self.nested.sort(key=lambda one: one[1].start - one[1].end)
            del self.nested[_MOST_NESTED:]

    def to_dict(self) -> dict[str, object]:
        """Return what an explanation says of them, but for what they called and for `nested`."""
        form: dict[str, object] = {
            "version": self.version,
            "worker": ",".join(sorted(self.workers)),
            "fused": self.fused,
            "calls": self.count,
            "calls_ms": milliseconds(self.seconds),
        }
        form |= {f"{name}_ms": milliseconds(self.parts[name]) for name in PARTS if name in self.parts}
        if self.answers:
            form |= {"answers": self.answers, "first_answer_ms": milliseconds(self.first_answer_s)}
        if self.batch_rows:
            form["batch_rows"] = self.batch_rows
        if self.retries:
            form["retries"] = self.retries
        return form


def milliseconds(seconds: float) -> float:
    """Return seconds as explanations have them."""
    return round(seconds * 1000, 3)
