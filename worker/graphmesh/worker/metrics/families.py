"""What a worker counts, in Prometheus' text form.

The hot path adds to plain numbers on the event loop; they are written out only when `/metrics` is read. Labels are
names of hosted models and of graphs that the registry knows, never what a client made up. `docs/metrics.md` lists every
family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from graphmesh.worker.metrics.counts import CallMetrics
from graphmesh.worker.metrics.exposition import counter, durations, gauge, histogram, labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CallMetrics", "Hosted", "Metrics"]


class Hosted(Protocol):
    """A model version that this worker has now."""

    @property
    def name(self) -> str:
        """What clients call."""
        ...

    @property
    def version(self) -> str:
        """Its version."""
        ...

    @property
    def ready(self) -> bool:
        """Whether calls would be run now."""
        ...

    @property
    def waiting(self) -> int:
        """Calls in its queue now."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes, bytes; 0 while that is unknown."""
        ...


class Caches(Protocol):
    """What the caches of all graphs remember together."""

    max_bytes: int
    """The most bytes that they may."""
    crowded_out: int
    """Answers that made room for those of any cache."""
    dropped: int
    """Answers that made room for others of their own cache."""

    @property
    def held_bytes(self) -> int:
        """Bytes of tensors that are remembered now."""
        ...

    @property
    def entries(self) -> int:
        """Answers that are remembered now."""
        ...


class Metrics:
    """All counts of a worker."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], CallMetrics] = {}
        self._graphs: dict[str, CallMetrics] = {}
        self.hosted: Iterable[Hosted] = ()
        """What the worker hosts now; the catalogue."""
        self.caches: Caches | None = None
        """What the caches of all graphs remember; None if there are no graphs."""
        self.unknown = 0
        """Calls of a name nothing here has."""
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)

    def model(self, name: str, version: str) -> CallMetrics:
        """Return the counts of a hosted model's version; they go on when it is loaded again."""
        return self._models.setdefault((name, version), CallMetrics())

    def graph(self, name: str) -> CallMetrics:
        """Return the counts of a graph that the registry knows."""
        found = self._graphs.get(name)
        if found is None:
            found = self._graphs[name] = CallMetrics()
        return found

    def serialised(self, name: str, version: str, seconds: float) -> None:
        """Count the encoding of an answer; ``version`` is the model's, or the revision of a graph."""
        found = self._models.get((name, version)) or self._graphs.get(name)
        if found is not None:
            found.serialise.add(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text form."""
        models = [(labels(model=name, version=version), one) for (name, version), one in self._models.items()]
        graphs = [(labels(graph=name), one) for name, one in self._graphs.items()]
        families = (
            *_calls("graphmesh_worker", models),
            *_runs(models),
            *_gauges(self.hosted),
            *_calls("graphmesh_worker_graph", graphs),
            *(() if self.caches is None else _remembered(self.caches)),
            counter(
                "graphmesh_worker_unknown_requests_total", "Calls of a name nothing here has.", [("", self.unknown)]
            ),
        )
        return "".join(families).encode() + generate_latest(self._process)


def _calls(prefix: str, rows: list[tuple[str, CallMetrics]]) -> Iterator[str]:
    """Yield what models and graphs have alike."""
    ended = [(f"{found},{labels(code=code.name)}", count) for found, one in rows for code, count in one.codes.items()]
    yield counter(f"{prefix}_requests_total", "Calls ended, by gRPC code.", ended)
    open_ = [(found, one.in_flight) for found, one in rows]
    yield gauge(f"{prefix}_requests_in_flight", "Calls begun and not ended.", open_)
    total = [(found, one.total) for found, one in rows]
    yield durations(f"{prefix}_request_duration_seconds", "Decoded to answered.", total)
    encoding = [(found, one.serialise) for found, one in rows]
    yield durations(f"{prefix}_serialise_duration_seconds", "Encoding of an answer.", encoding)
    streams = [(found, one) for found, one in rows if one.stream_answers]
    first = [(found, one.first_answer) for found, one in streams]
    yield durations(f"{prefix}_first_answer_duration_seconds", "Decoded to a stream's first answer.", first)
    answers = [(found, one.stream_answers) for found, one in streams]
    yield counter(f"{prefix}_stream_answers_total", "Answers of streams.", answers)


def _runs(rows: list[tuple[str, CallMetrics]]) -> Iterator[str]:
    """Yield what only models have: queues, batches and refusals."""
    queue = [(found, one.queue) for found, one in rows]
    yield durations("graphmesh_worker_queue_duration_seconds", "Wait for an instance.", queue)
    compute = [(found, one.compute) for found, one in rows]
    yield durations("graphmesh_worker_compute_duration_seconds", "Run of a batch.", compute)
    sizes = [(found, one.batch_buckets(), one.inference_count) for found, one in rows]
    yield histogram("graphmesh_worker_batch_rows", "Rows of the batches that ran.", sizes)
    calls = [(found, one.batch_calls) for found, one in rows]
    yield counter("graphmesh_worker_batch_calls_total", "Calls in the batches that ran.", calls)
    last = [(found, one.last_inference_s) for found, one in rows]
    yield gauge("graphmesh_worker_last_inference_timestamp_seconds", "End of the last batch.", last)
    refusals = [
        (f"{found},{labels(reason=reason)}", count) for found, one in rows for reason, count in one.refusals.items()
    ]
    yield counter("graphmesh_worker_refusals_total", "Calls that never ran, by reason.", refusals)


def _remembered(caches: Caches) -> Iterator[str]:
    """Yield what caches of graphs hold, and what they let go to make room."""
    yield gauge("graphmesh_worker_cache_bytes", "Bytes that caches remember.", [("", caches.held_bytes)])
    yield gauge("graphmesh_worker_cache_max_bytes", "The most that they may together.", [("", caches.max_bytes)])
    yield gauge("graphmesh_worker_cache_answers", "Answers that caches remember.", [("", caches.entries)])
    evicted = [(labels(bound="cache"), caches.dropped), (labels(bound="worker"), caches.crowded_out)]
    yield counter("graphmesh_worker_cache_evictions_total", "Answers that made room for others.", evicted)


def _gauges(hosted: Iterable[Hosted]) -> Iterator[str]:
    """Yield the state of the models that the worker has now."""
    rows = [(labels(model=one.name, version=one.version), one) for one in hosted]
    ready = [(found, int(one.ready)) for found, one in rows]
    yield gauge("graphmesh_worker_model_ready", "1 if calls would be run now, else 0.", ready)
    yield gauge("graphmesh_worker_waiting", "Calls in the queue.", [(found, one.waiting) for found, one in rows])
    memory = [(found, one.memory_bytes) for found, one in rows]
    yield gauge("graphmesh_worker_model_memory_bytes", "Memory that it takes; 0 while that is unknown.", memory)
