"""Which version of a model a graph's calls go to, and graphs that are ready with some of their models."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pytest

from graphmesh.core.errors import FailedPrecondition, ModelNotReady
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.gate import choices
from graphmesh.graph.gate.choose import Choice, choose
from graphmesh.graph.spec import ModelCall
from graphmesh.registry import HostedModel, ModelState, WorkerRecord
from graphmesh.worker.config import ModelConfig
from graphmesh.worker.graphs.choosing import offered
from graphmesh.worker.local.classes import source_of
from tests.worker.graph_bench import bench

if TYPE_CHECKING:
    from graphmesh.registry import GraphRecord

Vector = Annotated[np.ndarray, "FP32 (N,)"]
Wide = Annotated[np.ndarray, "FP64 (N,)"]
CHAIN = """
    name: chain
    inputs: [x]
    nodes:
      a: {model: first, inputs: {x: x}}
      b: {model: second, inputs: {x: a.output}}
    outputs: {y: b.output}
"""


class First:
    """What the graph was applied with."""

    async def predict(self, x: Vector) -> Vector:
        """Return x plus one."""
        return x + np.float32(1)


class Newer(First):
    """Another version with the same types."""

    async def predict(self, x: Vector) -> Vector:
        """Return x plus ten."""
        return x + np.float32(10)


class Wider:
    """A version whose types would break the graph."""

    async def predict(self, x: Vector) -> Wide:
        """Return doubles."""
        return x.astype(np.float64)


class Second:
    """Takes singles only."""

    async def predict(self, x: Vector) -> Vector:
        """Return x times two."""
        return x * np.float32(2)


def _versions(*kinds: type) -> list[ModelConfig]:
    return [
        ModelConfig(name="first", source=source_of(kind), version=str(index)) for index, kind in enumerate(kinds, 1)
    ]


_X = {"x": np.zeros(1, np.float32)}
_GIVES = Signature(
    (TensorSpec(name="x", datatype="FP32", shape=("N",)),), (TensorSpec(name="output", datatype="FP32", shape=("N",)),)
)
_BREAKS = dataclasses.replace(_GIVES, outputs=(TensorSpec(name="output", datatype="FP64", shape=("N",)),))


def _worker(name: str, *models: HostedModel) -> WorkerRecord:
    return WorkerRecord(worker_id=name, host="127.0.0.1", http_port=2, grpc_port=2, models=models)


def _hosted(version: str, signature: Signature, name: str = "first") -> HostedModel:
    return HostedModel(name=name, version=version, state=ModelState.AVAILABLE, signature_digest=signature.digest)


async def test_the_newest_version_that_fits_is_used() -> None:
    """One that would break the graph is held out for it, and serves direct calls all the same."""
    async with bench({"first": _versions(First, Newer, Wider), "second": Second}) as one:
        catalog = one.graphs.catalog
        wider = next(model for model in catalog.hosted("first") if model.signature.outputs[0].datatype == "FP64")
        assert wider.version == "3"
        one.apply(CHAIN, signatures={"first": _GIVES}.get)
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [20.0]
        assert (await one.infer("first", _X)).version == "3"


async def test_a_version_that_appears_here_before_the_registry_lists_it_is_looked_at() -> None:
    """It is held out from its first moment."""
    async with bench({"first": _versions(First, Wider), "second": Second}) as one:
        catalog = one.graphs.catalog
        wider = catalog.find("first", "2")
        assert wider is not None
        catalog.discard(wider)
        worker = one.snapshots.snapshot.workers["local"]
        models = tuple(model for model in worker.models if (model.name, model.version) != ("first", "2"))
        one.change(workers={"local": dataclasses.replace(worker, models=models)})
        one.apply(CHAIN)
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [2.0]
        catalog.put(wider)
        assert (await one.infer("first", _X)).version == "2"
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [2.0]


async def test_a_version_that_appears_and_takes_and_gives_the_same_is_used_at_once() -> None:
    """It cannot break the graph; one that replaces the only other one is used too, whatever it gives."""
    async with bench({"first": _versions(First, Newer, Wider), "second": Second}) as one:
        catalog = one.graphs.catalog
        found = [catalog.find("first", version) for version in "123"]
        first, newer, wider = (model for model in found if model is not None)
        worker = one.snapshots.snapshot.workers["local"]
        for model in (newer, wider):
            catalog.discard(model)
        listed = tuple(model for model in worker.models if model.name != "first" or model.version == "1")
        one.change(workers={"local": dataclasses.replace(worker, models=listed)})
        one.apply(CHAIN)
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [2.0]
        catalog.put(newer)
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [20.0]
        one.change(workers={"local": dataclasses.replace(worker, models=listed[1:])})
        catalog.discard(newer)
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [2.0]
        catalog.put(wider)
        catalog.discard(first)
        bound = one.graphs.bind("chain", one.snapshots.snapshot)
        assert bound is not None
        assert bound.versions.here(ModelCall(name="first")) is wider


class _Held:
    """A choice that is made when the test says so."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def choose(self, *args: Any, **more: Any) -> Choice:  # noqa: ANN401 - as the gate's own
        """Make it."""
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self.go_on.wait(30)
        return choose(*args, **more)


