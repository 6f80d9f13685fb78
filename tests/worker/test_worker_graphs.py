"""Graphs executed on a worker: fused, remote, nested, mapped, failing; two workers share a registry in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import Code, GraphmeshError, InvalidGraph, NotFound
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.forms.builder import GraphBuilder
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.spec import Graph
    from graphmesh.registry import GraphRecord, Registry
    from graphmesh.worker.worker import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _apply(registry: Registry, worker: Worker, graph: Graph) -> GraphRecord:
    """Apply a graph and wait until the worker knows it."""
    snapshot = await registry.read()
    graphs = {name: graph_from_bytes(record.document) for name, record in snapshot.graphs.items()}
    signature = validate(graph, snapshot.signature_of, graphs=graphs.get)
    record = await registry.put_graph(graph.name, graph_to_bytes(graph), signature)
    await worker._mirror.wait_for(
        lambda s: graph.name in s.graphs and s.graphs[graph.name].revision >= record.revision, 5.0
    )
    return record


def _chain(name: str, *models: str) -> Graph:
    """Return models one after the other, ``x`` to ``y``."""
    builder = GraphBuilder(name)
    source = builder.input("x", "FP32 (N,)")
    for index, model in enumerate(models):
        source = builder.model(f"n{index}", model, x=source)["y"]
    builder.output("y", source)
    return builder.build()


def _x(*values: float) -> dict[str, Tensor]:
    return {"x": np.array(values, dtype=np.float32)}


async def _infer(worker: Worker, model: str, inputs: dict[str, Tensor], **more: Any) -> InferenceResponse:  # noqa: ANN401
    return await worker.handler.infer(InferenceRequest(model=model, inputs=inputs, **more))


def _explain(response: InferenceResponse) -> dict[str, Any]:
    facts: dict[str, Any] = orjson.loads(str(response.parameters["explain"]))
    return facts


async def test_fused_chain(worker: Worker, registry: Registry) -> None:
    """Nodes hosted here run in this process, one after the other, and the answer names the revision."""
    record = await _apply(registry, worker, _chain("fused", "add", "addsync", "add"))
    response = await _infer(worker, "fused", _x(1), parameters={"explain": True}, id="r1")
    assert response.outputs["y"].tolist() == [6.0]
    assert (response.version, response.id) == (str(record.revision), "r1")
    facts = _explain(response)
    assert [(node["node"], node["fused"], node["worker"]) for node in facts["nodes"]] == [
        ("n0", True, "w1"),
        ("n1", True, "w1"),
        ("n2", True, "w1"),
    ]
    assert facts["worker"] == "w1"
    assert "compute_ms" in facts["nodes"][1]


async def test_no_times_unless_asked(worker: Worker, registry: Registry) -> None:
    """Without `explain` an answer carries no times."""
    await _apply(registry, worker, _chain("quiet", "add"))
    assert not (await _infer(worker, "quiet", _x(1))).parameters


async def test_remote_node(worker: Worker, other: Worker, registry: Registry) -> None:
    """A node hosted elsewhere is called through the gateway, and its own times come back."""
    await _apply(registry, worker, _chain("mixed", "add", "far"))
    response = await _infer(worker, "mixed", _x(1), parameters={"explain": True})
    assert response.outputs["y"].tolist() == [4.0]
    near, far = _explain(response)["nodes"]
    assert (near["fused"], near["worker"]) == (True, "w1")
    assert (far["fused"], far["worker"], far["version"]) == (False, "w2", "1")


async def test_map(worker: Worker, registry: Registry) -> None:
    """A map node calls its model for chunks side by side and keeps the order."""
    builder = GraphBuilder("mapped")
    lines = builder.input("lines", "TEXT (N,)")
    builder.output("texts", builder.map("up", over={"text": lines}, model="upper")["output"])
    await _apply(registry, worker, builder.build())
    words = np.array([f"w{i}".encode() for i in range(20)], dtype=object)
    response = await _infer(worker, "mapped", {"lines": words}, parameters={"explain": True})
    assert response.outputs["texts"].tolist() == [f"W{i}".encode() for i in range(20)]
    assert _explain(response)["nodes"][0]["calls"] == 20


async def test_nested_graphs(worker: Worker, other: Worker, registry: Registry) -> None:
    """A nested graph runs in this process when all its nodes are here, else through the mesh."""
    for name, model in (("inner-near", "add"), ("inner-far", "far")):
        await _apply(registry, worker, _chain(name, model))
        await other._mirror.wait_for(lambda s, name=name: name in s.graphs, 5.0)  # type: ignore[misc]
    builder = GraphBuilder("outer")
    x = builder.input("x", "FP32 (N,)")
    near = builder.graph("near", "inner-near", x=x)
    builder.output("y", builder.graph("far", "inner-far", x=near["y"])["y"])
    await _apply(registry, worker, builder.build())
    response = await _infer(worker, "outer", _x(1), parameters={"explain": True})
    assert response.outputs["y"].tolist() == [4.0]
    near_node, far_node = _explain(response)["nodes"]
    assert (near_node["fused"], near_node["nested"][0]["worker"]) == (True, "w1")
    assert (far_node["fused"], far_node["nested"][0]["worker"]) == (False, "w2")


async def test_a_nested_graph_keeps_its_revision(
    worker: Worker, other: Worker, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of a nested graph elsewhere names the revision it had when the request began."""
    await _apply(registry, worker, _chain("inner", "far"))
    await other._mirror.wait_for(lambda s: "inner" in s.graphs, 5.0)
    builder = GraphBuilder("outer")
    builder.output("y", builder.graph("nested", "inner", x=builder.input("x", "FP32 (N,)"))["y"])
    await _apply(registry, worker, builder.build())
    asked: list[str] = []
    infer = worker._mesh.infer

    async def noted(request: InferenceRequest) -> InferenceResponse:
        asked.append(f"{request.model}@{request.version}")
        return await infer(request)

    monkeypatch.setattr(worker._mesh, "infer", noted)
    await _infer(worker, "outer", _x(1))
    assert asked == ["inner@1"]


