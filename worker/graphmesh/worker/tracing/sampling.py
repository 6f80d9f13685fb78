"""Which calls are recorded, decided where a trace begins and for its whole way.

OpenTelemetry's own samplers decide the same, in several microseconds; this is asked for every call.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.worker.tracing.context import Parent

__all__ = ["Sampling", "read_sampling"]

logger = logging.getLogger(__name__)

_HALF = 1 << 64


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which calls are recorded, as `OTEL_TRACES_SAMPLER` says."""

    rate: float
    """Which fraction of traces; by trace id, so that all workers decide alike."""
    follows: bool
    """What the caller decided counts, if it did."""

    def takes(self, parent: Parent | None, trace_id: int) -> bool:
        """Return whether a call is recorded."""
        if parent is not None and self.follows:
            return parent.sampled
        return (trace_id & (_HALF - 1)) < self.rate * _HALF


def read_sampling(environment: Mapping[str, str]) -> Sampling:
    """Return the sampling that the environment asks for; what cannot be read is logged, and all traces are recorded."""
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    kind = name.removeprefix("parentbased_")
    rates = {
        "always_on": 1.0,
        "always_off": 0.0,
        "traceidratio": _ratio(environment.get("OTEL_TRACES_SAMPLER_ARG", "")),
    }
    if kind not in rates:
        logger.warning(
            "OTEL_TRACES_SAMPLER is not one of the standard's, all traces are recorded sampler=%s", name[:80]
        )
        return Sampling(1.0, follows=True)
    return Sampling(rates[kind], follows=name != kind)


def _ratio(text: str) -> float:
    try:
        ratio = float(text or "1")
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        logger.warning("OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, all traces are recorded value=%s", text[:80])
        return 1.0
    return ratio