async def test_a_choice_is_made_once_and_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that need it wait for the same one, also when one of them leaves; others are answered meanwhile."""
    held = _Held()
    monkeypatch.setattr(choices, "choose", held.choose)
    async with bench({"first": _versions(First, Newer, Wider), "second": Second}) as one:
        one.apply(CHAIN, signatures={"first": _GIVES}.get)
        asked = [asyncio.create_task(one.infer("chain", _X)) for _ in range(4)]
        assert await asyncio.to_thread(held.begun.wait, 30)
        assert (await one.infer("first", _X)).version == "3"
        asked[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked[0]
        assert not any(task.done() for task in asked[1:])
        held.go_on.set()
        for task in asked[1:]:
            assert (await task).outputs["y"].tolist() == [20.0]
        one.change()  # another snapshot with the same signatures
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [20.0]
    (thread,) = held.threads
    assert thread is not threading.main_thread()


async def test_graphs_inside_are_chosen_for_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a request may come to is chosen before it runs."""
    held = _Held()
    held.go_on.set()
    monkeypatch.setattr(choices, "choose", held.choose)
    async with bench({"first": _versions(First, Newer, Wider), "second": Second}) as one:
        one.apply(CHAIN, signatures={"first": _GIVES}.get)
        for name, inside in (("middle", "chain"), ("outer", "middle")):
            nodes = f"{{n: {{graph: {inside}, inputs: {{x: x}}}}}}"
            one.apply(f"{{name: {name}, inputs: [x], nodes: {nodes}, outputs: {{y: n.y}}}}")
        assert (await one.infer("outer", _X)).outputs["y"].tolist() == [20.0]
    assert len(held.threads) == 3
    assert threading.main_thread() not in held.threads


async def test_replicas_of_one_version_that_differ_count_as_for_the_gateway() -> None:
    """That of the first worker by id; versions that only this worker has come in addition."""
    async with bench({"first": _versions(First), "second": Second}) as one:
        far = {"w2": _GIVES, "w3": _BREAKS}
        workers = [_worker(name, _hosted("7", found), _hosted("8", found, "far")) for name, found in far.items()]
        one.elsewhere(*workers, signatures={"a": _GIVES, "b": _BREAKS})
        snapshot, catalog = one.snapshots.snapshot, one.graphs.catalog
        assert offered("far", snapshot, catalog) == snapshot.served["far"] == {"8": _GIVES}
        assert offered("first", snapshot, catalog) == snapshot.served["first"]
        worker = snapshot.workers["local"]
        one.change(workers={**snapshot.workers, "local": dataclasses.replace(worker, models=())})
        found = offered("first", one.snapshots.snapshot, catalog)
        assert (list(found), found["7"]) == (["7", "1"], _GIVES)


class _Counting(Wider):
    """Breaks the graph, and counts."""

    calls = 0

    async def predict(self, x: Vector) -> Wide:
        """Return doubles."""
        type(self).calls += 1
        return await super().predict(x)


async def test_a_graph_inside_that_fits_no_version_says_so() -> None:
    """Before it calls anything; its caller does not try another branch, as the request is not what failed."""
    async with bench({"first": _Counting, "second": Second}) as one:
        one.apply(CHAIN, signatures={"first": _GIVES}.get)
        one.apply(
            "{name: outer, inputs: [x], nodes: {n: {inputs: {x: x}, fallback: [{name: p, graph: chain, outputs: "
            "{output: y}}, {name: q, model: second}]}}, outputs: {y: n.output}}"
        )
        for name in ("chain", "outer"):
            with pytest.raises(FailedPrecondition, match=r"graph 'chain' is not ready: edge a\.output -> b\.x: FP64"):
                await one.infer(name, _X)
        assert _Counting.calls == 0


