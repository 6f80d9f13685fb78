"""Deadlines, budgets, conditions and degraded answers of graphs on a worker."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, TypedDict

import numpy as np
import pytest

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import Code, DeadlinePassed, FailedPrecondition, GraphmeshError, InvalidRequest, Overloaded
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.registry import HostedModel, ModelState, WorkerRecord
from graphmesh.worker.forms.headers import CALLS
from graphmesh.worker.forms.natural import encode_answer
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.local import LocalMesh
from tests.worker.graph_bench import bench

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.inference import InferenceRequest
    from graphmesh.core.tensor import Tensor

Vector = Annotated[np.ndarray, "FP32 (N,)"]
LATE_S = 0.05


class Out(TypedDict):
    """The only output."""

    y: Vector


class Add:
    """Adds one."""

    async def predict(self, x: Vector) -> Out:
        """Return x plus one."""
        return {"y": x + np.float32(1)}


class Patient:
    """Takes as long as its first element says, whatever the deadline."""

    begun = 0

    async def predict(self, x: Vector) -> Out:
        """Return x."""
        type(self).begun += 1
        await asyncio.sleep(float(x[0]))
        return {"y": x}


MODELS = {"add": Add, "patient": Patient}
SLOW = "{name: slow, inputs: [x], nodes: {a: {model: patient, inputs: {x: x}}}, outputs: {y: a.y}}"
LIMITED = """
    name: limited
    inputs: [x]
    nodes:
      a:
        inputs: {x: x}
        fallback: [{name: first, model: patient, timeout: 0.05s}, {name: second, model: add}]
    outputs: {y: a.y}
"""
CHAIN = """
    name: chain
    inputs: [x]
    nodes:
      a: {model: add, inputs: {x: x}}
      b: {model: add, inputs: {x: a.y}}
    outputs: {y: b.y}
"""
TWICE = """
    name: twice
    inputs: [x]
    nodes:
      one: {graph: chain, inputs: {x: x}}
      two: {graph: chain, inputs: {x: one.y}}
    outputs: {y: two.y}
