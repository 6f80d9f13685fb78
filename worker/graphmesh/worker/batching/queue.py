"""Which calls wait, which run next, and which are refused: the decisions of batching. No I/O; time is passed in.

A call that finds an instance idle runs at once; while all are busy, calls gather. An instance that becomes idle takes
what waits: the front of one group, up to the limits of a batch, and never so many that a call which could keep its
deadline misses it because of the others. With a `max_delay_s` it first waits for the batch to fill.

    arrives --> refused              its deadline or patience would end before its turn, or the queue is full
       |
       v
    waiting --> refused              its deadline or patience did end, or its caller left
       |
       v
    running --> ended

What a wait will be is predicted from the learned cost of what waits and runs; a batch that is overdue is taken to last
as long again as it has. Where nothing was learned yet nothing is refused but for the length of the queue.

Not done: fairness between callers of one model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.worker.batching.call import NEVER, Batch
from graphmesh.worker.batching.costs import CostCurve
from graphmesh.worker.batching.refusals import expired, too_busy, too_slow
from graphmesh.worker.batching.waiting import Waiting

if TYPE_CHECKING:
    from graphmesh.worker.batching.call import Call, Limits, Refusal
    from graphmesh.worker.batching.waiting import Group

__all__ = ["BatchQueue"]

_MARGIN = 1.1


class BatchQueue:
    """The queue of one model. Not safe for threads: its driver has the lock."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.limits = limits
        self.costs = CostCurve()
        """What was learned."""
        self.dropped: list[tuple[Call, Refusal]] = []
        """Calls that `take` refused; whoever answers them empties it."""
        self._name = name
        self._waiting = Waiting()
        self._running: dict[Batch, None] = {}
        self._at_once = False
        self._delays = limits.max_delay_s > 0

    @property
    def waiting(self) -> int:
        """Calls in the queue now."""
        return self._waiting.count

    def push(self, call: Call, now: float) -> Refusal | None:
        """Take a call in, or say why not."""
        waiting = self._waiting
        backlog = waiting.count + len(self._running) - self.limits.instances
        refusal = None
        if call.deadline != NEVER or call.start_by != NEVER or (backlog >= 0 and not self._surely_soon(backlog, now)):
            refusal = self._refusal(call, now, backlog)
        if refusal is None:
            self._at_once |= backlog < 0
            waiting.add(call)
        return refusal

    def remove(self, call: Call) -> bool:
        """Take out a call whose caller left, and return whether it was still waiting."""
        waiting = call.waiting
        if waiting:
            self._waiting.remove(call)
        return waiting

    def clear(self) -> list[Call]:
        """Take out all waiting calls and return them."""
        calls = self._waiting.calls()
        for call in calls:
            self._waiting.remove(call)
        return calls

    def ready_at(self, now: float) -> float:
        """Return when there will be a batch for an idle instance: not after ``now`` if there is, `NEVER` if none."""
        if not self._waiting.count:
            return NEVER
        if self._at_once or not self._delays:
            return now
        groups = self._waiting.groups.values()
        if any(self._full(group) for group in groups):
            return now
        return min(self._patience(group) for group in groups)

    def take(self, now: float) -> Batch | None:
        """Return the next batch for an idle instance, or None; calls that are too late go to `dropped` instead."""
        waiting = self._waiting
        while waiting.count and (not self._delays or self.ready_at(now) <= now):
            batch = self._form(self._next(now) if self._delays else waiting.first(), now)
            if batch is not None:
                self._running[batch] = None
                self._at_once &= len(self._running) < self.limits.instances  # another one is idle for those that came
                return batch
        self._at_once &= waiting.count > 0
        return None

    def done(self, batch: Batch, now: float) -> None:
        """Note that a batch ended, and learn from it."""
        del self._running[batch]
        if batch.telling:
            self.costs.learn(batch.cost, batch.seconds, now)

    def late(self, call: Call, now: float) -> Refusal | None:
        """Return why a call that waited is not to be begun any more, if so."""
        return expired(self._name, call, self.costs, now)

    def predict(self, call: Call, now: float) -> tuple[float, float]:
        """Return in how many seconds a new call would begin, and how long the batch it is in would then take."""
        rest = self._rest(call)
        groups = self._waiting.groups.values()
        work = sum(self._work(group, own=group.key == call.key) * group.share(call.priority) for group in groups)
        return _level(self._free(now), work), self.costs.seconds(rest + call.cost)

    def _next(self, now: float) -> Group:
        """Return the group that has its turn: with a delay, a full one or one whose calls waited long enough."""
        groups = self._waiting.groups
        if self._at_once or len(groups) == 1:
            return self._waiting.first()
        due = (group for group in groups.values() if self._full(group) or self._patience(group) <= now)
        return min(due, key=lambda group: group.entries[0])

    def _full(self, group: Group) -> bool:
        return group.rows >= self.limits.max_rows or group.cost >= self.limits.max_cost

    def _form(self, group: Group, now: float) -> Batch | None:
        """Make a batch of the front of a group; None if all of it was too late."""
        calls: list[Call] = []
        rows, cost, latest, seen = 0, 0.0, NEVER, 0
        for _, _, call in group.entries:
            if calls and self._over(rows + call.rows, cost + call.cost):
                break
            if call.deadline != NEVER or call.start_by != NEVER:
                if (refusal := self.late(call, now)) is not None:
                    self.dropped.append((call, refusal))
                    seen += 1
                    continue
                latest = min(latest, self._bound(call, now))
            if latest != NEVER and calls and now + self.costs.seconds(cost + call.cost) > latest:
                break
            calls.append(call)
            rows += call.rows
            cost += call.cost
            seen += 1
            if group.key is None:
                break
        self._waiting.remove_front(group, seen)
        if not calls:
            return None
        batch = Batch(calls, now)
        batch.rows, batch.cost, batch.expected_s = rows, cost, self.costs.seconds(cost)
        for call in calls:
            call.begun, call.batch_rows = now, rows
        return batch

    def _over(self, rows: int, cost: float) -> bool:
        """Return whether these are too many for one batch."""
        return rows > self.limits.max_rows or cost > self.limits.max_cost

    def _bound(self, call: Call, now: float) -> float:
        """Return the deadline that a batch must keep for a call: none if the call would miss it alone as well."""
        if call.deadline == NEVER or now + self.costs.seconds(call.cost) > call.deadline:
            return NEVER
        return call.deadline

    def _patience(self, group: Group) -> float:
        """Return until when a group may gather: its oldest call's delay, sooner if a deadline needs it."""
        oldest = min(call.asked for _, _, call in group.entries) + self.limits.max_delay_s
        deadline = min(call.deadline for _, _, call in group.entries)
        return min(oldest, deadline - self.costs.seconds(group.cost) * _MARGIN)

    def _surely_soon(self, backlog: int, now: float) -> bool:
        """Return whether a call may wait, by a bound of its wait that is cheap to find."""
        longest = self.costs.longest
        oldest = next(iter(self._running)).begun if self._running else now
        wait = self._waiting.count * longest + max(longest, now - oldest)
        return backlog < self.limits.max_waiting and wait < self.limits.max_wait_s

    def _refusal(self, call: Call, now: float, backlog: int) -> Refusal | None:
        refusal = too_slow(self._name, call, self.costs, now)
        if refusal is not None or backlog < 0:
            return refusal
        if backlog >= self.limits.max_waiting:
            wait, _ = self.predict(call, now)
            return too_busy("queue_full", f"{self._name}: {self.limits.max_waiting} calls are waiting already", wait)
        return self._impatience(call, now)

    def _impatience(self, call: Call, now: float) -> Refusal | None:
        """Return why a call would wait too long, if so."""
        wait, compute = self.predict(call, now)
        would = f"{self._name}: a call would wait {wait * 1000:.0f} ms"
        if wait > self.limits.max_wait_s:
            return too_busy("wait_too_long", f"{would}, at most {self.limits.max_wait_s:g} s are allowed", wait)
        if wait > call.start_by - now:
            return too_busy("wait_too_long", f"{would}, longer than the request's timeout", wait)
        if wait > 0 and (wait + compute) * _MARGIN > call.deadline - now:
            return too_busy("deadline", f"{would}, too long to be done by its deadline", wait)
        return None

    def _most(self, group: Group) -> float:
        """Return the cost of a full batch of a group's calls."""
        return min(self.limits.max_cost, self.limits.max_rows * group.cost / group.rows)

    def _work(self, group: Group, *, own: bool) -> float:
        """Return the seconds that a group takes one instance; without the batch that a new call of it would join."""
        if group.key is None:
            calls = len(group.entries)
            return calls * self.costs.seconds(group.cost / calls)
        most = self._most(group)
        full, rest = divmod(group.cost, most)
        return full * self.costs.seconds(most) + (0.0 if own or not rest else self.costs.seconds(rest))

    def _rest(self, call: Call) -> float:
        """Return the cost of the waiting calls that a new one would be in a batch with."""
        group = self._waiting.groups.get(call.key)
        return 0.0 if group is None or group.key is None else group.cost % self._most(group)

    def _free(self, now: float) -> list[float]:
        """Return in how many seconds each instance becomes idle."""
        free = [max(batch.begun + batch.expected_s - now, 0.0) for batch in self._running]
        for index, batch in enumerate(self._running):
            if batch.expected_s and now > batch.begun + batch.expected_s:
                free[index] = now - batch.begun - batch.expected_s
        return free + [0.0] * (self.limits.instances - len(free))


def _level(free: list[float], work: float) -> float:
    """Return when the first instance has nothing left to do, if ``work`` is spread over all as they become free."""
    free.sort()
    level = free[0]
    for count, following in enumerate(free[1:], 1):
        room = (following - level) * count
        if work <= room:
            return level + work / count
        level, work = following, work - room
    return level + work / len(free)