async def test_a_graph_that_misses_a_model_is_not_refused_for_its_types() -> None:
    """Without one of its models it is not known what breaks: its fallback still answers."""
    async with bench({"second": Second}) as one:
        one.apply(
            "{name: safe, inputs: [x], nodes: {n: {inputs: {x: x}, fallback: [{name: p, model: first}, "
            "{name: q, model: second}]}}, outputs: {y: n.output}}",
            signatures={"first": _GIVES}.get,
        )
        one.mesh.answers["first"] = _gone
        assert (await one.infer("safe", _X)).outputs["y"].tolist() == [0.0]


def _gone(x: np.ndarray) -> dict[str, np.ndarray]:
    raise ModelNotReady(f"no replica for {x.shape}")


async def test_an_older_revision_works_with_the_versions_that_it_was_applied_with() -> None:
    """Each revision promises what it was applied with, whichever is live."""
    async with bench({"first": _versions(First, Wider), "second": Second}) as one:
        one.apply(CHAIN, signatures={"first": _GIVES}.get)
        old = one.snapshots.snapshot.graphs["chain"]
        one.apply("{name: chain, inputs: [x], nodes: {a: {model: first, inputs: {x: x}}}, outputs: {y: a.output}}")
        one.graphs._revisions = _Revisions(old)
        for _ in range(2):
            assert (await one.infer("chain", _X)).outputs["y"].dtype == np.float64
            assert (await one.infer("chain", _X, graph_revision=1)).outputs["y"].tolist() == [2.0]


class _Revisions:
    """A registry that has one revision beside the live one."""

    def __init__(self, record: GraphRecord) -> None:
        self._record = record

    async def get_graph(self, name: str, revision: int = 0) -> GraphRecord:
        """Return it."""
        assert (name, revision) == (self._record.name, self._record.revision)
        return self._record


async def test_calls_elsewhere_name_the_version_only_if_one_is_held() -> None:
    """Otherwise the mesh chooses."""
    async with bench({"second": Second}) as one:
        one.elsewhere(_worker("w2", _hosted("1", _GIVES)), signatures={"first": _GIVES})
        one.apply(CHAIN)
        one.mesh.answers["first"] = lambda x: {"output": x}
        await one.infer("chain", _X)
        one.elsewhere(_worker("w3", _hosted("2", _BREAKS)), signatures={"first": _BREAKS})
        await one.infer("chain", _X)
        one.elsewhere(_worker("w3", _hosted("2", _GIVES)), signatures={"first": _GIVES})
        await one.infer("chain", _X)
        assert [request.version for request in one.mesh.asked] == ["", "1", ""]


async def test_a_version_that_a_step_fixes_is_called() -> None:
    """Here and elsewhere."""
    text = CHAIN.replace("{model: first,", "{model: {name: first, version: 1},")
    async with bench({"first": _versions(First, Newer), "second": Second}, text) as one:
        assert (await one.infer("chain", _X)).outputs["y"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("step", "ready"),
    [
        ("{model: second}", True),
        ("{model: gone}", False),
        ("{fallback: [{name: p, model: gone}, {name: q, model: second}]}", True),
        ("{race: {branches: [{name: p, model: gone}, {name: q, model: second}]}}", True),
        (
            "{parallel: {join: any, aggregate: mean, branches: [{name: p, model: gone}, {name: q, model: second}]}}",
            True,
        ),
        ("{parallel: {aggregate: mean, branches: [{name: p, model: gone}, {name: q, model: second}]}}", False),
        ("{switch: {cases: [{when: 'true', then: {name: p, model: gone}}], default: {name: q, model: second}}}", False),
    ],
)
async def test_a_graph_is_ready_with_what_its_steps_need(step: str, ready: bool) -> None:  # noqa: FBT001
    """Of branches that can stand in for one another, one is enough."""
    async with bench({"second": Second, "gone": Second}) as one:
        one.apply(f"{{name: g, inputs: [x], nodes: {{n: {step[:-1]}, inputs: {{x: x}}}}}}, outputs: {{y: n.output}}}}")
        gone = one.graphs.catalog.find("gone")
        assert gone is not None
        one.graphs.catalog.discard(gone)
        worker = one.snapshots.snapshot.workers["local"]
        models = tuple(model for model in worker.models if model.name != "gone")
        one.change(workers={"local": dataclasses.replace(worker, models=models)})
        assert (await one.handler.find("g")).ready is ready
