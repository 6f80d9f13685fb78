"""Counts and configurations as the protocol's messages."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import Code
from graphmesh.core.signature import Signature, TensorSpec, parse_type
from graphmesh.core.tensor import DTYPES
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.batching import Batching
from graphmesh.worker.metrics.counts import CallMetrics
from graphmesh.worker.statistics import config_to_wire, statistics_to_wire


def test_counts_become_durations() -> None:
    """Successes, failures, waits, batches and encodings keep their counts, and their seconds as nanoseconds."""
    counts = CallMetrics()
    for code, seconds in ((Code.OK, 0.5), (Code.OK, 0.25), (Code.INTERNAL, 2.0)):
        counts.begin()
        counts.end(code, seconds)
    counts.queue.add(0.125)
    counts.batch(4, 2, 0.5)
    counts.batch(4, 1, 0.25)
    counts.batch(1, 1, 0.25)
    counts.serialise.add(0.0625)
    message = statistics_to_wire("m", "3", counts)
    stats = message.inference_stats
    assert (message.name, message.version) == ("m", "3")
    assert (stats.success.count, stats.success.ns) == (2, 750_000_000)
    assert (stats.fail.count, stats.fail.ns) == (1, 2_000_000_000)
    assert (stats.queue.count, stats.queue.ns) == (1, 125_000_000)
    assert (stats.compute_infer.count, stats.compute_infer.ns) == (4, 1_000_000_000)
    assert (stats.compute_output.count, stats.compute_output.ns) == (1, 62_500_000)
    assert (message.inference_count, message.execution_count) == (9, 3)
    sizes = [(one.batch_size, one.compute_infer.count, one.compute_infer.ns) for one in message.batch_stats]
    assert sizes == [(1, 1, 250_000_000), (4, 2, 750_000_000)]
    assert message.last_inference > 1_600_000_000_000


def test_nothing_counted() -> None:
    """Before the first call all is zero, and there all the same: clients look at every duration."""
    message = statistics_to_wire("m", "1", CallMetrics())
    assert message.last_inference == 0
    for field in pb.InferStatistics.DESCRIPTOR.fields:
        assert message.inference_stats.HasField(field.name)
    assert not message.memory_usage


@pytest.mark.parametrize(("device", "kind", "index"), [("", "CPU", 0), ("cpu", "CPU", 0), ("cuda:1", "GPU", 1)])
def test_memory_says_where(device: str, kind: str, index: int) -> None:
    """Memory is the CPU's, or a GPU's with its number."""
    (usage,) = statistics_to_wire("m", "1", CallMetrics(), memory_bytes=9, device=device).memory_usage
    assert (usage.type, usage.id, usage.byte_size) == (kind, index, 9)


def signature(*types: str, streaming: bool = False) -> Signature:
    """Return a signature of one input a type, and the same outputs."""
    parsed = [parse_type(text) for text in types]
    specs = tuple(
        TensorSpec(name=f"t{index}", datatype=datatype, shape=shape, text=text)
        for index, (datatype, shape, text) in enumerate(parsed)
    )
    return Signature(specs, specs, streaming)


def test_every_datatype_has_a_name() -> None:
    """Each datatype is one of a configuration's, with open dimensions as -1."""
    config = config_to_wire("m", "p", signature(*(f"{name} (N, 3)" for name in DTYPES)), batching=None)
    assert all(pb.DataType.Name(one.data_type).startswith("TYPE_") and one.data_type for one in config.input)
    assert all(list(one.dims) == [-1, 3] for one in config.input)
    assert all(list(one.dims) == [-1, 3] for one in config.output)


def test_batching_leaves_its_axis_out() -> None:
    """A model that batches says how, and its shapes have no batch axis, as Triton's have none."""
    batching = Batching(max_batch_size=16, max_delay_ms=2.5)
    config = config_to_wire("m", "p", signature("FP32 (N, 3)"), backend="onnx", instances=2, batching=batching)
    assert (config.max_batch_size, config.backend, config.instance_group[0].count) == (16, "onnx", 2)
    assert config.dynamic_batching.max_queue_delay_microseconds == 2500
    assert list(config.input[0].dims) == [3]


def test_streams_are_decoupled() -> None:
    """A model that streams says that answers are many."""
    for streaming in (True, False):
        config = config_to_wire("m", "p", signature("FP32 ()", streaming=streaming), batching=None)
        assert config.model_transaction_policy.decoupled is streaming