async def test_output_selection(worker: Worker, registry: Registry) -> None:
    """Only the outputs asked for come back."""
    builder = GraphBuilder("two")
    x = builder.input("x", "FP32 (N,)")
    builder.output("a", builder.model("first", "add", x=x)["y"])
    builder.output("b", builder.model("second", "addsync", x=x)["y"])
    await _apply(registry, worker, builder.build())
    assert list((await _infer(worker, "two", _x(1), outputs=("b",))).outputs) == ["b"]
    with pytest.raises(GraphmeshError, match="'c'"):
        await _infer(worker, "two", _x(1), outputs=("c",))


@pytest.mark.parametrize("model", ["raises", "far-raises"])
async def test_failing_node(worker: Worker, other: Worker, registry: Registry, model: str) -> None:
    """A node's error keeps its code and says where it happened, here and elsewhere."""
    builder = GraphBuilder(f"fail-{model}")
    code = builder.input("code", "INT64 ()")
    builder.output("out", builder.model("boom", model, code=code)["output"])
    await _apply(registry, worker, builder.build())
    with pytest.raises(GraphmeshError, match=f"graph fail-{model}, node boom: code 9 on purpose") as caught:
        await _infer(worker, f"fail-{model}", {"code": np.array(9)})
    assert caught.value.code is Code.FAILED_PRECONDITION


async def test_siblings_are_cancelled(worker: Worker, registry: Registry, toys: ModuleType) -> None:
    """The first failure ends the run: nodes still running beside it are cancelled before the error is reported."""
    builder = GraphBuilder("siblings")
    seconds = builder.input("seconds", "FP64 ()")
    code = builder.input("code", "INT64 ()")
    builder.output("a", builder.model("long", "sleep", seconds=seconds)["output"])
    builder.output("b", builder.model("bad", "raises", code=code)["output"])
    await _apply(registry, worker, builder.build())
    before = toys.Sleep.cancelled
    with pytest.raises(GraphmeshError, match="node bad"):
        await _infer(worker, "siblings", {"seconds": np.array(30.0), "code": np.array(3)})
    assert toys.Sleep.cancelled == before + 1
    assert toys.Sleep.running == 0


async def test_deadline_reaches_nodes(worker: Worker, other: Worker, registry: Registry) -> None:
    """A remote node is given what is left of the deadline, and the graph ends with it."""
    builder = GraphBuilder("patient")
    builder.output("out", builder.model("wait", "far-sleep", seconds=builder.input("seconds", "FP64 ()"))["output"])
    await _apply(registry, worker, builder.build())
    started = asyncio.get_running_loop().time()
    with pytest.raises(GraphmeshError) as caught:
        await _infer(worker, "patient", {"seconds": np.array(5.0)}, deadline=Deadline.after(0.1))
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - started < 1


