"""What graphs hand to one another and to models: tensors, revisions, headers, and what is left of the calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator  # noqa: TC003 - models' annotations are read
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np
import pytest

from graphmesh.core.errors import FailedPrecondition, InvalidGraph, InvalidRequest, ModelFailed, Overloaded
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.registry import HostedModel, ModelState, WorkerRecord, WorkerState
from graphmesh.worker import Context  # noqa: TC001 - models' annotations are read
from graphmesh.worker.forms.headers import (
    CALLS,
    REQUEST_ID,
    REVISIONS,
    SEALED,
    apply_headers,
    forwardable,
    read_revisions,
    write_revisions,
)
from tests.worker.graph_bench import Bench, FakeMesh, bench

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.inference import InferenceResponse
    from graphmesh.core.tensor import Tensor
    from graphmesh.registry import GraphRecord

Vector = Annotated[np.ndarray, "FP32 (N,)"]


class Out(TypedDict):
    """The only output."""

    y: Vector


class Add:
    """Adds one."""

    async def predict(self, x: Vector) -> Out:
        """Return x plus one."""
        return {"y": x + np.float32(1)}


class Spoil:
    """Writes into what it is given."""

    async def predict(self, x: Vector) -> Out:
        """Return x after it was changed."""
        x += 100
        return {"y": x}


class Told:
    """Notes the headers that it sees."""

    seen: list[dict[str, str]]

    async def predict(self, x: Vector, context: Context) -> Out:
        """Return x."""
        type(self).seen.append(dict(context.headers))
        return {"y": x}


class Count:
    """Streams."""

    async def predict(self, x: Vector) -> AsyncGenerator[Out, None]:
        """Yield x eight times."""
        for _ in range(8):
            yield {"y": x}


FAR = Signature((TensorSpec(name="x", datatype="FP32", shape=("N",)),),
                (TensorSpec(name="y", datatype="FP32", shape=("N",)),))  # fmt: skip
INNER = "{name: inner, inputs: [x], nodes: {a: {model: add, inputs: {x: x}}}, outputs: {y: a.y}}"
TWICE = """
    name: inner
    inputs: [x]
    nodes: {a: {model: add, inputs: {x: x}}, b: {model: add, inputs: {x: a.y}}}
    outputs: {y: b.y}
"""
MIDDLE = """
    name: middle
    inputs: [x]
    nodes: {a: {graph: inner, inputs: {x: x}}, b: {model: far, inputs: {x: a.y}}}
    outputs: {y: b.y}
"""
OUTER = """
    name: outer
    inputs: [x]
    nodes: {a: {graph: middle, inputs: {x: x}}, b: {graph: inner, inputs: {x: x}}}
    outputs: {there: a.y, here: b.y}
"""
TIERS = """
    name: tiers
    inputs: [x]
    nodes:
      a:
        inputs: {x: x}
        switch: {cases: [{when: 'headers["x-tier"] == "gold"', then: {name: gold, model: MODEL}}],
                 default: {name: other, model: told}}
    outputs: {y: a.y}
"""
AROUND = "{name: around, inputs: [x], nodes: {a: {graph: tiers, inputs: {x: x}}}, outputs: {y: a.y}}"


class Elsewhere(FakeMesh):
    """The rest of the mesh is one more worker; the call arrives there with what its headers say, and no more."""

    other: Bench

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Call the other worker."""
        self.asked.append(request)
        headers = dict(request.headers)
        there = InferenceRequest(
            model=request.model, version=request.version, inputs=request.inputs, depth=request.depth, metadata=headers
        )
        apply_headers(there, headers.get)
        return await self.other.handler.infer(there)


def _x(*values: float) -> Mapping[str, Tensor]:
    return {"x": np.array(values, dtype=np.float32)}


def _hosts_far(**more: Any) -> WorkerRecord:  # noqa: ANN401
    hosted = HostedModel(name="far", version="1", state=ModelState.AVAILABLE, signature_digest=FAR.digest)
    return WorkerRecord(worker_id="w2", host="127.0.0.1", http_port=2, grpc_port=2, models=(hosted,), **more)


def _joined(one: Bench, two: Bench) -> Elsewhere:
    """Let the first worker call what it lacks at the second, which hosts `far`."""
    one.elsewhere(_hosts_far(), signatures={"far": FAR})
    one.graphs.mesh = mesh = Elsewhere()
    mesh.other = two
    return mesh


