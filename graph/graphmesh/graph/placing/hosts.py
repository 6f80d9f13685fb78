"""Who can answer which call: where a graph runs best, and what a worker can run without a call over the network.

The one place where that is decided from what is known of the mesh; a worker that runs a graph asks its own models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.graph.spec import ModelCall, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Hosts", "best_hosts", "hosts_from", "local_calls", "runs_on"]

Hosts: TypeAlias = Mapping[Target, Sequence[str]]
"""The workers, by id, that can answer a call: of a version of a model, and of any. No graphs: what they call counts."""

_ROUNDING = 1e-9
"""Scores that differ by less are a tie: they are sums of fractions."""


def hosts_from(serving: Iterable[tuple[str, str, str]]) -> Hosts:
    """Return where each model, and each version of it, can be called.

    Args:
        serving: Worker, model and version, for each that takes requests; workers keep this order.
    """
    hosts: defaultdict[Target, dict[str, None]] = defaultdict(dict)
    for worker, model, version in serving:
        hosts[ModelCall(name=model)][worker] = None
        hosts[ModelCall(name=model, version=version)][worker] = None
    return {target: list(workers) for target, workers in hosts.items()}


def runs_on(worker: str, calls: Iterable[Target], hosts: Hosts) -> bool:
    """Return whether a worker can answer all of these calls itself; ``calls`` as `Uses` returns them."""
    return all(worker in hosts.get(target, ()) for target in calls)


def best_hosts(uses: Mapping[Target, float], hosts: Hosts) -> list[str]:
    """Return the workers that host the most of these calls, all that tie, by id; none if nobody hosts any."""
    scores = local_calls(uses, hosts)
    most = max(scores.values(), default=0)
    return sorted(worker_id for worker_id, score in scores.items() if score >= most * (1 - _ROUNDING))


def local_calls(uses: Mapping[Target, float], hosts: Hosts) -> dict[str, float]:
    """Return how many of these calls each worker could answer itself, by id; none that could answer none."""
    scores: defaultdict[str, float] = defaultdict(float)
    for target, calls in uses.items():
        for worker_id in hosts.get(target, ()):
            scores[worker_id] += calls
    return dict(scores)
