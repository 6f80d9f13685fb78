"""One trace from a client through the gateway to every step of a graph, at an OTLP collector; and what is explained.

The collector takes OTLP over HTTP with JSON, as OpenTelemetry's own does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.running import MODELS, RunningMesh
from tests.worker.otlp import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

MESH = f"""
workers:
  - name: left
    models:
      - {{name: add, source: "{MODELS}:Add"}}
  - name: right
    models:
      - {{name: add-ten, source: "{MODELS}:Add", parameters: {{amount: 10}}}}
graphs: [chain.yaml]
"""
CHAIN = """
name: chain
inputs: [{name: x}]
nodes:
  - {name: one, model: add, inputs: {x: x}}
  - {name: ten, model: add-ten, inputs: {x: one.y}}
outputs: {y: ten.y}
"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
EXPLAIN_DOC = Path(__file__).parents[2] / "docs" / "explain.md"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector."""
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def mesh(
    start: Callable[..., RunningMesh], collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningMesh]:
    """Two workers, a graph over both, and OpenTelemetry's environment."""
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "chain.yaml").write_text(CHAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        patch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        yield start(MESH.replace("chain.yaml", str(folder / "chain.yaml")))


def _infer(mesh: RunningMesh, parent: str, *more: str) -> str:
    return mesh.graphmesh("infer", "chain", "x=[1]", "--header", f"traceparent={parent}", *more).stdout


def test_one_trace(mesh: RunningMesh, collector: Collector) -> None:
    """The caller's trace goes through the gateway, the graph, and the gateway again to the other worker."""
    assert "[12.0]" in _infer(mesh, f"00-{TRACE}-{CALLER}-01")
    spans = collector.wait_for(TRACE, 4)
    graph = spans["SERVER infer chain"]
    here = next(span for name, span in spans.items() if name.startswith("INTERNAL"))
    sent = next(span for name, span in spans.items() if name.startswith("CLIENT"))
    there = next(span for name, span in spans.items() if name.startswith("SERVER infer add"))
    assert graph.parent == CALLER
    assert here.parent == sent.parent == graph.span_id
    assert there.parent == sent.span_id
    resources = [span.resource for span in spans.values()]
    assert {one["service.name"] for one in resources} == {"graphmesh"}
    assert {one["deployment.environment.name"] for one in resources} == {"test"}
    assert {one["service.instance.id"] for one in resources} == {"left-1", "right-1"}
    assert sent.attributes["graphmesh.network_ms"] > 0
    assert sent.start_ns <= there.start_ns <= there.end_ns <= sent.end_ns


def test_what_the_caller_does_not_record(mesh: RunningMesh, collector: Collector) -> None:
    """Nothing is recorded of it, on no worker; a call after it is, so that this is not for want of time."""
    other, marker = TRACE[::-1], TRACE.replace("4", "5")
    _infer(mesh, f"00-{other}-{CALLER}-00")
    _infer(mesh, f"00-{marker}-{CALLER}-01")
    collector.wait_for(marker, 4)
    assert not [span for span in collector.spans if span.trace_id == other]


def _fields(value: object) -> Iterator[str]:
    """Return the names of all fields of an explanation, but not those of notes."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if name != "notes":
                yield from _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)


def test_every_field_of_an_answer_is_documented(mesh: RunningMesh) -> None:
    """What a real answer explains is what docs/explain.md has a row for, and times of both ends are in it."""
    documented = set(re.findall(r"^\| `(\w+)` \|", EXPLAIN_DOC.read_text(), re.MULTILINE))
    for name in ("chain", "add"):
        done = mesh.graphmesh("infer", name, "x=[1]", "--explain", "-o", "json")
        explained = json.loads(done.stdout)["explain"]
        assert set(_fields(explained)) <= documented
    done = mesh.graphmesh("infer", "chain", "x=[1]", "--explain", "-o", "json")
    nodes = json.loads(done.stdout)["explain"]["nodes"]
    remote = next(node for node in nodes if not node["fused"])
    fused = next(node for node in nodes if node["fused"])
    assert remote["network_ms"] > 0
    assert remote["serialise_ms"] > 0
    assert (
        remote["queue_ms"] + remote["compute_ms"] + remote["serialise_ms"] + remote["network_ms"] <= remote["calls_ms"]
    )
    assert "network_ms" not in fused


def test_an_answer_as_a_waterfall(mesh: RunningMesh, tmp_path: Path) -> None:
    """The command draws it, and writes it as a page."""
    done = mesh.graphmesh("infer", "chain", "x=[1]", "--explain", "--explain-html", str(tmp_path / "call.html"))
    assert re.search(r"^one\* +model add@\d+ +(fused|remote) ", done.stdout, re.MULTILINE)
    assert re.search(r"^ten\* +model add-ten@\d+ +(fused|remote) ", done.stdout, re.MULTILINE)
    assert "<h1>chain: " in (tmp_path / "call.html").read_text()


def test_the_plan(mesh: RunningMesh) -> None:
    """Before any call the mesh says which step is fused and which crosses the network."""
    plan = json.loads(mesh.graphmesh("graph", "explain", "chain", "--worker", "left-1", "-o", "json").stdout)
    assert [(one["steps"], one["fused"]) for one in plan["segments"]] == [(["one"], True), (["ten"], False)]
    assert plan["segments"][1]["workers"] == ["right-1"]
    assert "through a gateway" in mesh.graphmesh("graph", "explain", "chain").stdout
