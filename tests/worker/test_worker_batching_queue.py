"""The queue's decisions, with a clock of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.core.errors import DeadlinePassed, Overloaded
from graphmesh.worker.batching.call import NEVER, Call, Limits, Refusal
from graphmesh.worker.batching.queue import BatchQueue, _level

if TYPE_CHECKING:
    from collections.abc import Hashable

    from graphmesh.worker.batching.call import Batch


def call(
    now: float = 0.0,
    *,
    rows: int = 1,
    cost: float = 0.0,
    key: Hashable = "k",
    priority: int = 5,
    deadline: float = NEVER,
    start_by: float = NEVER,
) -> Call:
    """Return a call that came at ``now``; its cost is its rows unless told otherwise."""
    made = Call(None, now)
    made.rows, made.cost, made.key = rows, cost or float(rows), key
    made.priority, made.deadline, made.start_by = priority, deadline, start_by
    return made


def queue(
    *,
    instances: int = 1,
    max_rows: int = 4,
    max_cost: float = NEVER,
    max_delay_s: float = 0.0,
    max_waiting: int = 1000,
    max_wait_s: float = 1000.0,
) -> BatchQueue:
    """Return an empty queue."""
    limits = Limits(
        instances=instances,
        max_rows=max_rows,
        max_cost=max_cost,
        max_delay_s=max_delay_s,
        max_waiting=max_waiting,
        max_wait_s=max_wait_s,
    )
    return BatchQueue("m-1", limits)


def teach(of: BatchQueue, seconds: dict[float, float], *, now: float = 0.0) -> None:
    """Let a queue learn what batches cost."""
    for cost, took in seconds.items():
        for _ in range(5):
            of.costs.learn(cost, took, now)


def busy(of: BatchQueue, now: float = 0.0) -> Batch:
    """Let an instance be busy with a call of its own."""
    assert of.push(call(now, key=None), now) is None
    batch = of.take(now)
    assert batch is not None
    return batch


def took(of: BatchQueue, now: float = 0.0) -> list[Call]:
    """Return the calls of the next batch."""
    batch = of.take(now)
    return batch.calls if batch is not None else []


def refused(refusal: Refusal | None) -> tuple[str, float]:
    """Return the reason and the pause of a refusal for being busy."""
    assert refusal is not None
    assert isinstance(refusal.error, Overloaded)
    return refusal.reason, refusal.error.retry_after_s


def test_arrival_at_an_idle_instance_runs_at_once() -> None:
    """A call that finds an instance idle does not wait for others, whatever the delay is."""
    one = queue(max_delay_s=1.0)
    first = call()
    one.push(first, 0.0)
    assert one.ready_at(0.0) == 0.0
    assert took(one) == [first]


def test_several_idle_instances_take_several_kinds_of_calls_at_once() -> None:
    """The promise holds for each call that finds an instance idle, also if another call was begun in between."""
    one = queue(instances=2, max_delay_s=1.0)
    first, second, third = call(key="a"), call(key="b"), call(key="c")
    one.push(first, 0.0)
    one.push(second, 0.0)
    one.push(third, 0.0)
    assert (took(one), one.ready_at(0.0), took(one)) == ([first], 0.0, [second])
    assert one.ready_at(0.0) == 1.0


def test_a_call_that_finds_more_idle_instances_than_waiting_calls_runs_at_once() -> None:
    """Calls that gather take one idle instance; one that comes then and finds another idle does not wait."""
    one = queue(instances=2, max_delay_s=1.0)
    running = [busy(one), busy(one)]
    gathering, arrived = call(key="a"), call(key="b")
    one.push(gathering, 0.0)
    for batch in running:
        one.done(batch, 0.1)
    assert took(one, 0.1) == []
    one.push(arrived, 0.2)
    assert (took(one, 0.2), took(one, 0.2)) == ([gathering], [arrived])


def test_calls_gather_while_all_are_busy() -> None:
    """What came while the instance was busy is its next batch, in order, up to the most rows."""
    one = queue(max_rows=4)
    running = busy(one)
    calls = [call() for _ in range(6)]
    for each in calls:
        one.push(each, 0.0)
    one.done(running, 1.0)
    assert took(one, 1.0) == calls[:4]
    assert took(one, 1.0) == calls[4:]
    assert one.ready_at(1.0) == NEVER


def test_idle_instance_waits_for_the_batch_to_fill_but_not_longer_than_the_delay() -> None:
    """With a delay, an instance that becomes idle waits until the oldest call's delay is over."""
    one = queue(max_rows=4, max_delay_s=0.5)
    running = busy(one)
    first, second = call(0.1), call(0.2)
    one.push(first, 0.1)
    one.push(second, 0.2)
    one.done(running, 0.3)
    assert took(one, 0.3) == []
    assert one.ready_at(0.3) == pytest.approx(0.6)
    assert took(one, 0.61) == [first, second]


