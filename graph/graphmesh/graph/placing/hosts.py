"""Who can answer which call of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.graph.spec import ModelCall, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Hosts", "hosts_from"]

Hosts: TypeAlias = Mapping[Target, Sequence[str]]
"""The workers, by id, that can answer a call: of a version of a model, and of any. No graphs: what they call counts."""


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
