"""A call that waits for the model or runs, the batch it runs in, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.worker.hosting.context import Context

__all__ = ["DEFAULT_PRIORITY", "NEVER", "Batch", "Call", "Limits", "Refusal", "Statistics", "Timing"]

NEVER = float("inf")
"""The instant of a deadline that there is not."""
DEFAULT_PRIORITY = 5
"""The level of a call that names none."""


class Timing:
    """When a call was asked for and ran; seconds of `time.monotonic`."""

    begun: float = 0.0
    """When an instance took it; 0 before that."""
    ended: float = 0.0
    """When its result was there; 0 before that."""
    batch_rows: int = 0
    """Rows of the batch it ran in; 0 before that."""
    computed_s: float = 0.0
    """What the model itself took of the time from `begun` to `ended`, if calls were joined and taken apart; else 0."""

    def __init__(self, asked: float) -> None:
        self.asked = asked
        """When it came."""


class Call(Timing):
    """One call of a model; changed under its driver's lock until it has begun, and by its instance after that.

    Made for every request, and most keep most defaults: those stay in the class.
    """

    waiter: Any = None
    """The future that its caller awaits; its driver's."""
    work: Callable[[Any], Any] | None = None
    """What runs it instead of the model, with `inputs` as the argument."""
    rows: int = 1
    """Rows of the batch that are its own."""
    cost: float = 1.0
    """What running it costs, in the unit of the model's batching; positive."""
    key: Hashable = None
    """Calls with equal keys can be in one batch; None runs alone."""
    priority: int = DEFAULT_PRIORITY
    """Lower goes first."""
    deadline: float = NEVER
    """Of no use to its caller after this instant."""
    start_by: float = NEVER
    """To be refused if it has not begun by this instant."""
    keep: tuple[str, ...] = ()
    """Outputs that its caller takes on the model's device."""
    context: Context | None = None
    """What the model can know of it, if it wants to."""
    request_id: str = ""
    """What is logged while it runs belongs to this request; empty if it has no id."""
    number: int = 0
    """Its place among calls of one priority."""
    waiting: bool = False
    """Whether it is in the queue."""
    result: Any = None
    """What it gave."""
    error: Exception | None = None
    """Why it gave nothing."""

    def __init__(self, inputs: Any, asked: float) -> None:  # noqa: ANN401 - arrays by name, unless it is for `work`
        self.inputs = inputs
        """Arrays by name."""
        self.asked = asked


class Batch:
    """Calls that run at once."""

    rows: int = 1
    """Rows of all calls."""
    cost: float = 1.0
    """Cost of all calls."""
    expected_s: float = 0.0
    """How long it should take by what was learned; 0 if nothing was."""
    seconds: float = 0.0
    """How long it took."""
    started: bool = False
    """Whether a task runs it: what is left of it then is cancelled once nobody waits for it."""
    telling: bool = True
    """Whether what it took says something about the next: it did not raise, and it was the model that ran."""

    def __init__(self, calls: list[Call], begun: float) -> None:
        self.calls = calls
        """In the order of their rows."""
        self.begun = begun
        """When an instance took them."""

    def narrow(self, calls: list[Call]) -> None:
        """Leave out all calls but these before it runs, as if it had been formed of them alone."""
        self.calls = calls
        self.rows = sum(call.rows for call in calls)
        self.cost = sum(call.cost for call in calls)
        for call in calls:
            call.batch_rows = self.rows


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call never runs."""

    reason: str
    """For counting: `queue_full`, `wait_too_long`, `deadline`, `expired` or `cancelled`."""
    error: GraphmeshError
    """For the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the instances of a model are doing."""

    running: int
    """Calls that run now."""
    waiting: int
    """Calls in the queue now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a queue and its batches may be."""

    instances: int = 1
    """Batches at once."""
    max_waiting: int = 1024
    """Calls that may wait while all instances are busy."""
    max_wait_s: float = 30.0
    """The longest predicted wait of a call that is taken in, seconds."""
    max_rows: int = 1
    """Rows of a batch; a call with more runs alone."""
    max_cost: float = NEVER
    """Cost of a batch; a call with more runs alone."""
    max_delay_s: float = 0.0
    """How long an instance that became idle waits for its batch to fill, from the arrival of the oldest call."""
