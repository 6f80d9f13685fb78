"""What real answers of composed graphs explain; docs/explain.md must say what each field and note is."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator  # noqa: TC003 - models' annotations are read
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import grpc.aio
import numpy as np
import orjson
import pytest
import pytest_asyncio

from graphmesh.core.errors import Unavailable
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.drawing.waterfall import waterfall
from graphmesh.graph.drawing.waterfall_html import waterfall_to_html
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.registry import GatewayRecord, MemoryKV, Registry
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.forms.wire import encode_request, response_from_wire
from graphmesh.worker.http.routes import FAST_PATH
from graphmesh.worker.worker import Worker
from tests.worker.conftest import toy
from tests.worker.graph_bench import bench

if TYPE_CHECKING:
    from collections.abc import Iterator

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

CUT = """
name: cut
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: try, inputs: {x: x}, fallback: [{name: late, model: slow, timeout: 50ms}, {name: good, model: add}]}
outputs: {y: try.y}
"""
HASTY = """
name: hasty
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: try, inputs: {x: x}, fallback: [{name: late, model: slow, timeout: 50ms}, {name: good, model: good}]}
  - name: nest
    inputs: {x: try.y}
    fallback:
      - name: both
        timeout: 50ms
        parallel: {aggregate: mean, branches: [{name: a, model: slow}, {name: b, model: slow}]}
      - {name: good, model: good}
  - name: race
    inputs: {x: x}
    race: {delay: 0.001s, branches: [{name: late, model: slow}, {name: good, model: good}]}
  - name: all
    inputs: {x: nest.y}
    fallback:
      - name: fails
        parallel: {aggregate: mean, branches: [{name: late, model: slow}, {name: bad, model: bad}]}
      - {name: good, model: good}
outputs: {a: try.y, b: nest.y, c: race.y, d: all.y}
"""
COUNTS = """
name: counts
inputs: {x: "FP32 (N,)"}
nodes: [{name: source, model: count, inputs: {x: x}}]
outputs: {y: source.y}
"""
STREAMS = """
name: streams
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: plain, model: count, inputs: {x: x}}
  - {name: choose, inputs: {x: x}, fallback: [{name: one, model: count}, {name: two, model: count}]}
  - {name: inner, graph: counts, inputs: {x: x}}
  - {name: after, model: good, inputs: {x: plain.y}}
