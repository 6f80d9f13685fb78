"""Graphs that stream: fused, nested, remote, closed half way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations of predict are read
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import DeadlinePassed, InvalidRequest, ModelFailed, Unsupported
from graphmesh.core.inference import InferenceRequest
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.forms.wire import graph_to_bytes
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.worker.local import LocalMesh
from tests.worker.graph_bench import bench

if TYPE_CHECKING:
    from graphmesh.core.inference import InferenceResponse
    from graphmesh.registry import Registry
    from graphmesh.worker.worker import Worker
    from tests.worker.graph_bench import Bench


class Numbers:
    """Counts on the event loop; notes how far it came and whether it was left."""

    made = 0
    left = 0

    async def predict(self, n: int) -> AsyncIterator[int]:
        """Yield 0 to n - 1."""
        try:
            for i in range(n):
                await asyncio.sleep(0)
                type(self).made += 1
                yield i
        except (GeneratorExit, asyncio.CancelledError):
            type(self).left += 1
            raise


class Slow:
    """Counts on a thread until it is left."""

    def predict(self, n: int) -> Iterator[int]:
        """Yield 0 to n - 1."""
        yield from range(n)


class Double:
    """Doubles, and fails where it is told."""

    calls = 0

    async def predict(self, x: int) -> int:
        """Return twice x."""
        type(self).calls += 1
        if x == 7:
            raise InvalidRequest("seven on purpose")
        return 2 * x


class Never:
    """Streams, but never gives an answer."""

    async def predict(self, n: int) -> AsyncIterator[int]:
        """Wait for ever."""
        await asyncio.Event().wait()
        yield n


MODELS = {"numbers": Numbers, "slow": Slow, "double": Double, "never": Never}
COUNT = """
    name: count
    inputs: [n]
    nodes:
      once: {model: double, inputs: {x: n}}
      numbers: {model: numbers, inputs: {n: once.output}}
      twice: {model: double, inputs: {x: numbers.output}}
    outputs: {y: twice.output, n: once.output}
"""
OUTER = """
    name: outer
    inputs: [n]
    nodes:
      inner: {graph: count, inputs: {n: n}}
      again: {model: double, inputs: {x: inner.y}}
    outputs: {y: again.output}
