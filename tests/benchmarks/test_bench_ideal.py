"""The simulated ideal batcher that batching is judged by."""

from __future__ import annotations

import random

import pytest

from benchmarks.ideal import Curve, percentile, simulate
from graphmesh.worker.batching.call import Call, Limits
from graphmesh.worker.batching.queue import BatchQueue

CURVE = Curve({1: 1.0, 2: 1.5, 4: 2.0})


def test_curve_is_interpolated() -> None:
    """Sizes between measured ones lie between them; the best rate is that of the best size."""
    assert [CURVE(rows) for rows in (1, 2, 3, 4)] == [1.0, 1.5, 1.75, 2.0]
    assert CURVE.best_rate == 2.0


def test_alone_each_call_runs_at_once() -> None:
    """Calls that never meet take as long as a batch of one."""
    assert simulate([0.0, 5.0, 10.0], CURVE, 4) == [1.0, 1.0, 1.0]


def test_what_waits_runs_together() -> None:
    """Calls that come while the instance is busy are the next batch; what is beyond it waits for the one after."""
    assert simulate([0.0, 0.5, 0.5], CURVE, 4) == [1.0, 2.0, 2.0]
    assert simulate([0.0, 0.5, 0.5, 0.5], CURVE, 2) == [1.0, 2.0, 2.0, 3.0]


def test_never_faster_than_a_batch_nor_busier_than_its_best() -> None:
    """Every call takes at least one batch, and no more are done than the best rate allows."""
    source = random.Random(7)  # noqa: S311 - a seeded generator, not a secret
    arrivals = sorted(source.uniform(0, 50) for _ in range(90))
    latencies = simulate(arrivals, CURVE, 4)
    assert min(latencies) >= 1.0
    ends = [arrival + latency for arrival, latency in zip(arrivals, latencies, strict=True)]
    assert ends == sorted(ends)
    assert len(arrivals) / (ends[-1] - arrivals[0]) <= CURVE.best_rate


@pytest.mark.parametrize(("part", "value"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentile(part: float, value: int) -> None:
    """Percentiles are values that occurred."""
    assert percentile(list(range(100, 0, -1)), part) == value


def _through_the_queue(arrivals: list[float], max_rows: int) -> list[float]:
    """Return the latencies of the worker's own queue in virtual time, where deciding costs nothing."""
    queue = BatchQueue("m", Limits(max_rows=max_rows, max_wait_s=1e9, max_waiting=10**9))
    latencies, free, coming = dict[int, float](), 0.0, list(enumerate(arrivals))
    batch = None
    while coming or queue.waiting or batch:
        if coming and (batch is None or coming[0][1] <= free):
            index, now = coming.pop(0)
            call = Call(index, now)
            call.key = "all"
            assert queue.push(call, now) is None
        else:
            assert batch is not None
            now = free
            batch.seconds = now - batch.begun
            latencies |= {call.inputs: now - call.asked for call in batch.calls}
            queue.done(batch, now)
            batch = None
        if batch is None and (batch := queue.take(now)) is not None:
            free = now + CURVE(batch.rows)
    return [latencies[index] for index in range(len(arrivals))]


@pytest.mark.parametrize("rate", [0.3, 0.9, 1.6, 1.9])
def test_the_workers_queue_decides_as_the_ideal_batcher_does(rate: float) -> None:
    """Without overhead the worker's batches are the ideal ones, from an idle model to a saturated one."""
    source, now, arrivals = random.Random(3), 0.0, list[float]()  # noqa: S311 - a seeded generator, not a secret
    for _ in range(2000):
        now += source.expovariate(rate)
        arrivals.append(now)
    assert _through_the_queue(arrivals, 4) == pytest.approx(simulate(arrivals, CURVE, 4))
