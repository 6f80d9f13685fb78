"""What a worker counts, what Prometheus is shown of it, and the page and the dashboard that are written about it."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from graphmesh.core.errors import Code, SignatureMismatch
from graphmesh.graph.running.actions.memory import CacheMemory
from graphmesh.worker import batched
from graphmesh.worker.local import LocalMesh
from graphmesh.worker.metrics.counts import ROWS, SECONDS, CallMetrics, Durations, cumulated
from graphmesh.worker.metrics.families import Metrics

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text()
DASHBOARD = ROOT / "deploy/grafana/graphmesh-worker.json"
_SUFFIXES = ("_bucket", "_sum", "_count", "_total")


@dataclass(frozen=True)
class _Hosted:
    name: str = "m"
    version: str = "1"
    ready: bool = True
    waiting: int = 3
    memory_bytes: int = 4096


def _metrics() -> Metrics:
    """Return metrics in which every family has a sample."""
    metrics = Metrics()
    metrics.hosted = [_Hosted()]
    metrics.caches = CacheMemory()
    for counts in (metrics.model("m", "1"), metrics.graph("g")):
        counts.begin()
        counts.end(Code.OK, 0.002)
        counts.batch(2, 1, 0.001)
        counts.streamed(0, 0.001)
        counts.queue.add(0.0005)
        counts.refuse("queue_full")
    metrics.serialised("m", "1", 0.00002)
    return metrics


def _families(metrics: Metrics) -> dict[str, Any]:
    """Return the families of /metrics by name, without what the process and the platform add."""
    parsed = text_string_to_metric_families(metrics.text().decode())
    return {_full(family): family for family in parsed if family.name.startswith("graphmesh_")}


def _full(family: Any) -> str:  # noqa: ANN401 - prometheus_client's own type
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    for family in _families(metrics).values():
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    raise AssertionError(f"no sample {name} {labels}")


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_counts_everything_once(durations: list[float]) -> None:
    """Each bucket holds what is at most its bound; the last holds all, and the sum is the sum."""
    histogram = Durations()
    for seconds in durations:
        histogram.add(seconds)
    buckets = dict(histogram.buckets())
    assert all(buckets[str(bound)] == sum(seconds <= bound for seconds in durations) for bound in SECONDS), (
        "a bound belongs to its bucket"
    )
    assert buckets["+Inf"] == histogram.count == len(durations)
    assert histogram.sum_s == pytest.approx(sum(durations))


def test_counts_are_cumulated() -> None:
    """Prometheus' buckets hold all that is below them too."""
    assert cumulated(("1", "2", "+Inf"), [3, 0, 4]) == [("1", 3), ("2", 3), ("+Inf", 7)]


def test_a_call_is_counted_in_and_out() -> None:
    """Calls count by code; what failed ones took is known apart."""
    counts = CallMetrics()
    counts.begin()
    counts.begin()
    assert counts.in_flight == 2
    counts.end(Code.OK, 0.5)
    counts.end(Code.INTERNAL, 0.25)
    assert (counts.in_flight, counts.success_count, counts.failure_count) == (0, 1, 1)
    assert (counts.success_s, counts.failed_s) == (0.5, 0.25)
    assert counts.codes == {Code.OK: 1, Code.INTERNAL: 1}


def test_batches_are_counted_by_their_rows() -> None:
    """A batch counts its rows, its calls, itself, its time, and when it was."""
    counts = CallMetrics()
    for _ in range(2):
        counts.batch(4, 2, 0.01)
    counts.batch(1, 1, 0.02)
    assert (counts.inference_count, counts.batch_calls, counts.execution_count) == (9, 5, 3)
    assert {rows: (one.executions, one.compute_s) for rows, one in counts.batches.items()} == {
        4: (2, 0.02),
        1: (1, 0.02),
    }
    assert counts.compute.count == 3
    assert abs(counts.last_inference_s - time.time()) < 60
    assert dict(counts.batch_buckets())["2"] == 1
    assert dict(counts.batch_buckets())["4"] == 3


@given(st.lists(st.integers(1, 10**9), max_size=200))
def test_callers_cannot_make_up_sizes(rows: list[int]) -> None:
    """However many sizes callers send, few are kept apart, and none is lost."""
    counts = CallMetrics()
    for size in rows:
        counts.batch(size, 1, 0.0)
    assert len([size for size in counts.batches if size > 1024]) <= 20
    assert counts.execution_count == len(rows)
    assert counts.inference_count == sum(rows)
    buckets = dict(counts.batch_buckets())
    assert all(buckets[str(bound)] == sum(size <= bound for size in rows) for bound in ROWS)
    assert buckets["+Inf"] == len(rows)


def test_what_is_counted_is_shown() -> None:
    """Every count reaches /metrics under its model and version, in base units."""
    metrics = _metrics()
    labels = {"model": "m", "version": "1"}
    expected = {
        "graphmesh_worker_requests_total": 1,
        "graphmesh_worker_request_duration_seconds_sum": 0.002,
        "graphmesh_worker_queue_duration_seconds_sum": 0.0005,
        "graphmesh_worker_compute_duration_seconds_sum": 0.001,
        "graphmesh_worker_serialise_duration_seconds_sum": 0.00002,
        "graphmesh_worker_batch_rows_sum": 2,
        "graphmesh_worker_batch_rows_count": 1,
        "graphmesh_worker_batch_calls_total": 1,
        "graphmesh_worker_waiting": 3,
        "graphmesh_worker_model_ready": 1,
        "graphmesh_worker_model_memory_bytes": 4096,
    }
    assert {name: _value(metrics, name, **labels) for name in expected} == expected
    assert _value(metrics, "graphmesh_worker_refusals_total", reason="queue_full", **labels) == 1
    assert _value(metrics, "graphmesh_worker_graph_requests_total", graph="g", code="OK") == 1


