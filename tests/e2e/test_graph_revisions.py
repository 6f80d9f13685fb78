"""Graphs replaced and rolled back while clients call them: nothing fails, and no answer mixes two revisions."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
import numpy as np
import pytest

from graphmesh.cli.http import post
from graphmesh.client import ControlClient
from graphmesh.graph.forms.text import parse_yaml
from graphmesh.graph.forms.wire import graph_to_wire
from graphmesh.oip import open_inference_pb2 as oip
from graphmesh.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from graphmesh.v1 import graph_service_pb2
from tests.e2e.running import MODELS, RunningMesh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(150)]

AMOUNTS = (1, 10, 100, 1000)
"""Both steps of a revision add the same amount. A sum of two different ones is no double of any of them."""
REPLACEMENTS = 100
CLIENTS = 4
PAUSE_S = 0.015
STEPS = {"chain": 2, "twice": 4}
"""How many amounts an answer has had added."""


def _models(name: str) -> str:
    return "\n".join(
        f'      - {{name: {name}-{amount}, source: "{MODELS}:Add", parameters: {{amount: {amount}}}}}'
        for amount in AMOUNTS
    )


MESH = f"""
workers:
  - name: left
    models:
{_models("first")}
  - name: right
    models:
{_models("second")}
      - {{name: last, source: "{MODELS}:Add"}}
      - {{name: last, version: "2", source: "{MODELS}:AddWhole"}}
"""
TWICE = """
name: twice
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: once, graph: chain, inputs: {x: x}}
  - {name: again, graph: chain, inputs: {x: once.y}}
outputs: {y: again.y}
"""


NARROW = """
name: moving
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: end, model: last, inputs: {x: x}}
outputs: {y: end.y}
"""
WHOLE = """
name: moving
inputs: {x: "FP32 (N,)"}
nodes:
  - {name: whole, transform: [{cast: {datatype: INT64}, inputs: x, outputs: n}], inputs: {x: x}}
  - {name: end, model: last, inputs: {x: whole.n}}
outputs: {y: end.y}
"""


def chain(number: int) -> str:
    """Return the graph of a revision, in YAML."""
    amount = AMOUNTS[number % len(AMOUNTS)]
    return f"""
name: chain
description: number {number}
inputs: {{x: "FP32 (N,)"}}
nodes:
  - {{name: first, model: first-{amount}, inputs: {{x: x}}}}
  - {{name: second, model: second-{amount}, inputs: {{x: first.y}}}}
