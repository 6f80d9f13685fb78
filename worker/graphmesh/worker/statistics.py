"""Counts and configurations of what a worker hosts, as the Open Inference Protocol's messages; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.tensor import BYTES
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from graphmesh.core.signature import Signature, TensorSpec
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.metrics.counts import CallMetrics

__all__ = ["config_to_wire", "statistics_to_wire"]


def statistics_to_wire(
    name: str, version: str, counts: CallMetrics, *, memory_bytes: int = 0, device: str = ""
) -> pb.ModelStatistics:
    """Return the statistics of a model's version or of a graph."""
    message = pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=int(counts.last_inference_s * 1000),
        inference_count=counts.inference_count,
        execution_count=counts.execution_count,
        inference_stats=pb.InferStatistics(
            success=_duration(counts.success_count, counts.success_s),
            fail=_duration(counts.failure_count, counts.failed_s),
            queue=_duration(counts.queue.count, counts.queue.sum_s),
            compute_input=_duration(0, 0),
            compute_infer=_duration(counts.batch_calls, counts.compute.sum_s),
            compute_output=_duration(counts.serialise.count, counts.serialise.sum_s),
            cache_hit=_duration(0, 0),
            cache_miss=_duration(0, 0),
        ),
    )
    for rows, batch in sorted(counts.batches.items()):
        message.batch_stats.add(
            batch_size=rows,
            compute_input=_duration(0, 0),
            compute_infer=_duration(batch.executions, batch.compute_s),
            compute_output=_duration(0, 0),
        )
    if memory_bytes:
        kind, _, index = device.partition(":")
        message.memory_usage.add(type="GPU" if kind == "cuda" else "CPU", id=int(index or 0), byte_size=memory_bytes)
    return message


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=round(seconds * 1e9))


def config_to_wire(
    name: str, platform: str, signature: Signature, *, backend: str = "", instances: int = 0, batching: Batching | None
) -> pb.ModelConfig:
    """Return how a model is served; without a backend it is a graph.

    As Triton has it, shapes of a model that batches leave the batch's axis out.
    """
    skip = 1 if batching else 0
    config = pb.ModelConfig(name=name, platform=platform, backend=backend)
    config.version_policy.all.SetInParent()
    for spec in signature.inputs:
        config.input.add(name=spec.name, data_type=_data_type(spec), dims=_dims(spec, skip))
    for spec in signature.outputs:
        config.output.add(name=spec.name, data_type=_data_type(spec), dims=_dims(spec, skip))
    if instances:
        config.instance_group.add(name=f"{name}_0", count=instances, kind=pb.ModelInstanceGroup.KIND_AUTO)
    if batching:
        config.max_batch_size = batching.max_batch_size
        config.dynamic_batching.max_queue_delay_microseconds = round(batching.max_delay_ms * 1000)
    config.model_transaction_policy.decoupled = signature.streaming
    return config


def _data_type(spec: TensorSpec) -> str:
    """Return a value of `DataType`, by its name."""
    return "TYPE_STRING" if spec.datatype == BYTES else f"TYPE_{spec.datatype}"


def _dims(spec: TensorSpec, skip: int) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in spec.shape[skip:]]
