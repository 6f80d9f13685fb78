"""What happened to one request inside a graph, per node: the times that an answer carries when `explain` is asked for.

The driver records every call with instants of one clock; nothing here reads a clock. A map's calls become one entry:
from its first start to its last end, with the number of calls and the time that they took together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.call import Call
    from graphmesh.graph.plan import Plan

__all__ = ["CallTiming", "NodeTiming", "Timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTiming:
    """One call, as its driver saw it."""

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
    """Measured parts of it in seconds, by name: `queue`, `compute`, ..."""
    nested: Mapping[str, object] | None = None
    """The called graph's own explanation."""


@dataclass(slots=True, kw_only=True)
class NodeTiming:
    """One node's calls together."""

    call: Call
    """The first of them."""
    start: float
    """When the first was made."""
    end: float
    """When the last ended."""
    calls: list[CallTiming]
    """In the order they ended."""


class Timeline:
    """Collects the calls of one run.

    Args:
        plan: The run's plan.
        revision: The graph's revision.
        start: When the run began; monotonic seconds.
    """

    def __init__(self, plan: Plan, *, revision: int, start: float) -> None:
        self._plan = plan
        self._revision = revision
        self._start = start
        self._nodes: dict[str, NodeTiming] = {}

    def record(self, call: Call, timing: CallTiming) -> None:
        """Take one call that has ended."""
        node = self._nodes.get(call.node)
        if node is None:
            self._nodes[call.node] = NodeTiming(call=call, start=timing.start, end=timing.end, calls=[timing])
            return
        node.start = min(node.start, timing.start)
        node.end = max(node.end, timing.end)
        node.calls.append(timing)

    def to_dict(self, *, end: float) -> dict[str, object]:
        """Return the explanation, ready for JSON; nodes in the order they started, times in milliseconds.

        Args:
            end: When the run ended.
        """
        nodes = sorted(self._nodes.values(), key=lambda node: node.start)
        return {
            "graph": self._plan.graph,
            "revision": self._revision,
            "duration_ms": _ms(end - self._start),
            "critical_path": self._critical_path(),
            "nodes": [self._node(node) for node in nodes],
        }

    def _node(self, node: NodeTiming) -> dict[str, object]:
        last = node.calls[-1]
        parts: dict[str, float] = {}
        for call in node.calls:
            for name, seconds in call.parts.items():
                parts[f"{name}_ms"] = parts.get(f"{name}_ms", 0.0) + seconds
        form: dict[str, object] = {
            "node": node.call.node,
            "target": node.call.target,
            "version": last.version,
            "worker": ",".join(sorted({call.worker for call in node.calls})),
            "fused": all(call.fused for call in node.calls),
            "start_ms": _ms(node.start - self._start),
            "duration_ms": _ms(node.end - node.start),
            "calls": len(node.calls),
            "calls_ms": _ms(sum(call.end - call.start for call in node.calls)),
        }
        form.update({name: _ms(seconds) for name, seconds in parts.items()})
        nested = [call.nested for call in node.calls if call.nested is not None]
        if nested:
            form["nested"] = nested
        return form

    def _critical_path(self) -> list[str]:
        """Return the nodes that the answer waited for: from the node that ended last back along the latest producer."""
        producers: dict[str, list[str]] = {}
        for step in self._plan.steps:
            for reader in step.readers:
                producers.setdefault(self._plan.steps[reader].node, []).append(step.node)
        path: list[str] = []
        choices = list(self._nodes)
        while choices:
            path.append(max(choices, key=lambda name: self._nodes[name].end))
            choices = [name for name in producers.get(path[-1], []) if name in self._nodes]
        return path[::-1]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