outputs: {{y: second.y}}
"""


@dataclass(slots=True)
class Clients:
    """Clients that call a graph over and over; every answer is kept. Use it as an async context manager."""

    address: str
    graph: str
    answers: list[tuple[int, float]] = field(default_factory=list)
    """Revision and result of each call that was answered."""
    failures: list[str] = field(default_factory=list)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)
    _stop: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def answered(self, count: int) -> None:
        """Return once there are so many answers."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.answers) >= count)

    async def _client(self) -> None:
        # Client retries off, and a connection for each client: a failure must be seen.
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            stub = GRPCInferenceServiceStub(channel)
            while not self._stop:
                await self._call(stub)
                await asyncio.sleep(PAUSE_S)

    async def _call(self, stub: GRPCInferenceServiceStub) -> None:
        request = oip.ModelInferRequest(model_name=self.graph)
        request.inputs.add(name="x", datatype="FP32", shape=[1])
        request.raw_input_contents.append(np.zeros(1, np.float32).tobytes())
        try:
            answer = await stub.ModelInfer(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{error.code().name} {error.details()}")
            return
        dtype = {"FP32": np.float32, "INT64": np.int64}[answer.outputs[0].datatype]
        value = np.frombuffer(answer.raw_output_contents[0], dtype)[0]
        async with self._more:
            self.answers.append((int(answer.model_version), float(value)))
            self._more.notify_all()


@pytest.fixture(scope="module")
def mesh(start: Callable[..., RunningMesh]) -> RunningMesh:
    """Two workers; every revision has one step on each."""
    return start(MESH)


@pytest.fixture
async def control(mesh: RunningMesh) -> AsyncIterator[ControlClient]:
    """A client of the control services; both graphs are live."""
    async with ControlClient(mesh.address) as client:
        await apply(client, chain(0))
        await apply(client, TWICE)
        yield client


async def apply(control: ControlClient, text: str) -> Any:  # noqa: ANN401 - a GraphRevision
    """Apply a graph."""
    request = graph_service_pb2.ApplyGraphRequest(graph=graph_to_wire(parse_yaml(text)))
    return await control.call(control.graphs.ApplyGraph, request)


async def test_replaced_under_load(mesh: RunningMesh, control: ControlClient) -> None:
    """100 replacements under load fail nothing; an answer is wholly of the revision that it names, a nested one too."""
    amounts = {(await apply(control, chain(0))).revision: AMOUNTS[0]}
    async with Clients(mesh.address, "chain") as direct, Clients(mesh.address, "twice") as nested:
        began = time.monotonic()
        for number in range(1, REPLACEMENTS + 1):
            revision = await apply(control, chain(number))
            assert revision.replaces == revision.revision - 1
            amounts[revision.revision] = AMOUNTS[number % len(AMOUNTS)]
        took_s = time.monotonic() - began
    assert (direct.failures, nested.failures) == ([], [])
    assert [(one, value) for one, value in direct.answers if value != STEPS["chain"] * amounts[one]] == []
    whole = {STEPS["twice"] * amount for amount in AMOUNTS}
    assert [value for _, value in nested.answers if value not in whole] == []
    assert {value for _, value in nested.answers} == whole
    assert len({one for one, _ in direct.answers}) > REPLACEMENTS / 4
    assert len(direct.answers) > 20 * took_s
    request = graph_service_pb2.ListGraphRevisionsRequest(name="chain")
    kept = (await control.call(control.graphs.ListGraphRevisions, request)).revisions
    assert len(kept) == REPLACEMENTS
    assert [one.revision for one in kept if one.live] == [max(amounts)]


async def test_rolled_back_under_load(mesh: RunningMesh, control: ControlClient) -> None:
    """Rollbacks under load fail nothing either; once one has been answered, calls run on the revision it named."""
    async with Clients(mesh.address, "chain") as clients:
        for number in (5, 6, 7, 8):
            await apply(control, chain(number))
        for number in (7, 6, 5):
            request = graph_service_pb2.RollbackGraphRequest(name="chain")
            revision = await control.call(control.graphs.RollbackGraph, request)
            assert revision.graph.description == f"number {number}"
            begun_before = len(clients.answers) + CLIENTS
            await clients.answered(begun_before + CLIENTS)
            expected = (revision.revision, 2 * AMOUNTS[number % len(AMOUNTS)])
            assert set(clients.answers[begun_before:]) == {expected}
    assert clients.failures == []


async def test_replaced_by_another_contract_under_load(mesh: RunningMesh, control: ControlClient) -> None:
    """Revisions that need different versions of one model follow one another under load, and fail nothing."""
    await apply(control, NARROW)
    async with Clients(mesh.address, "moving") as clients:
        for number in range(20):
            await apply(control, NARROW if number % 2 else WHOLE)
            await clients.answered(len(clients.answers) + CLIENTS)
    assert clients.failures == []
    assert {value for _, value in clients.answers} == {1.0}
    live = (await apply(control, WHOLE)).revision
    for number, shown in ((live, [1]), (live - 1, [1.0]), (live, [1])):
        body = post(f"http://{mesh.address}/v1/models/moving/versions/{number}:predict", b'{"x": [0]}').body
        assert json.loads(body).get("outputs") == {"y": shown}, body


def test_the_commands(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Apply says what it changed; revisions, diff and rollback tell the same story, in text and as JSON."""
    file = tmp_path_factory.mktemp("graphs") / "told.yaml"
    for number, expected in ((0, "new: 2 steps"), (1, "changed first, second; other description")):
        file.write_text(chain(number).replace("name: chain", "name: told"))
        assert expected in mesh.graphmesh("graph", "apply", str(file)).stdout
    assert "1 -> 2" not in mesh.graphmesh("graph", "apply", str(file)).stdout
    listed = mesh.graphmesh("graph", "revisions", "told").stdout.splitlines()
    assert listed[1].split()[:2] == ["2", "live"]
    diff = mesh.graphmesh("graph", "diff", "told")
    assert "-description: number 0\n+description: number 1\n" in diff.stdout
    assert mesh.graphmesh("graph", "diff", "told", "1", "2", "--exit-code", check=False).returncode == 1
    assert mesh.graphmesh("graph", "diff", "told", "2", "--exit-code").stdout == ""
    assert "2 -> 1" in mesh.graphmesh("graph", "rollback", "told").stdout
    refused = mesh.graphmesh("graph", "rollback", "told", check=False)
    assert (refused.returncode, "revision 1 replaced none" in refused.stderr) == (1, True)
    assert '"revision": 2' in mesh.graphmesh("graph", "rollback", "told", "--to", "2", "-o", "json").stdout
    stale = mesh.graphmesh("graph", "rollback", "told", "--etag", '"1"', check=False)
    assert (stale.returncode, "must still have etag" in stale.stderr) == (1, True)


def test_status_and_advice(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The status shows a graph's revision, place and readiness; advice says which model to host elsewhere."""
    file = tmp_path_factory.mktemp("graphs") / "spread.yaml"
    file.write_text(chain(1).replace("name: chain", "name: spread"))
    mesh.graphmesh("graph", "apply", str(file))
    rows = [line.split() for line in mesh.graphmesh("status").stdout.splitlines()]
    assert ["spread", "1", "left-1,", "right-1", "yes"] in rows
    (found,) = [
        one for one in json.loads(mesh.graphmesh("status", "-o", "json").stdout)["graphs"] if one["name"] == "spread"
    ]
    assert (found["workers"], found["ready"], found["revision"]) == (["left-1", "right-1"], True, 1)
    advice = mesh.graphmesh("graph", "advise", "spread").stdout
    assert "calls over the network: 1\n" in advice
    assert "the whole graph runs in one process" in advice
    assert "host second-10 on left-1" in advice