"""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Numbers.made = Numbers.left = Double.calls = 0


async def _answers(one: Bench, name: str, n: int, **more: Any) -> list[InferenceResponse]:  # noqa: ANN401
    graph = await one.handler.find(name)
    request = InferenceRequest(model=name, inputs={"n": np.array(n)}, **more)
    async with aclosing(one.handler.stream(graph, request)) as answers:
        return [answer async for answer in answers]


async def test_a_fused_graph_streams() -> None:
    """Every answer has all outputs; what the stream does not reach is computed once; the call is counted once."""
    async with bench(MODELS, COUNT) as one:
        found = await _answers(one, "count", 2, id="r1")
        assert [{name: int(value) for name, value in answer.outputs.items()} for answer in found] == [
            {"y": 2 * i, "n": 4} for i in range(4)
        ]
        assert {answer.id for answer in found} == {"r1"}
        assert Double.calls == 1 + 4
        metrics = one.graphs.metrics.graph("count")
        assert (metrics.success_count, metrics.stream_answers, metrics.in_flight) == (1, 4, 0)


async def test_nested_graphs_stream_through_one_another() -> None:
    """A graph that calls a streaming graph streams, in one process too."""
    async with bench(MODELS, COUNT, OUTER) as one:
        assert [int(answer.outputs["y"]) for answer in await _answers(one, "outer", 2)] == [0, 4, 8, 12]


async def test_a_stream_is_computed_as_it_is_read_and_closed_with_its_reader() -> None:
    """Nothing runs ahead of the reader; one that leaves closes every generator inside."""
    async with bench(MODELS, COUNT, OUTER) as one:
        for name, doubles in (("count", 2 + 1), ("outer", 2 + 2 + 1)):
            Numbers.made = Numbers.left = Double.calls = 0
            graph = await one.handler.find(name)
            request = InferenceRequest(model=name, inputs={"n": np.array(3)})
            async with aclosing(one.handler.stream(graph, request)) as answers:
                await anext(answers)
                await anext(answers)
                assert (Numbers.made, Double.calls) == (2, doubles)
            assert (Numbers.made, Numbers.left, Double.calls) == (2, 1, doubles)


async def test_an_error_half_way_names_the_step() -> None:
    """What came before it was delivered; the model is closed."""
    async with bench(MODELS, COUNT, OUTER) as one:
        with pytest.raises(InvalidRequest, match="graph outer, node inner: graph count, node twice: seven on purpose"):
            await _answers(one, "outer", 9)
        assert (Numbers.made, Numbers.left) == (8, 1)


async def test_a_graph_that_streams_is_not_called_for_one_answer() -> None:
    """As a model that streams is not."""
    async with bench(MODELS, COUNT) as one:
        with pytest.raises(Unsupported, match="graph 'count' streams; call it by ModelStreamInfer"):
            await one.infer("count", {"n": np.array(1)})


async def test_streams_of_different_lengths_end_with_an_error() -> None:
    """Sync and async ones are joined by position."""
    joined = """
        name: joined
        inputs: [n, m]
        nodes:
          a: {model: numbers, inputs: {n: n}}
          b: {model: slow, inputs: {n: m}}
        outputs: {a: a.output, b: b.output}
    """
    async with LocalMesh(models=MODELS, graphs=[parse_yaml(joined)]) as mesh:
        found = [(int(o["a"]), int(o["b"])) async for o in mesh.stream("joined", n=3, m=3)]
        assert found == [(0, 0), (1, 1), (2, 2)]
        with pytest.raises(ModelFailed, match="graph joined, node a: its stream ended, and that of node b goes on"):
            assert [1 async for _ in mesh.stream("joined", n=1, m=2)]


async def test_the_deadline_ends_a_stream_that_gives_nothing() -> None:
    """A model that never yields holds nobody up."""
    never = "{name: g, inputs: [n], nodes: {a: {model: never, inputs: {n: n}}}, outputs: {y: a.output}}"
    async with bench(MODELS, never) as one:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(DeadlinePassed):
            await _answers(one, "g", 1, deadline=Deadline.after(0.1))
        assert loop.time() - begun < 5


async def test_times_and_degraded_steps_are_told_with_each_answer() -> None:
    """What is known by then."""
    text = """
        name: shaky
        inputs: [n]
        nodes:
          numbers: {model: numbers, inputs: {n: n}}
          safe:
            inputs: {x: numbers.output}
            fallback: {on: [INVALID_ARGUMENT], branches: [{name: first, model: double}, {name: last, model: plain}]}
        outputs: {y: safe.output}
    """

    class Plain:
        async def predict(self, x: int) -> int:
            return x

    async with bench({**MODELS, "plain": Plain}, text) as one:
        found = await _answers(one, "shaky", 9, parameters={"explain": True})
        assert [answer.parameters.get("degraded") for answer in found] == [None] * 7 + ["safe"] * 2
        facts = json.loads(str(found[-1].parameters["explain"]))
        by_name = {node["node"]: node for node in facts["nodes"]}
        assert by_name["safe"]["branches"][0]["calls"] == 9


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_comes_from_another_worker(worker: Worker, other: Worker, registry: Registry) -> None:
    """A step that streams elsewhere is pulled through the gateway, and closed with its reader."""
    graph = parse_yaml("""
        name: far-stream
        inputs: [n, pause_s]
        nodes:
          numbers: {model: far-count, inputs: {n: n, pause_s: pause_s}}
          code: {model: raises, inputs: {code: numbers.output}}
        outputs: {raw: numbers.output, y: code.output}
    """)
    snapshot = await registry.read()
    signature = validate(graph, snapshot.signature_of, graphs=lambda _: None)
    assert signature.streaming
    await registry.put_graph(graph.name, graph_to_bytes(graph), signature)
    await worker._mirror.wait_for(lambda s: graph.name in s.graphs, 5.0)
    servable = await worker.handler.find(graph.name)
    request = InferenceRequest(
        model=graph.name, inputs={"n": np.array(1), "pause_s": np.array(0.0)}, deadline=Deadline.after(30)
    )
    async with aclosing(worker.handler.stream(servable, request)) as answers:
        found = [int(answer.outputs["raw"]) async for answer in answers]
    assert found == [0]