async def test_depth_is_limited(worker: Worker, registry: Registry) -> None:
    """A graph that is already eight graphs deep is refused."""
    await _apply(registry, worker, _chain("deep", "add"))
    with pytest.raises(InvalidGraph, match="at most 8"):
        await _infer(worker, "deep", _x(1), depth=8)


async def test_stamped_revision(worker: Worker, registry: Registry) -> None:
    """A request runs on the revision it is stamped with, older or newer than what the worker thinks is live."""
    first = await _apply(registry, worker, _chain("stamped", "add"))
    second = await _apply(registry, worker, _chain("stamped", "add", "add"))
    old = await _infer(worker, "stamped", _x(0), graph_revision=first.revision)
    new = await _infer(worker, "stamped", _x(0), graph_revision=second.revision)
    assert (old.outputs["y"].tolist(), old.version) == ([2.0], "1")
    assert (new.outputs["y"].tolist(), new.version) == ([4.0], "2")
    by_version = await _infer(worker, "stamped", _x(0), version="1")
    assert by_version.outputs["y"].tolist() == [2.0]
    with pytest.raises(NotFound):
        await _infer(worker, "stamped", _x(0), graph_revision=99)


async def test_deleted_graph(worker: Worker, registry: Registry) -> None:
    """A deleted graph is NOT_FOUND once the worker has heard."""
    await _apply(registry, worker, _chain("gone", "add"))
    await registry.delete_graph("gone")
    await worker._mirror.wait_for(lambda s: "gone" not in s.graphs, 5.0)
    with pytest.raises(NotFound):
        await _infer(worker, "gone", _x(1))


async def test_wrong_graph_input(worker: Worker, registry: Registry) -> None:
    """A graph's inputs are checked against its own signature."""
    await _apply(registry, worker, _chain("strict", "add"))
    with pytest.raises(GraphmeshError, match="must be FP32"):
        await _infer(worker, "strict", {"x": np.array([1.0])})


async def test_graph_over_http(worker: Worker, registry: Registry, http: Callable[..., Awaitable[Any]]) -> None:
    """A graph is called like a model by natural JSON, and explained on request."""
    await _apply(registry, worker, _chain("web", "add"))
    reply = await http(worker.http_port, "/v1/models/web:predict?explain=true", b'{"x": [1, 2]}')
    assert reply.status == 200
    assert reply.json["outputs"] == {"y": [3.0, 4.0]}
    assert reply.json["explain"]["nodes"][0]["node"] == "n0"
    metadata = (await http(worker.http_port, "/v2/models/web")).json
    assert (metadata["platform"], metadata["versions"]) == ("graphmesh_graph", ["1"])
    assert (await http(worker.http_port, "/v2/models/web/ready")).status == 200


async def test_graph_without_a_node(worker: Worker, registry: Registry, http: Callable[..., Awaitable[Any]]) -> None:
    """A graph is ready while each of its nodes has somewhere to run, nested ones too, and not otherwise."""
    signature = (await registry.read()).signature_of("add")
    assert signature is not None
    await registry.put_graph("orphan", graph_to_bytes(_chain("orphan", "add", "nobody-has-it")), signature)
    builder = GraphBuilder("around")
    builder.output("y", builder.graph("inner", "orphan", x=builder.input("x", "FP32 (N,)"))["y"])
    await registry.put_graph("around", graph_to_bytes(builder.build()), signature)
    await worker._mirror.wait_for(lambda s: "around" in s.graphs, 5.0)
    for name in ("orphan", "around"):
        assert (await http(worker.http_port, f"/v2/models/{name}/ready")).status == 503
        with pytest.raises(GraphmeshError) as caught:
            await _infer(worker, name, _x(1))
        assert caught.value.code in {Code.UNAVAILABLE, Code.NOT_FOUND}
        assert f"graph {name}, node " in caught.value.message


async def test_many_graph_runs_do_not_wait_for_each_other(worker: Worker, registry: Registry) -> None:
    """A run holds no instance of a model: more runs than instances all finish."""
    await _apply(registry, worker, _chain("busy", "addsync", "addsync", "addsync"))
    responses = await asyncio.gather(*(_infer(worker, "busy", _x(i)) for i in range(100)))
    assert [response.outputs["y"].item() for response in responses] == [i + 3.0 for i in range(100)]
