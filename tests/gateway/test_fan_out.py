"""Many workers' answers as one."""

from __future__ import annotations

from graphmesh.core.errors import Code, LoadFailed, NotFound
from graphmesh.gateway.fan_out import joined, summed
from graphmesh.oip import open_inference_pb2 as pb


def test_all_well_is_no_error() -> None:
    """Without a failure there is nothing to tell."""
    assert joined("loaded", {"w1": None, "w2": None}) is None


def test_a_failure_names_its_worker_and_those_that_are_done() -> None:
    """The first failing worker's code, every failing worker's message, and who succeeded."""
    error = joined("loaded", {"w3": NotFound("nope"), "w1": None, "w2": LoadFailed("no file")})
    assert error is not None
    assert error.code is Code.FAILED_PRECONDITION
    assert error.message == "worker w2: no file; worker w3: nope; loaded on w1"


def part(version: str, count: int, last: int) -> pb.ModelStatistics:
    """Return a replica's statistics."""
    duration = pb.StatisticDuration(count=count, ns=count * 10)
    return pb.ModelStatistics(
        name="m",
        version=version,
        last_inference=last,
        inference_count=count,
        execution_count=count,
        inference_stats=pb.InferStatistics(success=duration, queue=duration),
        batch_stats=[pb.InferBatchStatistics(batch_size=count, compute_infer=duration)],
        memory_usage=[pb.MemoryUsage(type="CPU", byte_size=100)],
    )


def test_statistics_of_a_version_are_added_up() -> None:
    """Counts, times and memory are sums, the last inference the latest; versions and batch sizes stay apart."""
    one, two = summed([part("1", 3, 50), part("2", 1, 10), part("1", 4, 40), part("1", 3, 30)])
    assert (one.version, one.inference_count, one.execution_count, one.last_inference) == ("1", 10, 10, 50)
    assert (one.inference_stats.success.count, one.inference_stats.queue.ns) == (10, 100)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in one.batch_stats] == [(3, 6), (4, 4)]
    assert [memory.byte_size for memory in one.memory_usage] == [300]
    assert (two.version, two.inference_count) == ("2", 1)


def test_nothing_sums_to_nothing() -> None:
    """No parts, no statistics."""
    assert summed([]) == []
