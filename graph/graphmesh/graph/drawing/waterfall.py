"""The rows of a waterfall: what an answer's `explain` document says, step by step, with where each stood in time.

The rows of a step's branches and of the graphs that it called follow it, indented. Documents come from other programs
and other versions: what is missing is taken as nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphmesh.graph.running.timeline import RUNNING
from graphmesh.graph.running.timing import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Row", "waterfall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step, branch, or called graph."""

    depth: int
    """How many rows it is inside."""
    name: str
    """The step as the graph around it names it; of a called graph the call."""
    target: str
    """What it called: `model name@1`; its kind if it called nothing itself."""
    where: str
    """`fused` or `remote` and the worker; empty if it called nothing itself."""
    outcome: str
    """`ok`, also of a stream of which more may come; or the gRPC code it failed with."""
    start_ms: float
    """After the beginning of the whole call."""
    duration_ms: float
    """From its first start to its last end."""
    calls: int
    """How many calls it made; 0 if it made none itself."""
    parts: tuple[tuple[str, float], ...]
    """What it spent its calls' time on, and how many milliseconds of each; summed over calls."""
    calls_ms: float
    """The time of all its calls together."""
    critical: bool
    """The answer waited for it."""
    notes: tuple[str, ...]
    """What else is known: `chosen: cheap`, `batch of 8 rows`."""

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Which fraction of its bar each part takes, none that is nothing; together at most 1.

        They are to the scale of the bar: what is left is the runtime's own, or between calls that came one after the
        other. Of calls side by side, whose times are more than the bar, each part has its share of these.
        """
        whole = max(self.duration_ms, self.calls_ms, sum(ms for _, ms in self.parts))
        return [(name, ms / whole) for name, ms in self.parts if ms > 0]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where rows go, and how they count."""

    depth: int
    offset_ms: float
    nested: int
    critical: bool


def waterfall(document: Mapping[str, Any], *, nested: int) -> list[Row]:
    """Return the rows of a document in the order of its steps.

    Args:
        document: What an answer carries as `explain`, of a graph or a model.
        nested: Of the graphs that one step called, how many are shown: the longest.
    """
    if "nodes" not in document:
        return [_model(document)]
    return list(_rows(document, _Place(0, 0.0, nested, critical=True)))


def _model(document: Mapping[str, Any]) -> Row:
    """Return the row of a call of a model alone."""
    parts = _parts(document)
    total = document.get("duration_ms", sum(ms for _, ms in parts))
    return Row(
        depth=0,
        name=str(document.get("model", "")),
        target=_target(document, "model", str(document.get("model", ""))),
        where=str(document.get("worker", "")),
        outcome="ok",
        start_ms=0.0,
        duration_ms=total,
        calls=1,
        parts=parts,
        calls_ms=total,
        critical=True,
        notes=_notes(document),
    )


def _rows(document: Mapping[str, Any], place: _Place) -> Iterator[Row]:
    critical = frozenset[str](document.get("critical_path", ()) if place.critical else ())
    for node in document.get("nodes", ()):
        yield from _node(node, critical, place)


def _node(node: Mapping[str, Any], critical: frozenset[str], place: _Place) -> Iterator[Row]:
    path, kind = str(node.get("node", "")), str(node.get("kind", ""))
    called = "calls" in node
    yield Row(
        depth=place.depth,
        name=path.rpartition("/")[2],
        target=_target(node, kind, str(node.get("target", ""))),
        where=f"{'fused' if node.get('fused') else 'remote'} {node.get('worker', '')}".rstrip() if called else "",
        outcome="ok" if _goes_on(node) else str(node.get("outcome", "ok")),
        start_ms=place.offset_ms + node.get("start_ms", 0.0),
        duration_ms=node.get("duration_ms", 0.0),
        calls=node.get("calls", 0),
        parts=_parts(node),
        calls_ms=node.get("calls_ms", 0.0),
        critical=path in critical,
        notes=(*_notes(node), *_left_out(node, place.nested)),
    )
    inner = replace(place, depth=place.depth + 1, critical=path in critical)
    for branch in node.get("branches", ()):
        yield from _node(branch, critical, inner)
    yield from _called(list(node.get("nested", ())), inner)


def _called(graphs: Sequence[Mapping[str, Any]], place: _Place) -> Iterator[Row]:
    """Return the rows of graphs that a step called; of several, each under a row that says which call it was."""
    if len(graphs) == 1:
        begun = place.offset_ms + graphs[0].get("start_ms", 0.0)
        yield from _rows(graphs[0], replace(place, offset_ms=begun))
        return
    last = max(graphs, key=lambda one: one.get("start_ms", 0.0) + one.get("duration_ms", 0.0), default=None)
    longest = sorted(graphs, key=lambda one: -one.get("duration_ms", 0.0))[: place.nested]
    for graph in graphs:
        if graph in longest:
            yield from _one_of_several(graph, replace(place, critical=place.critical and graph is last))


def _one_of_several(graph: Mapping[str, Any], place: _Place) -> Iterator[Row]:
    begun = place.offset_ms + graph.get("start_ms", 0.0)
    yield Row(
        depth=place.depth,
        name=str(graph.get("call", "")),
        target=f"graph {graph.get('graph', '')}@{graph.get('revision', '')}",
        where=str(graph.get("worker", "")),
        outcome="ok",
        start_ms=begun,
        duration_ms=graph.get("duration_ms", 0.0),
        calls=0,
        parts=(),
        calls_ms=0.0,
        critical=place.critical,
        notes=(),
    )
    yield from _rows(graph, replace(place, depth=place.depth + 1, offset_ms=begun))


def _target(node: Mapping[str, Any], kind: str, target: str) -> str:
    if not target:
        return kind
    version = node.get("version", "")
    return f"{kind} {target}@{version}" if version else f"{kind} {target}"


def _parts(node: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    return tuple((name, node[f"{name}_ms"]) for name in PARTS if f"{name}_ms" in node)


def _notes(node: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [str(node["reason"])] if node.get("reason") else []
    so_far = " so far" if _goes_on(node) or "model" in node else ""
    if answers := node.get("answers"):
        first_ms = node.get("first_answer_ms", 0)
        notes.append(f"{answers} answer{'s' if answers > 1 else ''}{so_far}, the first after {first_ms} ms")
    elif so_far and "branches" in node:
        notes.append("so far")
    notes += [f"{name}: {_value(value)}" for name, value in node.get("notes", {}).items()]
    if (rows := node.get("batch_rows", 0)) > 1:  # a model that is not batched says 1
        notes.append(f"batch of {rows} rows")
    if retries := node.get("retries"):
        notes.append(f"sent again {retries} time{'s' if retries > 1 else ''}")
    return tuple(notes)


def _goes_on(node: Mapping[str, Any]) -> bool:
    """Return whether more answers may come: the document of an answer cannot know that it is the last."""
    return node.get("outcome") == RUNNING


def _left_out(node: Mapping[str, Any], shown: int) -> tuple[str, ...]:
    """Return how many of the graphs that a step called have no rows; one alone always has."""
    calls = len(node.get("nested", ()))
    more = calls - shown if calls > 1 else 0
    return (f"{more} more call{'s' if more > 1 else ''} not shown",) if more > 0 else ()


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