def test_serialising_counts_for_what_answered() -> None:
    """The encoding of an answer belongs to its model version, or to its graph whatever the revision."""
    metrics = _metrics()
    metrics.serialised("g", "7", 0.5)
    metrics.serialised("made-up", "1", 0.5)
    assert _value(metrics, "graphmesh_worker_graph_serialise_duration_seconds_sum", graph="g") == 0.5
    assert "made-up" not in metrics.text().decode()


def test_counts_outlive_a_reload() -> None:
    """A version that is loaded again goes on counting."""
    metrics = _metrics()
    assert metrics.model("m", "1") is metrics.model("m", "1")
    assert metrics.model("m", "1").success_count == 1


class _Words:
    """Batched, on a thread."""

    @batched(max_batch_size=8)
    def predict(self, words: list[str]) -> list[str]:
        """Return them, slowly enough for others to gather."""
        time.sleep(0.02)
        return words


class _Later:
    """Async."""

    async def predict(self, text: str) -> str:
        """Return it after a while."""
        await asyncio.sleep(0.01)
        return text


class _Letters:
    """Streams."""

    def predict(self, text: str) -> Iterator[str]:
        """Yield each letter."""
        yield from text


async def _run(mesh: LocalMesh) -> None:
    await asyncio.gather(*(mesh.predict("words", words=["a", "b"]) for _ in range(5)))
    await mesh.predict("later", text="a")
    with pytest.raises(SignatureMismatch):
        await mesh.predict("later")
    assert len([answer async for answer in mesh.stream("letters", text="abc")]) == 3


async def test_what_runs_is_counted() -> None:
    """Calls of models of every kind are counted once, and batches by their rows and time."""
    async with LocalMesh({"words": _Words, "later": _Later, "letters": _Letters}) as mesh:
        await _run(mesh)
        metrics = mesh.metrics
    words, later, letters = (metrics.model(name, "1") for name in ("words", "later", "letters"))
    assert (words.success_count, words.queue.count, words.batch_calls, words.inference_count) == (5, 5, 5, 10)
    assert words.execution_count == words.compute.count < 5
    assert words.compute.sum_s >= 0.02 * words.execution_count
    assert words.queue.sum_s > 0.02
    assert (later.success_count, later.failure_count, later.execution_count) == (1, 1, 1)
    assert later.codes[Code.INVALID_ARGUMENT] == 1
    assert later.success_s >= 0.01
    assert (letters.success_count, letters.stream_answers, letters.first_answer.count) == (1, 3, 1)
    assert {one.in_flight for one in (words, later, letters)} == {0}


def _listed() -> dict[str, tuple[str, set[str]]]:
    """Return what the page lists: type and labels by name."""
    row = r"^\| `(graphmesh_worker_\w+)` \| (\w+) \|\s*([^|]*?)\s*\|\s*([^|]*?)\s*\| .+ \|$"
    rows = re.findall(row, PAGE, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, _unit, labels in rows}


def test_the_page_lists_what_is_shown() -> None:
    """docs/metrics.md has every family with its type and labels, and no other."""
    shown = {}
    for name, family in _families(_metrics()).items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown[name] = (family.type, labels)
    assert _listed() == shown


def test_the_page_lists_every_reason() -> None:
    """Refusals are counted under the words that the page explains."""
    listed = set(re.findall(r"^\| `(\w+)` \| [A-Z_]+ \| .+ \|$", PAGE, re.MULTILINE))
    assert listed == set(re.findall(r"`(\w+)`", CallMetrics.refuse.__doc__ or ""))


def test_peers_names_lead_to_ours() -> None:
    """Each row of the mapping tables ends in metrics that exist, or says that there is none."""
    rows = re.findall(r"^\| (`nv_\w+`.*?|`model_\w+`.*?|`\w+_request_queue`.*?) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 12
    for theirs, ours in rows:
        used = _used(ours)
        assert used or ours.startswith("none"), theirs
        assert used <= _listed().keys() | {"process_resident_memory_bytes", "process_cpu_seconds_total"}, theirs


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    """Every query of the Grafana dashboard is about metrics and labels that a worker has."""
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    variables = [entry["query"] for entry in dashboard["templating"]["list"] if entry["type"] == "query"]
    assert len(queries) > 8
    listed = _listed()
    for query in [*queries, *variables]:
        used = _used(query)
        assert used, query
        assert used <= listed.keys(), query
        labels = set().union(*(listed[name][1] for name in used)) | {"le", "instance", "job"}
        asked = [label for group in re.findall(r"\bby \(([^)]+)\)", query) for label in re.split(r",\s*", group)]
        assert set(asked) <= labels, query


def _used(text: str) -> set[str]:
    """Return the families that a text names, whichever of their series it means."""
    families = _listed()
    found = set()
    for name in re.findall(r"\b(graphmesh_worker_\w+|process_\w+)", text):
        bare = next((name.removesuffix(end) for end in _SUFFIXES if name.removesuffix(end) in families), name)
        found.add(name if name in families else bare)
    return found