@pytest.mark.parametrize(
    "first",
    ["model: add", "transform: {operations: [{cast: {datatype: FP32}, inputs: x, outputs: y}]}", "graph: inner"],
)
async def test_a_model_that_writes_into_its_inputs_changes_them_for_nobody(first: str) -> None:
    """It fails, whoever made the tensor; one that reads the same has what was made."""
    text = f"""
        name: diamond
        inputs: {{x: {{datatype: FP32, shape: [N]}}}}
        nodes:
          a: {{{first}, inputs: {{x: x}}}}
          spoil:
            inputs: {{x: a.y}}
            fallback: {{on: [INTERNAL], branches: [{{name: one, model: spoil}}, {{name: two, model: add}}]}}
          b: {{model: add, inputs: {{x: a.y}}}}
        outputs: {{a: a.y, b: b.y, c: spoil.y}}
    """
    async with bench({"add": Add, "spoil": Spoil}, INNER, text) as one:
        answer = await one.infer("diamond", _x(1))
        a = answer.outputs["a"].tolist()[0]
        assert (answer.outputs["b"].tolist(), answer.outputs["c"].tolist()) == ([a + 1], [a + 1])
        one.apply("{name: g, inputs: [x], nodes: {a: {model: spoil, inputs: {x: x}}}, outputs: {y: a.y}}")
        given = _x(1)
        with pytest.raises(ModelFailed):
            await one.infer("g", given)
        assert given["x"].tolist() == [1.0]
        assert given["x"].flags.writeable


async def test_one_request_sees_one_revision_of_each_graph_wherever_it_runs() -> None:
    """Of a graph inside one elsewhere, too, where another revision is live and the old one has to be fetched."""
    async with bench({"add": Add}, INNER) as one, bench({"add": Add, "far": Add}, INNER, MIDDLE) as two:
        first = two.snapshots.snapshot.graphs["inner"]
        asked: list[tuple[str, int]] = []

        async def get_graph(name: str, revision: int = 0) -> GraphRecord:
            asked.append((name, revision))
            return first

        two.snapshots.get_graph = get_graph  # type: ignore[method-assign]
        two.apply(TWICE)
        mesh = _joined(one, two)
        one.apply(MIDDLE)
        one.apply(OUTER)
        for _ in range(2):
            answer = await one.infer("outer", _x(0))
            assert (answer.outputs["here"].tolist(), answer.outputs["there"].tolist()) == ([1.0], [2.0])
        assert mesh.asked[0].headers[REVISIONS] == "inner=1"
        assert asked == [("inner", 1)]
        assert (await two.infer("middle", _x(0))).outputs["y"].tolist() == [3.0]


async def test_revisions_that_cannot_be_together_are_refused() -> None:
    """A header that cannot be read, and graphs that would call one another for ever."""
    calls = "{{name: {0}, inputs: [x], nodes: {{a: {{graph: {1}, inputs: {{x: x}}}}}}, outputs: {{y: a.y}}}}"
    leaf = "{{name: {0}, inputs: [x], nodes: {{a: {{model: add, inputs: {{x: x}}}}}}, outputs: {{y: a.y}}}}"
    async with bench({"add": Add}, leaf.format("b"), calls.format("a", "b")) as one:
        old = one.snapshots.snapshot.graphs["a"]

        async def get_graph(name: str, revision: int = 0) -> GraphRecord:
            assert (name, revision) == ("a", 1)
            return old

        one.snapshots.get_graph = get_graph  # type: ignore[method-assign]
        one.apply(leaf.format("a"))
        one.apply(calls.format("b", "a"))
        assert (await one.infer("b", _x(0))).outputs["y"].tolist() == [1.0]
        with pytest.raises(InvalidGraph, match="must not call one another in a cycle"):
            await one.infer("b", _x(0), headers={REVISIONS: "a=1"})
        for text in ("a", "a=x", "a=1,", "../x=1", "a=1," * 2000):
            with pytest.raises(InvalidRequest):
                await one.infer("b", _x(0), headers={REVISIONS: text})


def test_of_many_revisions_as_many_are_told_as_fit() -> None:
    """The first ones, whole."""
    many = {f"graph-{i}": i for i in range(1000)}
    told = read_revisions(write_revisions(many))
    assert 200 < len(told) < 1000
    assert list(told.items()) == list(many.items())[: len(told)]
    assert len(write_revisions(many)) <= 4096
    assert write_revisions({}) == ""