"""


def _x(*values: float) -> Mapping[str, Tensor]:
    return {"x": np.array(values, dtype=np.float32)}


async def _late(work: object, deadline_s: float) -> float:
    """Return how much later than its deadline a call ended."""
    begun = time.monotonic()
    with pytest.raises(DeadlinePassed):
        await work  # type: ignore[misc]
    return time.monotonic() - begun - deadline_s


async def test_a_graph_ends_at_its_deadline() -> None:
    """Also if the model does not know of any; nested, too."""
    outer = "{name: outer, inputs: [x], nodes: {a: {graph: slow, inputs: {x: x}}}, outputs: {y: a.y}}"
    async with bench(MODELS, SLOW, outer) as one:
        for name in ("slow", "outer"):
            late = [
                await _late(one.infer(name, _x(30), deadline=Deadline.after(0.05)), 0.05)
                for _ in range(5)  # one of them is not disturbed by whatever else runs on this machine
            ]
            assert min(late) < LATE_S
            assert one.graphs.metrics.graph(name).codes == {Code.DEADLINE_EXCEEDED: 5}


async def test_a_step_ends_at_its_own_limit_and_the_next_branch_answers() -> None:
    """The answer is marked degraded, in every form of it."""
    async with bench(MODELS, LIMITED) as one:
        begun = time.monotonic()
        response = await one.infer("limited", _x(30))
        assert time.monotonic() - begun < 5
        assert response.outputs["y"].tolist() == [31.0]
        assert response.parameters == {"degraded": "a"}
        signature = (await one.handler.find("limited")).signature
        assert json.loads(encode_answer(response, signature))["degraded"] == ["a"]
        quick = await one.infer("limited", _x(0))
        assert quick.parameters == {}
        assert "degraded" not in json.loads(encode_answer(quick, signature))


async def test_degraded_steps_of_nested_graphs_are_named() -> None:
    """By the path from the outermost graph, here and elsewhere."""
    outer = "{name: outer, inputs: [x], nodes: {in: {graph: limited, inputs: {x: x}}}, outputs: {y: in.y}}"
    async with bench(MODELS, LIMITED, outer) as one:
        assert (await one.infer("outer", _x(30))).parameters == {"degraded": "in/a"}


async def test_a_run_that_would_be_late_is_refused_before_it_begins() -> None:
    """From the times that calls took lately."""
    async with bench(MODELS, SLOW, LIMITED) as one:
        for _ in range(6):
            await one.infer("slow", _x(0.2))
        begun, started = time.monotonic(), Patient.begun
        with pytest.raises(DeadlinePassed, match=r"graph slow: its steps take about 2.. ms, but only"):
            await one.infer("slow", _x(0.2), deadline=Deadline.after(0.1))
        response = await one.infer("limited", _x(0.2), deadline=Deadline.after(10))
        assert response.parameters == {"degraded": "a"}
        assert time.monotonic() - begun < 0.2
        assert Patient.begun == started


async def test_graphs_in_one_another_share_one_budget_of_calls() -> None:
    """What another graph elsewhere left over is all there is; a graph cannot give itself more."""
    async with bench(MODELS, CHAIN, TWICE) as one:
        assert (await one.infer("twice", _x(0), headers={CALLS: "4"})).outputs["y"].tolist() == [4.0]
        with pytest.raises(Overloaded, match="graph twice, node two: graph chain, node b: one request may lead to 3"):
            await one.infer("twice", _x(0), headers={CALLS: "3"})
        await one.infer("twice", _x(0), headers={CALLS: "99999999999"})


async def test_what_is_left_of_the_calls_must_be_a_number() -> None:
    """What cannot be read is refused, as any other header of ours."""
    async with LocalMesh(models=MODELS, graphs=[parse_yaml(CHAIN)]) as mesh:
        x = np.zeros(1, np.float32)
        assert (await mesh.predict("chain", x=x, headers={CALLS: "2"}))["y"].tolist() == [2.0]
        with pytest.raises(Overloaded):
            await mesh.predict("chain", x=x, headers={CALLS: "1"})
        with pytest.raises(InvalidRequest, match="x-graphmesh-calls must be a number, got '-1'"):
            await mesh.predict("chain", x=x, headers={CALLS: "-1"})


async def test_a_graph_elsewhere_is_told_what_is_left_of_the_calls() -> None:
    """With the revision that it had when the request began, the time, the depth and the request's parameters."""
    signature = Signature((TensorSpec(name="x", datatype="FP32", shape=("N",)),),
                          (TensorSpec(name="y", datatype="FP32", shape=("N",)),))  # fmt: skip
    hosted = HostedModel(name="far", version="1", state=ModelState.AVAILABLE, signature_digest=signature.digest)
    worker = WorkerRecord(worker_id="w2", host="127.0.0.1", http_port=2, grpc_port=2, models=(hosted,))
    async with bench(MODELS) as one:
        one.elsewhere(worker, signatures={"far": signature})
        one.apply("{name: inner, inputs: [x], nodes: {a: {model: far, inputs: {x: x}}}, outputs: {y: a.y}}")
        one.apply("""
            name: outer
            inputs: [x]
            nodes: {a: {model: add, inputs: {x: x}}, b: {graph: inner, inputs: {x: a.y}}}
            outputs: {y: b.y}
        """)
        one.mesh.answers["inner"] = lambda x: {"y": x * 10}
        deadline = Deadline.after(60)
        response = await one.infer(
            "outer", _x(1), headers={"x-request-id": "r"}, deadline=deadline, parameters={"tier": "gold"}
        )
        assert response.outputs["y"].tolist() == [20.0]
        (asked,) = one.mesh.asked
        assert asked.headers == {"x-request-id": "r", CALLS: "9999"}
        assert (asked.version, asked.deadline, asked.depth, asked.parameters) == ("1", deadline, 1, {"tier": "gold"})


async def test_conditions_see_parameters_and_headers() -> None:
    """Those that the call came with."""
    text = """
        name: routed
        inputs: [x]
        nodes:
          a:
            inputs: {x: x}
            switch:
              cases:
                - {when: 'params.tier == "gold"', then: {name: gold, model: add}}
                - {when: 'headers["x-tier"] == "silver"', then: {name: silver, model: patient}}
        outputs: {y: a.y}
    """
    async with LocalMesh(models=MODELS, graphs=[parse_yaml(text)]) as mesh:
        x = np.zeros(1, np.float32)
        gold = await mesh.predict("routed", x=x, parameters={"tier": "gold"})
        silver = await mesh.predict("routed", x=x, parameters={"tier": ""}, headers={"X-Tier": "silver"})
        assert (gold["y"].tolist(), silver["y"].tolist()) == ([1.0], [0.0])
        with pytest.raises(FailedPrecondition, match="graph routed, node a"):
            await mesh.predict("routed", x=x)


