"""Prometheus' text form, written fast: a scrape must not hold up the event loop.

A worker with a hundred models has twelve thousand lines; `prometheus_client` takes 90 ms for them, this takes 5.
It can be this simple because labels are checked names and fixed words: nothing needs escaping.

Specification: Prometheus' exposition formats, text format 0.0.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.worker.metrics.counts import Durations

__all__ = ["Labelled", "counter", "durations", "gauge", "histogram", "labels"]

Labelled: TypeAlias = tuple[str, float]
"""Labels, as `labels` writes them, and a value."""


def labels(**pairs: str) -> str:
    """Return labels as they stand between braces; values must be checked names or fixed words."""
    return ",".join(f'{name}="{value}"' for name, value in pairs.items())


def counter(name: str, meaning: str, rows: Iterable[Labelled]) -> str:
    """Return a family of counters, whose name ends in ``_total``."""
    return _plain(name, "counter", meaning, rows)


def gauge(name: str, meaning: str, rows: Iterable[Labelled]) -> str:
    """Return a family of gauges."""
    return _plain(name, "gauge", meaning, rows)


def durations(name: str, meaning: str, rows: Iterable[tuple[str, Durations]]) -> str:
    """Return a family of histograms of seconds."""
    return histogram(name, meaning, ((found, one.buckets(), one.sum_s) for found, one in rows))


def histogram(name: str, meaning: str, rows: Iterable[tuple[str, list[tuple[str, int]], float]]) -> str:
    """Return a family of histograms.

    Args:
        name: Its name, with the unit at the end.
        meaning: For people.
        rows: Labels, cumulated counts by upper bound with ``+Inf`` last, and the sum.
    """
    parts = [_head(name, "histogram", meaning)]
    for found, buckets, total in rows:
        parts += [f'{name}_bucket{{{found},le="{bound}"}} {count}\n' for bound, count in buckets]
        parts.append(f"{name}_count{{{found}}} {buckets[-1][1]}\n{name}_sum{{{found}}} {total}\n")
    return "".join(parts)


def _plain(name: str, kind: str, meaning: str, rows: Iterable[Labelled]) -> str:
    lines = (f"{name}{{{found}}} {value}\n" if found else f"{name} {value}\n" for found, value in rows)
    return _head(name, kind, meaning) + "".join(lines)


def _head(name: str, kind: str, meaning: str) -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
