"""What is counted of one model version or one graph: plain numbers, added to on the event loop.

A count costs an increment, a duration a bisection over a few bounds; nothing is locked, nothing is allocated per call.
`graphmesh.worker.metrics.families` shows the numbers to Prometheus, the Open Inference Protocol's statistics read them
as they are.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from graphmesh.core.errors import Code

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ROWS", "SECONDS", "CallMetrics", "Durations", "cumulated"]

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets of durations, seconds."""
ROWS = tuple(2**power for power in range(13))
"""Upper bounds of the buckets of batch sizes, rows."""

_SECONDS = (*map(str, SECONDS), "+Inf")
_ROWS = (*map(str, ROWS), "+Inf")
_EXACT_ROWS = 1024


class Durations:
    """A histogram of seconds."""

    __slots__ = ("_counts", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self.sum_s = 0.0
        """All durations together, seconds."""

    @property
    def count(self) -> int:
        """How many durations were added."""
        return sum(self._counts)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """Return the buckets as Prometheus wants them."""
        return cumulated(_SECONDS, self._counts)


class BatchCount:
    """The batches of one size."""

    __slots__ = ("compute_s", "executions")

    def __init__(self) -> None:
        self.executions = 0
        """How many were run."""
        self.compute_s = 0.0
        """How long they ran, seconds together."""


class CallMetrics:
    """Counts of one model version, or of one graph."""

    __slots__ = (
        "batch_calls",
        "batches",
        "codes",
        "compute",
        "failed_s",
        "first_answer",
        "in_flight",
        "inference_count",
        "last_inference_s",
        "queue",
        "refusals",
        "serialise",
        "stream_answers",
        "total",
    )

    def __init__(self) -> None:
        self.codes: dict[Code, int] = {}
        """Calls ended, by code."""
        self.in_flight = 0
        """Calls begun and not ended."""
        self.total = Durations()
        """From decoded to answered, each call."""
        self.failed_s = 0.0
        """The part of `total` that failed calls took, seconds."""
        self.queue = Durations()
        """Wait for an instance, each call that ran on one."""
        self.compute = Durations()
        """Run of the model, each batch; a call that runs alone is a batch."""
        self.serialise = Durations()
        """Encoding of an answer, each answer."""
        self.first_answer = Durations()
        """From decoded to the first answer, each call that was made as a stream."""
        self.stream_answers = 0
        """Answers of streams."""
        self.batches: dict[int, BatchCount] = {}
        """By rows; beyond 1024 rows, by the next power of two, so that callers cannot make up ever more sizes."""
        self.inference_count = 0
        """Rows that were computed."""
        self.batch_calls = 0
        """Calls that were computed, whatever rows they brought."""
        self.last_inference_s = 0.0
        """When the last batch ended, seconds of the wall clock since 1970; 0 before the first."""
        self.refusals: dict[str, int] = {}
        """Calls that never ran, by reason."""

    @property
    def execution_count(self) -> int:
        """Batches that were run."""
        return sum(one.executions for one in self.batches.values())

    @property
    def success_count(self) -> int:
        """Calls that ended with OK."""
        return self.codes.get(Code.OK, 0)

    @property
    def success_s(self) -> float:
        """What calls that ended with OK took, seconds together."""
        return self.total.sum_s - self.failed_s

    @property
    def failure_count(self) -> int:
        """Calls that ended otherwise."""
        return sum(self.codes.values()) - self.success_count

    def begin(self) -> None:
        """Count a call in."""
        self.in_flight += 1

    def end(self, code: Code, seconds: float) -> None:
        """Count a call out."""
        self.in_flight -= 1
        self.codes[code] = self.codes.get(code, 0) + 1
        self.total.add(seconds)
        if code is not Code.OK:
            self.failed_s += seconds

    def streamed(self, index: int, seconds: float) -> None:
        """Count an answer of a stream, the ``index``-th from 0, ``seconds`` after the call began."""
        self.stream_answers += 1
        if not index:
            self.first_answer.add(seconds)

    def batch(self, rows: int, calls: int, seconds: float) -> None:
        """Count a batch that the model ran, and its compute time: one that gave answers, or a call alone that failed.

        A batch of several calls that fails is not counted; its calls run alone then, and each of them is.
        """
        self.compute.add(seconds)
        self.inference_count += rows
        self.batch_calls += calls
        self.last_inference_s = time.time()
        if rows > _EXACT_ROWS:
            rows = 1 << (rows - 1).bit_length()
        found = self.batches.get(rows)
        if found is None:
            found = self.batches[rows] = BatchCount()
        found.executions += 1
        found.compute_s += seconds

    def refuse(self, reason: str) -> None:
        """Count a call that never ran.

        Args:
            reason: One of a few fixed words: `queue_full`, `wait_too_long`, `deadline`, `expired`, `cancelled`,
                `quarantined`.
        """
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def batch_buckets(self) -> list[tuple[str, int]]:
        """Return the batches by rows, as Prometheus wants them."""
        counts = [0] * (len(ROWS) + 1)
        for rows, batch in self.batches.items():
            counts[bisect_left(ROWS, rows)] += batch.executions
        return cumulated(_ROWS, counts)


def cumulated(bounds: Sequence[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Return each bound with the count of everything up to it."""
    total, buckets = 0, []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
