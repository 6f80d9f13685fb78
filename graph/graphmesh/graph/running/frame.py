"""Where in one call of a graph an action runs, and what it shares with all others of the same call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphmesh.graph.running.ending import ending_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.clock import Deadline
    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.inference import Parameter
    from graphmesh.graph.running.budget import Budget
    from graphmesh.graph.running.host import Host
    from graphmesh.graph.running.timeline import Timeline

__all__ = ["Frame", "Run"]


@dataclass(slots=True, kw_only=True)
class Run:
    """One call of a graph: what all its steps share."""

    graph: str
    """The graph's name."""
    host: Host
    """The process that it runs in."""
    budget: Budget
    """What it may still use; graphs fused into it share it."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """The request's parameters, as conditions see them."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The request's headers, lower-case names, as conditions see them."""
    timeline: Timeline | None = None
    """Where times are recorded; None if nobody asked."""
    degraded: list[str] = field(default_factory=list)
    """Paths of steps that answered with less than they should, in the order it happened."""


@dataclass(slots=True)
class Frame:
    """Where an action runs: never changed once made, not frozen because that triples what making one costs."""

    run: Run
    """The call."""
    path: str
    """The step as errors and times name it: ``detect``, ``read[3]``, ``route/cheap``."""
    deadline: Deadline
    """When it must have ended."""
    outputs: tuple[str, ...]
    """The outputs that somebody reads; no others need to be made. Empty: all."""
    limit: str = ""
    """The step's own limit that the deadline is, see `limits.limit_of`; empty if it is the caller's."""

    def at(self, segment: str, *, outputs: tuple[str, ...]) -> Frame:
        """Return the frame of something inside this one."""
        return Frame(self.run, f"{self.path}/{segment}", self.deadline, outputs, self.limit)

    def refused(self, error: GraphmeshError) -> None:
        """Record why this step was refused, of which its host knows nothing, if times are recorded at all."""
        if self.run.timeline is not None:
            now = self.run.host.now()
            self.run.timeline.ran(self.path, start=now, end=now, ending=ending_of(error))

    def note(self, **facts: str | float | bool) -> None:
        """Record facts about this step, as ``cache="hit"`` or ``chosen="cheap"``, if times are recorded at all."""
        if self.run.timeline is not None:
            self.run.timeline.note(self.path, facts)