def test_full_batch_does_not_wait() -> None:
    """A batch that is full is not delayed."""
    one = queue(max_rows=2, max_delay_s=0.5)
    running = busy(one)
    calls = [call(0.1), call(0.2)]
    for each in calls:
        one.push(each, each.asked)
    one.done(running, 0.3)
    assert took(one, 0.3) == calls


def test_delay_ends_early_for_a_deadline() -> None:
    """Calls gather only as long as the nearest deadline allows."""
    one = queue(max_rows=4, max_delay_s=5.0)
    teach(one, {1.0: 0.1})
    running = busy(one)
    one.push(call(0.0, deadline=1.0), 0.0)
    one.done(running, 0.1)
    assert one.ready_at(0.1) == pytest.approx(1.0 - 0.11, abs=0.02)


def test_full_group_goes_before_one_that_gathers() -> None:
    """While a call gathers, a full batch of others is not held back by it."""
    one = queue(max_rows=2, max_delay_s=5.0)
    running = busy(one)
    lonely, pair = call(0.0, key="a"), [call(0.1, key="b"), call(0.1, key="b")]
    for each in (lonely, *pair):
        one.push(each, each.asked)
    one.done(running, 0.2)
    assert took(one, 0.2) == pair
    assert took(one, 0.2) == []


def test_lower_priority_number_goes_first() -> None:
    """Calls run by priority, and in the order they came within one."""
    one = queue(max_rows=1)
    running = busy(one)
    calls = [call(priority=priority) for priority in (5, 9, 1, 5, 1)]
    for each in calls:
        one.push(each, 0.0)
    one.done(running, 1.0)
    order = []
    while batch := one.take(1.0):
        order += batch.calls
        one.done(batch, 1.0)
    assert order == [calls[i] for i in (2, 4, 0, 3, 1)]


def test_only_equal_keys_share_a_batch_and_no_group_starves() -> None:
    """A batch holds calls of one key; the group of the oldest call has its turn."""
    one = queue(max_rows=4)
    running = busy(one)
    calls = [call(key=key) for key in "abab"]
    alone = call(key=None)
    for each in (*calls, alone, call(key=None)):
        one.push(each, 0.0)
    one.done(running, 1.0)
    assert took(one, 1.0) == [calls[0], calls[2]]
    assert took(one, 1.0) == [calls[1], calls[3]]
    assert took(one, 1.0) == [alone]


def test_cost_bounds_a_batch() -> None:
    """Batches stay within the cost as well as the rows; a call that is dearer alone runs alone."""
    one = queue(max_rows=10, max_cost=10.0)
    running = busy(one)
    calls = [call(cost=cost) for cost in (4.0, 6.0, 1.0, 25.0, 1.0)]
    for each in calls:
        one.push(each, 0.0)
    one.done(running, 1.0)
    assert [took(one, 1.0) for _ in range(4)] == [calls[:2], calls[2:3], calls[3:4], calls[4:]]


def test_call_with_more_rows_than_a_batch_runs_alone() -> None:
    """A call that brings more rows than a batch may have is a batch."""
    one = queue(max_rows=4)
    running = busy(one)
    large, small = call(rows=9), call()
    one.push(large, 0.0)
    one.push(small, 0.0)
    one.done(running, 1.0)
    assert took(one, 1.0) == [large]
    assert took(one, 1.0) == [small]


def test_batch_is_no_larger_than_a_deadline_allows() -> None:
    """A call that could keep its deadline does not miss it because others are in its batch."""
    one = queue(max_rows=8)
    teach(one, {1.0: 0.1, 2.0: 0.2, 4.0: 0.4, 8.0: 0.8})
    calls = [call(deadline=NEVER if i else 2.25) for i in range(8)]
    running = busy(one)
    for each in calls:
        assert one.push(each, 0.0) is None
    one.done(running, 2.0)
    assert took(one, 2.0) == calls[:2]


def test_later_call_is_left_out_of_a_batch_that_it_would_miss_its_deadline_in() -> None:
    """Also a call behind the first keeps what it can keep alone: the batch ends before it."""
    one = queue(max_rows=8)
    teach(one, {1.0: 0.1, 2.0: 0.2, 4.0: 0.4, 8.0: 0.8})
    calls = [call(), call(), call(deadline=2.25)]
    running = busy(one)
    for each in calls:
        assert one.push(each, 0.0) is None
    one.done(running, 2.0)
    assert took(one, 2.0) == calls[:2]


