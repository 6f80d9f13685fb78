"""What a worker counts, in Prometheus' text form.

The hot path adds to plain integers on the event loop; `prometheus_client` is asked only when `/metrics` is read. Labels
are names of hosted models and of graphs that the registry knows, never what a client made up.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client.metrics_core import Metric

    from graphmesh.core.errors import Code
    from graphmesh.worker.instances import Statistics

__all__ = ["CallMetrics", "Metrics"]

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations:
    """A histogram of seconds."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def collect(self, labels: Sequence[str], family: HistogramMetricFamily) -> None:
        """Add this histogram to a family, cumulated as Prometheus wants it."""
        total, buckets = 0, []
        for bound, count in zip([*map(str, _BUCKETS_S), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric(labels, buckets, self._sum_s)


class CallMetrics:
    """Counts of one model version, or of one graph."""

    __slots__ = ("codes", "in_flight", "queue", "total")

    def __init__(self) -> None:
        self.codes: dict[Code, int] = {}
        self.in_flight = 0
        self.total = Durations()
        self.queue = Durations()

    def begin(self) -> None:
        """Count a call in."""
        self.in_flight += 1

    def end(self, code: Code, seconds: float) -> None:
        """Count a call out."""
        self.in_flight -= 1
        self.codes[code] = self.codes.get(code, 0) + 1
        self.total.add(seconds)


class Metrics(Collector):
    """All counts of a worker."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], CallMetrics] = {}
        self._graphs: dict[str, CallMetrics] = {}
        self._instances: dict[tuple[str, str], Callable[[], Statistics]] = {}
        self.unknown = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def model(self, name: str, version: str, statistics: Callable[[], Statistics]) -> CallMetrics:
        """Return the counts of a hosted model's version, new ones at first."""
        self._instances[name, version] = statistics
        return self._models.setdefault((name, version), CallMetrics())

    def graph(self, name: str) -> CallMetrics:
        """Return the counts of a graph that the registry knows."""
        found = self._graphs.get(name)
        if found is None:
            found = self._graphs[name] = CallMetrics()
        return found

    def text(self) -> bytes:
        """Return everything in Prometheus' text form."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Yield the families; `prometheus_client` calls this."""
        models = [(list(key), one) for key, one in self._models.items()]
        graphs = [([name], one) for name, one in self._graphs.items()]
        yield from _families("graphmesh_worker", ["model", "version"], models)
        yield from _families("graphmesh_worker_graph", ["graph"], graphs)
        queue = HistogramMetricFamily(
            "graphmesh_worker_queue_duration_seconds", "Wait for a free instance.", labels=["model", "version"]
        )
        for labels, one in models:
            one.queue.collect(labels, queue)
        yield queue
        waiting = GaugeMetricFamily("graphmesh_worker_waiting", "Calls in the queue.", labels=["model", "version"])
        for key, statistics in self._instances.items():
            waiting.add_metric(key, statistics().waiting)
        yield waiting
        yield CounterMetricFamily(
            "graphmesh_worker_unknown_requests", "Calls of a name nothing here has.", value=self.unknown
        )


def _families(prefix: str, names: list[str], rows: list[tuple[list[str], CallMetrics]]) -> Iterable[Metric]:
    requests = CounterMetricFamily(f"{prefix}_requests", "Calls ended, by gRPC code.", labels=[*names, "code"])
    in_flight = GaugeMetricFamily(f"{prefix}_requests_in_flight", "Calls begun and not ended.", labels=names)
    durations = HistogramMetricFamily(f"{prefix}_request_duration_seconds", "Decoded to answered.", labels=names)
    for labels, one in rows:
        for code, count in one.codes.items():
            requests.add_metric([*labels, code.name], count)
        in_flight.add_metric(labels, one.in_flight)
        one.total.collect(labels, durations)
    yield requests
    yield in_flight
    yield durations
