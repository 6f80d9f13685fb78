"""Why calls are refused, in the words that clients read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import Cancelled, DeadlinePassed, Overloaded
from graphmesh.graph.running.limits import MISSES_DEADLINE
from graphmesh.worker.batching.call import NEVER, Refusal

if TYPE_CHECKING:
    from graphmesh.worker.batching.call import Call
    from graphmesh.worker.batching.costs import CostCurve

__all__ = ["abandoned", "expired", "too_busy", "too_slow"]

_SHORTEST_PAUSE_S = 0.01


def too_slow(name: str, call: Call, costs: CostCurve, now: float) -> Refusal | None:
    """Return why a call that arrives cannot be done by its deadline even if it runs at once."""
    if call.deadline == NEVER:
        return None
    if call.deadline <= now:
        return Refusal("expired", DeadlinePassed(f"{name}: the deadline passed before the model was begun"))
    needed, left = costs.at_least(call.cost, now), call.deadline - now
    if left >= needed:
        return None
    text = f"{name} alone takes {needed * 1000:.0f} ms, the deadline leaves {left * 1000:.0f} ms"
    return Refusal("deadline", DeadlinePassed(text))


def expired(name: str, call: Call, costs: CostCurve, now: float) -> Refusal | None:
    """Return why a call that waited is not to be begun any more."""
    if call.deadline == NEVER and call.start_by == NEVER:
        return None
    if call.deadline <= now:
        return Refusal("expired", DeadlinePassed(f"{name}: the deadline passed in the queue"))
    if call.start_by <= now:
        return too_busy("wait_too_long", f"{name}: the request's timeout passed in the queue", now - call.asked)
    if call.deadline - now < costs.at_least(call.cost, now):
        return Refusal("expired", DeadlinePassed(f"{name}: the queue left too little time before the deadline"))
    return None


def abandoned(name: str) -> Refusal:
    """Return why a call whose caller has left is not begun; nobody reads its text."""
    return Refusal("cancelled", Cancelled(f"{name}: the caller left before the model was begun"))


def too_busy(reason: str, text: str, wait_s: float) -> Refusal:
    """Return a refusal that tells the caller when to try again."""
    metadata = MISSES_DEADLINE if reason == "deadline" else None
    return Refusal(reason, Overloaded(text, retry_after_s=max(wait_s, _SHORTEST_PAUSE_S), metadata=metadata))