outputs: {a: after.y, b: choose.y, c: inner.y}
"""
Vector = Annotated[np.ndarray, "FP32 (N,)"]


class Out(TypedDict):
    """The only output."""

    y: Vector


class Good:
    """Answers at once."""

    async def predict(self, x: Vector) -> Out:
        """Return x."""
        return {"y": x}


class Bad:
    """Fails."""

    async def predict(self, x: Vector) -> Out:
        """Raise, once what runs beside it has begun."""
        await asyncio.sleep(0.01)
        raise Unavailable("on purpose")


class Slow:
    """Takes longer than any limit."""

    async def predict(self, x: Vector) -> Out:
        """Return x, at last."""
        await asyncio.sleep(60)
        return {"y": x}


class Count:
    """Streams."""

    async def predict(self, x: Vector) -> AsyncIterator[Out]:
        """Yield x three times."""
        for _ in range(3):
            await asyncio.sleep(0)
            yield {"y": x}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def near() -> AsyncIterator[Worker]:
    """A worker with two graphs; one model of theirs is on another."""
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(MemoryKV()))
        slow = ModelConfig(name="slow", source=f"{__name__}:Slow")
        far = await stack.enter_async_context(
            Worker(WorkerConfig(worker_id="w2", models=(toy("Add", name="far"), slow)), registry)
        )
        models = (toy("Add"), toy("Broken"))
        worker = await stack.enter_async_context(Worker(WorkerConfig(worker_id="w1", models=models), registry))
        gateway = GatewayRecord(gateway_id="g", host="127.0.0.1", port=far.grpc_port)
        await stack.enter_async_context(await registry.register_gateway(gateway))
        for text in (LINE, CUT, GRAPH):
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


async def test_what_was_cut_off_and_what_was_not_needed() -> None:
    """A limit was waited for, and is on the critical path, however deep what it cut off is; who lost a race is not."""
    async with bench({"good": Good, "bad": Bad, "slow": Slow}, HASTY) as one:
        answer = await one.infer("hasty", {"x": np.zeros(2, np.float32)}, parameters={"explain": True})
    document = orjson.loads(str(answer.parameters["explain"]))
    found = {one["node"]: one for one in entries(document["nodes"])}
    for node, limit in (("try/late", "try/late"), ("nest/both/a", "nest/both"), ("nest/both/b", "nest/both")):
        assert found[node]["outcome"] == "DEADLINE_EXCEEDED"
        assert found[node]["reason"] == f"cut off after 50 ms by the limit of {limit}"
    assert found["nest/both"]["outcome"] == "DEADLINE_EXCEEDED"
    assert (found["try"]["outcome"], found["all"]["outcome"]) == ("ok", "ok")
    assert (found["race/late"]["outcome"], found["race/late"]["reason"]) == ("CANCELLED", "another answer came first")
    assert found["all/fails/bad"]["outcome"] == "UNAVAILABLE"
    beside = found["all/fails/late"]
    assert (beside["outcome"], beside["reason"]) == ("CANCELLED", "another step or branch failed")
    path = document["critical_path"]
    assert path[:3] == ["try", "try/late", "try/good"]
    assert {"nest/both", "nest/good"} < set(path)
    assert {"race/late", "all/fails/late"}.isdisjoint(path)


async def test_what_was_cut_off_elsewhere(near: Worker) -> None:
    """The same holds for a call that went through the mesh."""
    document = await explained(near, "cut")
    late, good = document["nodes"][0]["branches"]
    assert (late["outcome"], late["fused"], late["calls"]) == ("DEADLINE_EXCEEDED", False, 1)
    assert late["reason"] == "cut off after 50 ms by the limit of try/late"
    assert good["outcome"] == "ok"
    assert document["critical_path"] == ["try", "try/late", "try/good"]


async def test_a_stream_is_told_of_while_it_goes_on() -> None:
    """Each answer of the graph says how far the streams inside are: in a step, in a branch, in a graph inside."""
    async with bench({"count": Count, "good": Good}, COUNTS, STREAMS) as one:
        request = InferenceRequest(model="streams", inputs={"x": np.zeros(2, np.float32)}, parameters={"explain": True})
        graph = await one.handler.find("streams")
        async with contextlib.aclosing(one.handler.stream(graph, request)) as answers:
            documents = [orjson.loads(str(answer.parameters["explain"])) async for answer in answers]
    for index, document in enumerate(documents, 1):
        found = {one["node"]: one for one in entries(document["nodes"])}
        for node in ("plain", "choose/one", "inner"):
            assert (found[node]["outcome"], found[node]["calls"], found[node]["answers"]) == ("running", 1, index)
            assert 0 <= found[node]["first_answer_ms"] <= found[node]["duration_ms"]
        assert found["choose"]["outcome"] == "running"
        assert found["after"]["outcome"] == "ok"
        assert found["after"]["calls"] == index
        (nested,) = found["inner"]["nested"]
        assert nested["nodes"][0]["answers"] == index
        assert document["critical_path"][-1] == "after"
    assert len(documents) == 3


async def test_a_branch_whose_model_is_gone_is_told() -> None:
    """Its model was unloaded: nothing is called, and the reason is there all the same."""
    async with bench({"good": Good}) as one:
        good = one.snapshots.snapshot.signature_of("good")
        one.apply(CUT.replace("add", "good"), signatures=lambda name: good if name == "slow" else None)
        answer = await one.infer("cut", {"x": np.zeros(2, np.float32)}, parameters={"explain": True})
    (step,) = orjson.loads(str(answer.parameters["explain"]))["nodes"]
    assert [(one["node"], one["target"], one["outcome"]) for one in step["branches"]] == [
        ("try/late", "slow", "UNAVAILABLE"),
        ("try/good", "good", "ok"),
    ]
    assert "slow" in step["branches"][0]["reason"]
    assert answer.parameters["degraded"] == "try"


async def test_a_streaming_model_alone_says_how_far_it_is() -> None:
    """Each of its answers says how many there are by then, and when the first and this one came."""
    async with bench({"count": Count}) as one:
        request = InferenceRequest(model="count", inputs={"x": np.zeros(2, np.float32)}, parameters={"explain": True})
        model = await one.handler.find("count")
        async with contextlib.aclosing(one.handler.stream(model, request)) as answers:
            documents = [orjson.loads(str(answer.parameters["explain"])) async for answer in answers]
    assert [document["answers"] for document in documents] == [1, 2, 3]
    assert {document["first_answer_ms"] for document in documents} == {documents[0]["duration_ms"]}
    took = [document["duration_ms"] for document in documents]
    assert took == sorted(took)
    text = DOCUMENT.read_text().partition("## The document of a model")[2]
    assert all(f"| `{name}` |" in text for name in documents[0])


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