async def test_what_a_cache_remembers_serves_other_requests_until_the_model_changes() -> None:
    """It belongs to the revision; a reload of the model makes what it gave before worthless."""
    text = """
        name: cached
        inputs: [x]
        nodes: {a: {inputs: {x: x}, cache: {body: {name: body, model: patient}}}}
        outputs: {y: a.y}
    """
    async with bench({**MODELS}, text) as one:
        before = Patient.begun
        for _ in range(3):
            await one.infer("cached", _x(0))
        assert Patient.begun == before + 1
        one.change()  # another snapshot, in which nothing is different for this graph
        await one.infer("cached", _x(0))
        assert Patient.begun == before + 1
        one.apply(text.replace("body:", "other:").replace("{other: {name", "{body: {name"))
        await one.infer("cached", _x(0))
        assert Patient.begun == before + 2


async def test_many_ways_through_the_same_graphs_cost_a_cache_nothing() -> None:
    """What may answer below a cache is looked at once a graph, however many ways of calling it there are."""
    levels, wide = 6, 8
    texts = [f"""
        name: "{levels}-{place}"
        inputs: [x]
        nodes: {{a: {{inputs: {{x: x}}, model: add}}}}
        outputs: {{y: a.y}}
    """ for place in range(wide)]  # fmt: skip
    for level in reversed(range(levels)):
        for place in range(wide):
            cases = "".join(
                f"{{when: 'params.way == {way}', name: w{way}, graph: '{level + 1}-{way}'}}, " for way in range(1, wide)
            )
            texts.append(f"""
                name: "{level}-{place}"
                inputs: [x]
                nodes:
                  a:
                    inputs: {{x: x}}
                    switch: {{cases: [{cases}], default: {{name: w0, graph: '{level + 1}-0'}}}}
                outputs: {{y: a.y}}
            """)
    texts.append("""
        name: cached
        inputs: [x]
        nodes: {a: {inputs: {x: x}, cache: {body: {name: body, graph: "0-0"}}}}
        outputs: {y: a.y}
    """)
    async with LocalMesh(models=MODELS, graphs=[parse_yaml(text) for text in texts]) as mesh:
        x = np.zeros(1, np.float32)
        for _ in range(2):
            before = time.process_time()
            assert (await mesh.predict("cached", x=x, parameters={"way": 1}))["y"].tolist() == [1.0]
        assert time.process_time() - before < 2, f"{wide**levels} ways"


async def test_tensors_stay_on_a_device_between_models_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where every reader is a model on the same device; all else gets them on the host."""
    text = """
        name: devices
        inputs: [x]
        nodes:
          a: {model: gpu-a, inputs: {x: x}}
          b: {model: gpu-b, inputs: {x: a.y}}
          c: {model: gpu-a, inputs: {x: b.y}}
          d: {model: add, inputs: {x: b.y}}
          e: {model: gpu-b, inputs: {x: c.y}}
          f: {model: other, inputs: {x: e.y}}
        outputs: {y: f.y, z: d.y}
    """
    kept: dict[str, list[tuple[str, ...]]] = {}
    devices = {"gpu-a": "cuda:0", "gpu-b": "cuda:0", "other": "cuda:1"}
    infer = Model.infer

    async def noted(model: Model, request: InferenceRequest) -> object:
        kept.setdefault(model.name, []).append(request.keep)
        return await infer(model, request)

    monkeypatch.setattr(Model, "device", property(lambda model: devices.get(model.name, "")))
    monkeypatch.setattr(Model, "infer", noted)
    async with bench(dict.fromkeys(("gpu-a", "gpu-b", "other", "add"), Add), text) as one:
        await one.infer("devices", _x(0))
    assert kept == {"gpu-a": [("y",), ("y",)], "gpu-b": [(), ()], "add": [()], "other": [()]}


async def test_a_model_that_fails_unexpectedly_is_an_internal_error_of_its_step() -> None:
    """Its text stays in the log."""

    class Broken:
        async def predict(self, x: Vector) -> Out:
            message = "secret"
            raise ValueError(message)

    text = "{name: g, inputs: [x], nodes: {a: {model: broken, inputs: {x: x}}}, outputs: {y: a.y}}"
    async with bench({"broken": Broken}, text) as one:
        with pytest.raises(GraphmeshError, match="graph g, node a: model 'broken' failed") as caught:
            await one.infer("g", _x(0))
        assert caught.value.code is Code.INTERNAL
        assert "secret" not in caught.value.message
