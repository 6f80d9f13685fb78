"""What real answers of composed graphs explain; docs/explain.md must say what each field and note is."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import orjson
import pytest
import pytest_asyncio

from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.drawing.waterfall import waterfall
from graphmesh.graph.drawing.waterfall_html import waterfall_to_html
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.registry import GatewayRecord, MemoryKV, Registry
from graphmesh.worker import WorkerConfig
from graphmesh.worker.forms.wire import encode_request, response_from_wire
from graphmesh.worker.http.routes import FAST_PATH
from graphmesh.worker.worker import Worker
from tests.worker.conftest import toy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT = Path(__file__).parents[2] / "docs" / "explain.md"
LINE = """
name: line
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: plus, model: add, inputs: {x: x}}
outputs: {y: plus.y}
"""
GRAPH = """
name: all
inputs: {x: "FP32 (N,)"}
nodes:
  - name: try
    inputs: {x: x}
    fallback: [{name: bad, model: broken}, {name: good, model: add}]
  - name: route
    inputs: {x: try.y}
    switch:
      cases:
        - {when: "inputs.x[0] > 100.0", then: {name: big, model: far}}
      default:
        name: small
        race: {branches: [{name: fast, model: add}, {name: slow, model: far}], delay: 20s}
  - {name: remember, inputs: {x: route.y}, cache: {body: {name: kept, model: far}}}
  - name: again
    inputs: {x: remember.y}
    loop: {body: {name: more, model: add}, max_iterations: 3, carry: {x: y}}
  - name: both
    inputs: {x: again.y}
    parallel: {branches: [{name: left, model: add}, {name: right, graph: line}], aggregate: mean}
  - {name: cast, inputs: {x: both.y}, transform: [{cast: FP64, inputs: x, outputs: y}]}
outputs: {y: cast.y}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def near() -> AsyncIterator[Worker]:
    """A worker with two graphs; one model of theirs is on another."""
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(MemoryKV()))
        far = await stack.enter_async_context(
            Worker(WorkerConfig(worker_id="w2", models=(toy("Add", name="far"),)), registry)
        )
        models = (toy("Add"), toy("Broken"))
        worker = await stack.enter_async_context(Worker(WorkerConfig(worker_id="w1", models=models), registry))
        gateway = GatewayRecord(gateway_id="g", host="127.0.0.1", port=far.grpc_port)
        await stack.enter_async_context(await registry.register_gateway(gateway))
        for text in (LINE, GRAPH):
            graph, snapshot = parse_yaml(text), await registry.read()
            graphs = {name: graph_from_bytes(record.document) for name, record in snapshot.graphs.items()}
            signature = validate(graph, snapshot.signature_of, graphs=graphs.get)
            await registry.put_graph(graph.name, graph_to_bytes(graph), signature)
        await worker._mirror.wait_for(lambda seen: "all" in seen.graphs and bool(seen.gateways), 5.0)
        yield worker


async def explained(worker: Worker, name: str, *, x: float = 1.0) -> dict[str, Any]:
    """Call a model or graph over gRPC and return what the answer explains; what is cached is so for each ``x``."""
    request = InferenceRequest(model=name, inputs={"x": np.full(2, x, np.float32)}, parameters={"explain": True})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as channel:
        response: InferenceResponse = response_from_wire(await channel.unary_unary(FAST_PATH)(encode_request(request)))
    document: dict[str, Any] = orjson.loads(str(response.parameters["explain"]))
    return document


def entries(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the entries of steps and of their branches."""
    for node in nodes:
        yield node
        yield from entries(node.get("branches", []))


def fields(value: object) -> Iterator[str]:
    """Return the names of all fields, but not of notes."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if name != "notes":
                yield from fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner)


async def test_a_composed_graph(near: Worker) -> None:
    """Every step and branch that ran has its entry, what it decided beside it; the critical path goes through them."""
    document = await explained(near, "all", x=2.0)
    found = {one["node"]: one for one in entries(document["nodes"])}
    assert [one["node"] for one in document["nodes"]] == ["try", "route", "remember", "again", "both", "cast"]
    assert (found["try/bad"]["outcome"], found["try/good"]["outcome"]) == ("INTERNAL", "ok")
    assert found["try"]["notes"] == {"chosen": "good"}
    assert "route/big" not in found
    assert found["route"]["notes"] == {"chosen": "small"}
    assert found["route/small"]["notes"] == {"winner": "fast", "hedged": False, "attempt": 1}
    assert (found["again/more"]["calls"], found["again"]["notes"]) == (3, {"iterations": 3})
    assert (found["remember/kept"]["fused"], found["remember/kept"]["worker"]) == (False, "w2")
    assert found["remember/kept"]["network_ms"] >= 0
    assert found["both/right"]["nested"][0]["nodes"][0]["node"] == "plus"
    assert found["cast"]["kind"] == "transform"
    path = document["critical_path"]
    assert path[:6] == ["try", "try/bad", "try/good", "route", "route/small", "route/small/fast"]
    assert path[6:10] == ["remember", "remember/kept", "again", "again/more"]
    assert path[-1] == "cast"
    for one in found.values():
        assert one["start_ms"] + one["duration_ms"] <= document["duration_ms"] + 0.01


async def test_a_cache_that_remembers(near: Worker) -> None:
    """A step that was not needed has no entry."""
    first, second = await explained(near, "all", x=3.0), await explained(near, "all", x=3.0)
    notes = [one["notes"] for document in (first, second) for one in document["nodes"] if one["node"] == "remember"]
    assert notes == [{"cache": "miss"}, {"cache": "hit"}]
    assert "remember/kept" not in {one["node"] for one in entries(second["nodes"])}


async def test_every_field_and_note_is_documented(near: Worker) -> None:
    """What real answers hold is in the tables of docs/explain.md."""
    text = DOCUMENT.read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    for name in ("all", "add"):
        document = await explained(near, name)
        assert set(fields(document)) <= documented
        for one in entries(document.get("nodes", [])):
            assert all(f"`{note}`" in text for note in one.get("notes", {}))


async def test_real_answers_are_drawn(near: Worker) -> None:
    """Each entry is a row, none leaves the call's time, and the page has them all."""
    document = await explained(near, "all")
    rows = waterfall(document, nested=16)
    assert len(rows) == len(list(entries(document["nodes"]))) + 1, "the step of the graph that one called"
    assert all(sum(share for _, share in row.shares) <= 1.0001 for row in rows)
    assert all(f"<b>{row.name}</b>" in waterfall_to_html(document) for row in rows)