def test_expired_calls_leave_before_compute() -> None:
    """A call whose deadline or timeout passed in the queue is refused, not run."""
    one = queue()
    running = busy(one)
    late, impatient, fine = call(deadline=0.5), call(start_by=0.5), call(deadline=9.0)
    for each in (late, impatient, fine):
        one.push(each, 0.0)
    one.done(running, 1.0)
    assert took(one, 1.0) == [fine]
    (first, why), (second, other) = one.dropped
    assert (first, why.reason, type(why.error)) == (late, "expired", DeadlinePassed)
    assert (second, other.reason, type(other.error)) == (impatient, "wait_too_long", Overloaded)


def test_queue_of_only_expired_calls_is_emptied() -> None:
    """When nothing is left to run, there is no batch and nothing waits."""
    one = queue()
    running = busy(one)
    for _ in range(10):
        one.push(call(deadline=0.5), 0.0)
    one.done(running, 1.0)
    assert one.take(1.0) is None
    assert (len(one.dropped), one.waiting) == (10, 0)


def test_removed_call_is_not_run() -> None:
    """A call whose caller left is out of the queue at once; one that runs is not."""
    one = queue()
    running = busy(one)
    gone, stays = call(priority=3), call()
    one.push(gone, 0.0)
    one.push(stays, 0.0)
    assert one.remove(gone)
    assert not one.remove(gone)
    assert not one.remove(running.calls[0])
    assert one.waiting == 1
    assert took(one) == [stays]


def test_full_queue_refuses_with_the_time_it_needs() -> None:
    """More than the most waiting calls are refused, and told when to come again."""
    one = queue(max_rows=1, max_waiting=2)
    teach(one, {1.0: 2.0})
    busy(one)
    assert one.push(call(), 0.0) is None
    assert one.push(call(), 0.0) is None
    reason, pause = refused(one.push(call(), 0.0))
    assert reason == "queue_full"
    assert pause == pytest.approx(6.0)


def test_no_waiting_allowed() -> None:
    """With no place to wait, calls are taken as long as instances are idle."""
    one = queue(instances=2, max_rows=1, max_waiting=0)
    assert one.push(call(), 0.0) is None
    assert one.push(call(), 0.0) is None
    assert refused(one.push(call(), 0.0))[0] == "queue_full"


def test_deadline_that_the_queue_makes_impossible_is_refused_at_once() -> None:
    """A call that would be done too late because of those before it is told to come again after them."""
    one = queue(max_rows=1)
    teach(one, {1.0: 1.0})
    busy(one)
    assert one.push(call(), 0.0) is None
    reason, pause = refused(one.push(call(deadline=2.5), 0.0))
    assert reason == "deadline"
    assert pause == pytest.approx(2.0)
    assert one.push(call(deadline=3.5), 0.0) is None


def test_deadline_that_the_model_alone_misses_is_not_the_queues_fault() -> None:
    """A call whose deadline is nearer than the model takes gets DEADLINE_EXCEEDED, also when nothing runs."""
    one = queue(max_rows=1)
    teach(one, {1.0: 1.0})
    refusal = one.push(call(deadline=0.5), 0.0)
    assert refusal is not None
    assert (refusal.reason, type(refusal.error)) == ("deadline", DeadlinePassed)
    assert one.push(call(deadline=1.5), 0.0) is None


def test_passed_deadline_is_refused() -> None:
    """A call that comes after its deadline is not taken in, even if nothing was learned yet."""
    refusal = queue().push(call(1.0, deadline=0.9), 1.0)
    assert refusal is not None
    assert (refusal.reason, type(refusal.error)) == ("expired", DeadlinePassed)


def test_batches_are_predicted_not_single_calls() -> None:
    """A wait is what full batches take: a call behind 64 others waits for two batches of 32, not for 64 calls."""
    one = queue(max_rows=32)
    teach(one, {1.0: 0.1, 32.0: 0.2})
    busy(one)
    for _ in range(64):
        assert one.push(call(), 0.0) is None
    assert one.predict(call(), 0.0)[0] == pytest.approx(0.1 + 2 * 0.2)
    assert one.push(call(deadline=0.8), 0.0) is None


def test_waiting_longer_than_allowed_is_refused() -> None:
    """The queue is bounded by time: a predicted wait above the most is refused, as is one above a call's timeout."""
    one = queue(max_rows=1, max_wait_s=3.0)
    teach(one, {1.0: 1.0})
    busy(one)
    reason, pause = refused(one.push(call(start_by=0.5), 0.0))
    assert (reason, pause) == ("wait_too_long", 1.0)
    admitted = 0
    while (refusal := one.push(call(), 0.0)) is None:
        admitted += 1
    reason, pause = refused(refusal)
    assert (reason, pause) == ("wait_too_long", 4.0)
    assert admitted == 3


def test_hung_batch_is_expected_to_last_as_long_again() -> None:
    """Calls behind a batch that is long overdue are refused if their deadline is near."""
    one = queue(max_rows=1)
    teach(one, {1.0: 0.1})
    busy(one)
    assert one.push(call(deadline=0.5), 0.0) is None
    reason, pause = refused(one.push(call(10.0, deadline=11.0), 10.0))
    assert reason == "deadline"
    assert pause > 9


