"""Many workers' answers as one: outcomes joined, statistics summed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError, from_code
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["joined", "summed"]


def joined(done: str, outcomes: Mapping[str, GraphmeshError | None]) -> GraphmeshError | None:
    """Return the error that stands for several workers' outcomes, None if all went well.

    It has the code of the first failure by worker id, names each worker that failed with its message, and says which
    did not fail.

    Args:
        done: What the others did, such as ``loaded``.
        outcomes: By worker id, what went wrong.
    """
    failed = {worker: error for worker, error in sorted(outcomes.items()) if error is not None}
    if not failed:
        return None
    words = [f"worker {worker}: {error.message}" for worker, error in failed.items()]
    if well := sorted(outcomes.keys() - failed.keys()):
        words.append(f"{done} on {', '.join(well)}")
    return from_code(next(iter(failed.values())).code, "; ".join(words))


def summed(parts: Iterable[pb.ModelStatistics]) -> list[pb.ModelStatistics]:
    """Return the statistics of replicas added up, one entry a name and version, in that order."""
    found: dict[tuple[str, str], pb.ModelStatistics] = {}
    for part in parts:
        total = found.setdefault((part.name, part.version), pb.ModelStatistics(name=part.name, version=part.version))
        _add(total, part)
    return [found[key] for key in sorted(found, key=lambda key: (key[0], int(key[1])))]


def _add(total: pb.ModelStatistics, part: pb.ModelStatistics) -> None:
    total.last_inference = max(total.last_inference, part.last_inference)
    total.inference_count += part.inference_count
    total.execution_count += part.execution_count
    _add_durations(total.inference_stats, part.inference_stats)
    sizes = {batch.batch_size: batch for batch in total.batch_stats}
    for batch in part.batch_stats:
        _add_durations(sizes.get(batch.batch_size) or total.batch_stats.add(batch_size=batch.batch_size), batch)
    total.batch_stats.sort(key=lambda batch: batch.batch_size)
    for memory in part.memory_usage:
        known = next((one for one in total.memory_usage if (one.type, one.id) == (memory.type, memory.id)), None)
        (known or total.memory_usage.add(type=memory.type, id=memory.id)).byte_size += memory.byte_size


def _add_durations(
    total: pb.InferStatistics | pb.InferBatchStatistics, part: pb.InferStatistics | pb.InferBatchStatistics
) -> None:
    """Add every duration of a message to that of another."""
    for field in part.DESCRIPTOR.fields:
        if field.message_type is not None:
            one, more = getattr(total, field.name), getattr(part, field.name)
            one.count += more.count
            one.ns += more.ns
