"""Whether traces are recorded at all, and where they go: OpenTelemetry's own environment, read once."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from graphmesh.worker.tracing.destination import is_given, read_destination
from graphmesh.worker.tracing.sampling import read_sampling
from graphmesh.worker.tracing.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["start_tracing"]

logger = logging.getLogger(__name__)


def start_tracing(*, instance: str, environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return what records traces, or None if the environment names no exporter or says not to.

    Also None, with a warning, if traces are wanted but cannot be had: a worker serves without them.

    Args:
        instance: This process among others of the service.
        environment: OpenTelemetry's variables; those of resources and batches are always read from `os.environ`.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not is_given(environment) or off or exporter == "none":
        return None
    if exporter != "otlp":
        logger.warning("only OTLP is exported, no traces are recorded OTEL_TRACES_EXPORTER=%s", exporter[:80])
        return None
    try:
        return _start(instance, environment)
    except ValueError as error:
        logger.warning("no traces are recorded: %s", error)
    except ImportError as error:
        logger.warning(
            "traces are wanted but cannot be recorded; run: pip install 'graphmesh[tracing]' error=%s", error
        )
    return None


def _start(instance: str, environment: Mapping[str, str]) -> Tracing:
    """Return what records traces, its exporter at work.

    Raises:
        ValueError: The environment does not say properly where traces go.
        ImportError: The extra is not installed, or not whole.
    """
    destination = read_destination(environment)
    from graphmesh.worker.tracing.exporter import Batches, OtlpExporter  # noqa: PLC0415 - needs the extra

    tracing = Tracing(read_sampling(environment), instance=instance)
    tracing.provider.add_span_processor(Batches(OtlpExporter(destination)))
    logger.info("traces are recorded endpoint=%s", destination)
    return tracing
