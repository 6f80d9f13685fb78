"""How a model's calls are gathered into batches: its author's or operator's choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphmesh.core.errors import InvalidRequest

__all__ = ["Batching", "CostFunction"]

CostFunction: TypeAlias = Callable[[Mapping[str, Any]], float]
"""What running a call's inputs (arrays by name) costs, in any unit: tokens, pixels."""

_LONGEST_DELAY_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """What a batch may be."""

    max_batch_size: int = 32
    """Rows, at least 1. A call that brings more runs alone."""
    max_delay_ms: float = 0.0
    """How long an instance that becomes idle waits for a batch to fill, from the arrival of its oldest call, at most
    a minute; 0: not at all. A call that finds an instance idle never waits."""
    cost: str | CostFunction = ""
    """What a call costs: the number of elements of the input named, as padded, or what a function of the inputs
    returns, a positive number; empty: its rows. The time of a batch is learned by its cost."""
    max_cost: float = 0.0
    """The most a batch may cost; 0: no bound but its rows. A call that costs more runs alone."""
    pad: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Allowed sizes, ascending, of dimensions that the signature names beyond axis 0: a call is padded with zeros
    (empty text) to the smallest that fits, and its outputs are cut back; one that is larger than all is refused. Calls
    whose shapes still differ are not batched together."""

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise InvalidRequest(f"max_batch_size must be at least 1, got {self.max_batch_size}")
        # So written that NaN is refused too.
        if not 0 <= self.max_delay_ms <= _LONGEST_DELAY_MS:
            raise InvalidRequest(f"max_delay_ms must be 0 to {_LONGEST_DELAY_MS}, got {self.max_delay_ms}")
        if not 0 <= self.max_cost < math.inf:
            raise InvalidRequest(f"max_cost must be 0, for no bound, or a positive number, got {self.max_cost}")
        for dimension, sizes in self.pad.items():
            if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
                raise InvalidRequest(f"pad[{dimension!r}] must list sizes in ascending order, got {list(sizes)}")