def test_one_hung_instance_does_not_count_against_the_other() -> None:
    """With a second instance free of trouble the wait is short."""
    one = queue(instances=2, max_rows=1)
    teach(one, {1.0: 0.1})
    busy(one)
    busy(one, 10.0)
    assert one.predict(call(10.0), 10.0)[0] == pytest.approx(0.1)


def test_nothing_learned_refuses_nothing() -> None:
    """Before the first batch ended, calls are admitted whatever their deadline."""
    one = queue(max_rows=1)
    busy(one)
    for _ in range(100):
        assert one.push(call(deadline=0.001), 0.0) is None


def test_model_that_was_slow_once_recovers() -> None:
    """After one very slow batch calls with deadlines are refused only for a short time, never for good."""
    one = queue(max_rows=1)
    teach(one, {1.0: 0.01})
    running = busy(one, 1.0)
    running.seconds = 60.0
    one.done(running, 61.0)
    assert one.push(call(61.0, deadline=61.02), 61.0) is None
    slow = queue(max_rows=1)
    teach(slow, {1.0: 10.0})
    assert slow.push(call(deadline=1.0), 0.0) is not None
    assert slow.push(call(1.1, deadline=2.1), 1.1) is None, "an old measurement must not refuse"


def test_urgent_call_waits_only_for_urgent_ones() -> None:
    """The wait of a call of high priority does not count those behind it."""
    one = queue(max_rows=1)
    teach(one, {1.0: 1.0})
    busy(one)
    for _ in range(10):
        one.push(call(), 0.0)
    assert one.predict(call(priority=1), 0.0)[0] == pytest.approx(1.0)
    assert one.predict(call(priority=9), 0.0)[0] == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("free", "work", "level"),
    [([0.0], 3.0, 3.0), ([0.0, 0.0], 3.0, 1.5), ([1.0, 2.0], 0.5, 1.5), ([1.0, 3.0], 4.0, 4.0), ([5.0, 0.0], 0.0, 0.0)],
)
def test_level(free: list[float], work: float, level: float) -> None:
    """Work flows to whichever instance is free first."""
    assert _level(free, work) == pytest.approx(level)


_CALLS = st.lists(
    st.tuples(
        st.integers(1, 6),  # rows
        st.sampled_from(["a", "b", None]),
        st.integers(1, 9),  # priority
        st.sampled_from([NEVER, 1.0, 5.0, 20.0]),  # deadline, seconds from its arrival
        st.sampled_from([NEVER, 2.0]),  # timeout
        st.integers(0, 3),  # time to the next event
        st.sampled_from(["take", "push", "leave"]),  # what happens beside
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(_CALLS, st.integers(1, 3), st.sampled_from([0.0, 1.5]))
def test_no_call_is_lost_doubled_late_or_out_of_order(
    script: list[tuple[int, str | None, int, float, float, int, str]], instances: int, delay: float
) -> None:
    """Every admitted call runs once, or is dropped once, or left; batches keep bounds; nothing expired runs."""
    one = queue(instances=instances, max_rows=4, max_delay_s=delay)
    now, admitted, ran, gone = 0.0, list[Call](), list[Call](), list[Call]()
    running: list[Batch] = []

    def serve(now: float) -> None:
        while running and now - running[0].begun >= 1.0:
            batch = running.pop(0)
            batch.seconds = 0.3 * batch.rows
            one.done(batch, now)
        while len(running) < instances and (begun := one.take(now)):
            running.append(begun)
            ran.extend(begun.calls)
            check(begun, now)

    def check(batch: Batch, now: float) -> None:
        assert batch.rows == sum(each.rows for each in batch.calls)
        assert batch.rows <= 4 or len(batch.calls) == 1
        assert len({each.key for each in batch.calls}) == 1
        assert batch.calls[0].key is not None or len(batch.calls) == 1
        assert all(each.deadline > now and each.start_by > now for each in batch.calls)
        order = [(each.priority, each.number) for each in batch.calls]
        assert order == sorted(order)

    for rows, key, priority, deadline, timeout, pause, event in script:
        made = call(now, rows=rows, key=key, priority=priority, deadline=now + deadline, start_by=now + timeout)
        if one.push(made, now) is None:
            admitted.append(made)
        if event == "leave" and (waiting := [each for each in admitted if each.waiting]):
            assert one.remove(waiting[-1])
            gone.append(waiting[-1])
        if event == "take":
            serve(now)
        now += pause
    for _ in range(1000):
        serve(now)
        now += 1.0
    dropped = [each for each, _ in one.dropped]
    assert one.waiting == 0
    assert not running
    assert sorted(map(id, [*ran, *dropped, *gone])) == sorted(map(id, admitted))