def test_headers_of_a_call_itself_stay_with_it() -> None:
    """And those that gRPC could not send as text."""
    assert forwardable("x-tier")
    for name in (":path", "content-type", "grpc-timeout", "x-graphmesh-explain", "x-envoy-retry-on", "key-bin", "a b"):
        assert not forwardable(name)


async def test_conditions_of_graphs_inside_see_the_callers_headers() -> None:
    """All of them in one process; elsewhere those that a condition there names, and none of the transport's."""
    Told.seen = []
    fused, remote = TIERS.replace("MODEL", "add"), TIERS.replace("MODEL", "far").replace("told}", "far}")
    headers = {"x-tier": "gold", "x-other": "o", "content-type": "application/grpc"}
    async with bench({"add": Add, "told": Told}, fused, AROUND) as one:
        assert (await one.infer("around", _x(0), metadata=headers)).outputs["y"].tolist() == [1.0]
        assert (await one.infer("around", _x(0), metadata={**headers, "x-tier": ""})).outputs["y"].tolist() == [0.0]
        assert "x-tier" not in Told.seen[0]
    async with bench({}) as one, bench({"far": Add}, remote) as two:
        mesh = _joined(one, two)
        one.apply(remote)
        one.apply(AROUND)
        assert (await one.infer("around", _x(0), metadata=headers)).outputs["y"].tolist() == [1.0]
        assert mesh.asked[0].headers == {"x-tier": "gold", CALLS: "10000"}
        with pytest.raises(FailedPrecondition, match="no header 'x-tier'"):
            await one.infer("around", _x(0), metadata={"x-other": "o"})


async def test_an_answer_that_is_remembered_depends_on_no_header() -> None:
    """Below a cache calls carry what says which request and trace they are of; conditions see no header at all."""
    Told.seen = []
    text = """
        name: cached
        inputs: [x]
        nodes: {a: {inputs: {x: x}, cache: {body: {name: body, KIND}}}}
        outputs: {y: a.y}
    """
    headers = {"x-tier": "gold", REQUEST_ID: "r", "baggage": "tier=gold", "traceparent": f"00-{1:032x}-{1:016x}-00"}
    async with bench({"add": Add, "told": Told}, TIERS.replace("MODEL", "add")) as one:
        one.apply(text.replace("KIND", "model: told"))
        await one.infer("cached", _x(0), metadata=headers, headers={REQUEST_ID: "r"})
        assert Told.seen == [{REQUEST_ID: "r", "traceparent": headers["traceparent"], "x-graphmesh-depth": "1"}]
        one.apply(text.replace("KIND", "graph: tiers"))
        with pytest.raises(FailedPrecondition, match="no header 'x-tier'"):
            await one.infer("cached", _x(0), metadata=headers, headers={REQUEST_ID: "r"})


@pytest.mark.parametrize("kind", ["model: far", "graph: there"])
async def test_an_answer_of_a_model_that_is_loaded_anew_elsewhere_is_not_remembered(kind: str) -> None:
    """Under the same version it may be another; as long as the same loads may answer, whoever does, it is."""
    cached = """
        name: cached
        inputs: [x]
        nodes: {a: {inputs: {x: x}, cache: {body: {name: body, KIND}}}}
        outputs: {y: a.y}
    """
    there = "{name: there, inputs: [x], nodes: {a: {model: far, inputs: {x: x}}}, outputs: {y: a.y}}"

    def hosts(worker_id: str, load_id: str, **more: Any) -> WorkerRecord:  # noqa: ANN401
        record = replace(_hosts_far(**more), worker_id=worker_id)
        return replace(record, models=tuple(replace(model, load_id=load_id) for model in record.models))

    async with bench({}) as one:
        one.mesh.answers["far"] = one.mesh.answers["there"] = lambda x: {"y": x}
        one.elsewhere(_hosts_far(), signatures={"far": FAR})
        one.apply(there)
        one.apply(cached.replace("KIND", kind))
        for expected, workers in (
            (1, [hosts("w2", "a")]),
            (1, [hosts("w2", "a", generation=2)]),
            (2, [hosts("w2", "b")]),
            (3, [hosts("w2", "b"), hosts("w3", "c")]),
            (3, [hosts("w3", "c"), hosts("w2", "b")]),
            (3, [hosts("w2", "b"), hosts("w3", "c", state=WorkerState.DRAINING)]),
            (4, [hosts("w2", "b"), hosts("w3", "d")]),
        ):
            one.change(workers={worker.worker_id: worker for worker in workers})
            for _ in range(2):
                await one.infer("cached", _x(0))
            assert len(one.mesh.asked) == expected


