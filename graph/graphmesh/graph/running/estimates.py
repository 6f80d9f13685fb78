"""How long calls take, learned from the calls themselves, and what that says of a whole graph.

A `Median` moves up by a few percent when a call took longer than it says and down when it took less, so that it comes
to rest where both are as frequent. Steps in one direction grow, a turn halves them: a model that became ten times
slower is known after some twenty calls, and one slow call changes little. Old calls are forgotten on the way; nothing
but five numbers is kept. Without a call for ten seconds it knows nothing any more: whoever was refused for it may try
again.

Expectations decide only what is refused early, so they err on the short side: what is not known takes no time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphmesh.graph.checks.streams import Streaming
from graphmesh.graph.spec import (
    Cache,
    Cascade,
    GraphCall,
    Join,
    Map,
    ModelCall,
    Parallel,
    Transform,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphmesh.graph.running.plan import Plan
    from graphmesh.graph.spec import Node, Target

__all__ = ["Estimates", "Median", "critical_path_s", "expected_of"]

_FORGET_S = 10.0
_ENOUGH = 5
_MIN_STEP = 0.02
_MAX_STEP = 0.5
_FIRST_STEP = 0.25
_GROWTH = 1.25
_SHORTEST_S = 1e-7
_WORTH_S = 1e-3  # no deadline is missed for less
_FORGOTTEN_S = _WORTH_S / 2  # below which a target is not worth it any more; not the same, or it would come and go
_MAX_TARGETS = 10_000


class Median:
    """The running median of durations, in constant space."""

    __slots__ = ("_count", "_last", "_step", "_up", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._count = 0
        self._step = _FIRST_STEP
        self._up = False
        self._last = -math.inf

    def learn(self, seconds: float, now: float) -> None:
        """Take a call that took this long."""
        if now - self._last > _FORGET_S:
            self._value, self._count, self._step = max(seconds, _SHORTEST_S), 0, _FIRST_STEP
        self._count += 1
        self._last = now
        up = seconds > self._value
        if up is self._up:
            self._step = min(_MAX_STEP, self._step * _GROWTH)
        else:
            self._step = max(_MIN_STEP, self._step / 2)
            self._up = up
        if up:
            self._value = min(self._value * (1 + self._step), seconds)
        else:
            self._value = max(self._value / (1 + self._step), seconds, _SHORTEST_S)

    def learn_longer(self, seconds: float, now: float) -> None:
        """Take a call that was given up after this long; says nothing if that is shorter than expected."""
        if seconds >= self._value or now - self._last > _FORGET_S:
            self.learn(seconds, now)

    def settled_below(self, seconds: float) -> bool:
        """Return whether it is known to be less."""
        return self._count >= _ENOUGH and self._value < seconds

    def seconds(self, now: float) -> float:
        """Return the median; 0 while it is not known."""
        return self._value if self._count >= _ENOUGH and now - self._last <= _FORGET_S else 0.0


class Estimates:
    """The medians of everything that graphs on one worker call."""

    def __init__(self) -> None:
        self._medians: dict[Target, Median] = {}

    def learn(self, target: Target, seconds: float, now: float) -> None:
        """Take a call that took this long; short ones are not worth it, unless it is known to take long."""
        if not self._medians and seconds < _WORTH_S:
            return
        found = self._medians.get(target)
        if found is not None:
            found.learn(seconds, now)
            if found.settled_below(_FORGOTTEN_S):
                del self._medians[target]
        elif seconds >= _WORTH_S:
            self._new(target).learn(seconds, now)

    def learn_longer(self, target: Target, seconds: float, now: float) -> None:
        """Take a call that was given up after this long."""
        found = self._medians.get(target)
        if found is not None:
            found.learn_longer(seconds, now)
        elif seconds >= _WORTH_S:
            self._new(target).learn(seconds, now)

    def _new(self, target: Target) -> Median:
        if len(self._medians) >= _MAX_TARGETS:
            self._medians.clear()
        found = self._medians[target] = Median()
        return found

    def seconds(self, target: Target, now: float) -> float:
        """Return how long a call takes at least half of the time; 0 while it is not known."""
        found = self._medians.get(target)
        return 0.0 if found is None else found.seconds(now)


def expected_of(node: Node, expected_s: Callable[[Target], float]) -> float:
    """Return the seconds that a step takes at least, half of the time, with the cheapest that it may do.

    A map counts one round of calls, a loop one time through, a cache nothing.
    """
    branches = [expected_of(branch, expected_s) for branch in node.branches]
    match node.kind:
        case ModelCall() | GraphCall() | Map():
            return 0.0 if node.target is None else expected_s(node.target)
        case Transform() | Cache():
            return 0.0
        case Parallel(join=Join.ALL):
            return max(branches)
        case Parallel(join=Join.QUORUM, quorum=quorum):
            return sorted(branches)[min(quorum, len(branches)) - 1]
        case Cascade():
            return branches[0]
    return min(branches)  # one of them is run, or the first to answer counts


def critical_path_s(plan: Plan, expected_s: Callable[[Target], float]) -> float:
    """Return the seconds that a run takes at least, half of the time: along the longest way through its steps.

    Steps of a stream count nothing, since an answer comes before they have ended.
    """
    known: dict[Target, float] = {}

    def once(target: Target) -> float:
        seconds = known.get(target)
        if seconds is None:
            seconds = known[target] = expected_s(target)
        return seconds

    ends = [0.0] * len(plan.steps)
    begins = [0.0] * len(plan.steps)
    for step in plan.steps:
        takes_s = expected_of(step.spec, once) if step.mode is Streaming.SINGLE else 0.0
        end = ends[step.index] = begins[step.index] + takes_s
        for reader in step.readers:
            begins[reader] = max(begins[reader], end)
    return max(ends, default=0.0)