@pytest.mark.parametrize("header", [REQUEST_ID, "traceparent", "x-graphmesh-depth"])
async def test_a_graph_elsewhere_sees_no_header_below_a_cache(header: str) -> None:
    """Not even those that its call comes with: conditions there ask for nothing that is not in the key."""
    graph = TIERS.replace("MODEL", "far").replace("told", "far").replace("x-tier", header)
    plain = "{name: plain, inputs: [x], nodes: {a: {inputs: {x: x}, graph: tiers}}, outputs: {y: a.y}}"
    cached = plain.replace("plain", "cached").replace("graph: tiers", "cache: {body: {graph: tiers}}")
    came = {REQUEST_ID: "gold", "traceparent": f"00-{1:032x}-{1:016x}-00"}
    async with bench({}) as one, bench({"far": Add}, graph) as two:
        mesh = _joined(one, two)
        for text in (graph, plain, cached):
            one.apply(text)
        with pytest.raises(FailedPrecondition, match=f"no header '{header}'"):
            await one.infer("cached", _x(0), metadata=came, headers={REQUEST_ID: "gold"})
        assert (mesh.asked[0].headers[SEALED], mesh.asked[0].headers[REQUEST_ID]) == ("1", "gold")
        if header in came:
            await one.infer("plain", _x(0), metadata=came, headers={REQUEST_ID: "gold"})
            assert SEALED not in mesh.asked[1].headers


async def test_calls_of_a_graph_elsewhere_are_the_requests_calls() -> None:
    """It says how many it made, if it was told how many are left; they are spent where the request began."""
    mapped = """
        name: inner
        inputs: [x]
        nodes: {a: {map: {model: far, over: [x], batch_size: 1}, inputs: {x: x}}}
        outputs: {y: a.y}
    """
    outer = """
        name: outer
        inputs: [x]
        nodes: {a: {graph: inner, inputs: {x: x}}, b: {graph: inner, inputs: {x: a.y}}}
        outputs: {y: b.y}
    """
    async with bench({}) as one, bench({"far": Add}, mapped) as two:
        _joined(one, two)
        one.apply(mapped)
        one.apply(outer)
        told = await two.infer("inner", _x(*range(6)), headers={CALLS: "10"})
        assert told.parameters == {"calls": 6}
        assert (await two.infer("inner", _x(*range(6)))).parameters == {}
        answer = await one.infer("outer", _x(*range(6)), headers={CALLS: "12"})
        assert (answer.outputs["y"].tolist(), answer.parameters) == ([2.0, 3.0, 4.0, 5.0, 6.0, 7.0], {"calls": 12})
        with pytest.raises(Overloaded, match="graph outer, node b"):
            await one.infer("outer", _x(*range(6)), headers={CALLS: "11"})


async def test_a_stream_may_be_longer_than_one_answer_may_take_calls() -> None:
    """Each of its answers may take as many; one that takes more ends it."""
    stream = """
        name: stream
        inputs: [x]
        nodes: {s: {model: count, inputs: {x: x}}, a: {model: add, inputs: {x: s.y}}, b: {model: add, inputs: {x: a.y}}}
        outputs: {y: b.y}
    """
    async with bench({"add": Add, "count": Count}, stream) as one:
        for calls, answers in (("3", 8), ("2", 0)):
            graph, found = await one.handler.find("stream"), []
            request = InferenceRequest(model="stream", inputs=_x(0), headers={CALLS: calls})
            try:
                async with aclosing(one.handler.stream(graph, request)) as given:
                    found = [answer.parameters["calls"] async for answer in given]
            except Overloaded:
                assert calls == "2"
            assert len(found) == answers
            assert found in ([], [3] + [2] * 7)


async def test_what_a_replaced_revision_remembers_is_let_go() -> None:
    """Once it has been replaced for two looks; called by its number it begins anew."""
    text = """
        name: cached
        inputs: [x]
        nodes: {a: {inputs: {x: x}, cache: {body: {name: body, model: add}}}}
        outputs: {y: a.y}
    """
    async with bench({"add": Add}, text) as one:
        await one.infer("cached", _x(0))
        one.apply(text)
        compiled = one.graphs._compiled["cached", 1]
        for kept in (True, True, False):
            assert (compiled.plan is not None) == kept
            one.graphs._look_at = 0.0
            await one.infer("cached", _x(0))
        assert one.graphs._compiled["cached", 2].plan is not None
        await one.infer("cached", _x(0), version="1")
        assert compiled.plan is not None
