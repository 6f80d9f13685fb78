"""External models: another worker as the server, by gRPC and by REST, seen as models, nodes of graphs and batches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio

from graphmesh.cli.ports import free_port
from graphmesh.core.errors import (
    Code,
    FailedPrecondition,
    GraphmeshError,
    InvalidRequest,
    LoadFailed,
    ModelFailed,
    SignatureMismatch,
)
from graphmesh.core.tensor import BYTES, DTYPES
from graphmesh.registry import MemoryKV, ModelState, Registry
from graphmesh.worker import Batching, ModelConfig, WorkerConfig
from graphmesh.worker.local import LocalMesh
from graphmesh.worker.worker import Worker
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.worker.conftest import MakeToy

MODELS = Path(__file__).parents[1] / "contract" / "models.py"
CHAIN = """
name: chain
inputs: [x]
nodes:
  - {name: there, model: far, inputs: {x: x}}
  - {name: here, model: near, inputs: {x: there.y}}
outputs: {y: here.y}
"""
HOSTED = ("Add", "Batched", "Count", "Echo", "Fails", "Reshape", "Slow", "Upper")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", name="elsewhere")
async def elsewhere_fixture() -> AsyncIterator[Worker]:
    """A worker of a mesh of its own."""
    models = tuple(ModelConfig(name=kind.lower(), source=f"{MODELS}:{kind}") for kind in HOSTED)
    versions = tuple(
        ModelConfig(name="versions", source=f"{MODELS}:Add", version=version, parameters={"amount": float(version)})
        for version in ("1", "2")
    )
    async with (
        Registry(MemoryKV()) as registry,
        Worker(WorkerConfig(worker_id="elsewhere", models=(*models, *versions)), registry) as running,
    ):
        yield running


@pytest.fixture(params=["grpc", "http"])
def base(request: pytest.FixtureRequest, elsewhere: Worker) -> str:
    """The address of the worker's shells, one after the other."""
    port = elsewhere.grpc_port if request.param == "grpc" else elsewhere.http_port
    return f"{request.param}://127.0.0.1:{port}"


def _everything() -> dict[str, np.ndarray[Any, Any]]:
    """Return an array of every datatype, as `Echo` names them."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for datatype, dtype in DTYPES.items():
        values = np.array([b"\xff\x00", b""], dtype=object) if datatype == BYTES else np.array([1, 0]).astype(dtype)
        found[datatype.lower() + ("_" if datatype in {"BOOL", BYTES} else "")] = values
    return found


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether names, dtypes and elements are the same; texts are lists on one side."""
    return list(one) == list(other) and all(
        getattr(one[name], "dtype", object) == other[name].dtype and list(one[name]) == list(other[name])
        for name in one
    )


async def test_every_datatype(base: str) -> None:
    """Tensors of every datatype go there and come back as they were."""
    async with LocalMesh({"echo": f"{base}/echo"}) as mesh:
        assert _same(await mesh.predict("echo", _everything()), _everything())


async def test_shapes(base: str) -> None:
    """Scalars and empty tensors go there and come back."""
    inputs = {"scalar": np.array(7), "rows": np.zeros((0, 3), np.uint8)}
    async with LocalMesh({"far": f"{base}/reshape"}) as mesh:
        outputs = await mesh.predict("far", inputs)
        assert (outputs["scalar"], outputs["rows"].shape) == (7, (0, 3))


async def test_large(base: str) -> None:
    """Large tensors, which are encoded beside the event loop, arrive whole."""
    large = np.arange(2 << 20, dtype=np.float32)
    async with LocalMesh({"far": f"{base}/add"}) as mesh:
        assert np.array_equal((await mesh.predict("far", x=large))["y"], large + 1)


async def test_side_by_side(base: str) -> None:
    """Calls run at the same time, and each gets its own answer."""
    async with LocalMesh({"far": f"{base}/add"}) as mesh:
        answers = await asyncio.gather(*(mesh.predict("far", x=[float(n)]) for n in range(50)))
    assert [float(answer["y"][0]) for answer in answers] == [n + 1 for n in range(50)]


async def test_versions(base: str) -> None:
    """A version in the address is the one that is called there, and the version here."""
    async with LocalMesh({"far": [f"{base}/versions/1", f"{base}/versions/2"]}) as mesh:
        assert (await mesh.predict("far", x=[0.0]))["y"] == [2]
        assert (await mesh.predict("far", x=[0.0], version="1"))["y"] == [1]


async def test_text(base: str) -> None:
    """Another graphmesh says which tensors are text; the model's declaration here has the last word."""
    async with LocalMesh({"far": f"{base}/upper"}) as mesh:
        assert list((await mesh.predict("far", text=["süß"]))["upper"]) == ["SÜSS"]
    bare = ModelConfig(name="far", source=f"{base}/upper", parameters={"text": []})
    async with LocalMesh({"far": bare}) as mesh:
        assert list((await mesh.predict("far", text=[b"a"]))["upper"]) == [b"A"]


async def test_text_through_two_meshes(base: str) -> None:
    """What one graphmesh learns of another it says to a third."""
    between = ModelConfig(name="between", source=f"{base}/upper")
    async with (
        Registry(MemoryKV()) as registry,
        Worker(WorkerConfig(worker_id="between", models=(between,)), registry) as running,
        LocalMesh({"far": f"grpc://127.0.0.1:{running.grpc_port}/between"}) as mesh,
    ):
        assert list((await mesh.predict("far", text=["a"]))["upper"]) == ["A"]


async def test_errors(base: str) -> None:
    """What the model there raised on purpose keeps its code, what it raised by accident stays in its worker's log."""
    async with LocalMesh({"far": f"{base}/fails"}) as mesh:
        with pytest.raises(InvalidRequest, match=r"127\.0\.0\.1:\d+: boo"):
            await mesh.predict("far", text="boo")
        with pytest.raises(ModelFailed, match="log has the reason") as caught:
            await mesh.predict("far", text="")
        assert "secret" not in caught.value.message


async def test_inputs_are_checked_here(base: str) -> None:
    """What does not fit the metadata is refused before it is sent."""
    async with LocalMesh({"far": f"{base}/add"}) as mesh:
        with pytest.raises(SignatureMismatch, match="must be FP32"):
            await mesh.predict("far", x=np.array([1]))


async def test_model_that_is_not_there(base: str) -> None:
    """The message names the server, the model and the next step."""
    with pytest.raises(LoadFailed, match=r"127\.0\.0\.1:\d+ has no model 'nope'.*graphmesh model load far"):
        async with LocalMesh({"far": f"{base}/nope"}):
            pass


async def test_batches(base: str) -> None:
    """Calls are gathered here into batches that the server takes as one call."""
    batching = Batching(max_batch_size=8, max_delay_ms=50)
    async with LocalMesh({"far": ModelConfig(name="far", source=f"{base}/batched", batching=batching)}) as mesh:
        assert (await mesh.signature("far")).inputs[0].type == "FP32 (N,)"
        answers = await asyncio.gather(*(mesh.predict("far", x=[float(n)]) for n in range(8)))
        assert [float(answer["y"][0]) for answer in answers] == [n + 1 for n in range(8)]
        (model,) = mesh._open().models("far")
        assert model.metrics.execution_count < 8


async def test_cancellation(base: str, elsewhere: Worker) -> None:
    """A caller that leaves cancels the model there."""
    (model,) = elsewhere.catalog.hosted("slow")
    async with LocalMesh({"far": f"{base}/slow"}) as mesh:
        before = (await mesh.predict("far", seconds=0.0))["output"]
        calls = [asyncio.create_task(mesh.predict("far", seconds=30.0)) for _ in range(3)]
        await eventually(lambda: model._calls == 3)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        await eventually(lambda: not model._calls)
        assert (await mesh.predict("far", seconds=0.0))["output"] == before + 3
    assert [type(one) for one in ended] == [asyncio.CancelledError] * 3


async def test_stream(elsewhere: Worker) -> None:
    """A model that streams there streams here."""
    async with LocalMesh({"far": f"grpc://127.0.0.1:{elsewhere.grpc_port}/count"}) as mesh:
        assert (await mesh.signature("far")).streaming
        assert [answer["output"] async for answer in mesh.stream("far", n=5)] == list(range(5))


async def test_stream_by_rest(elsewhere: Worker) -> None:
    """REST has no streams, and the message says what has."""
    with pytest.raises(LoadFailed, match="REST has no streams; use its grpc:// address"):
        async with LocalMesh({"far": f"http://127.0.0.1:{elsewhere.http_port}/count"}):
            pass


async def test_node_of_a_graph(base: str, tmp_path: Path) -> None:
    """A graph is typed by the metadata, and calls models here and there alike."""
    graph = tmp_path / "chain.yaml"
    graph.write_text(CHAIN)
    models = {"far": f"{base}/add", "near": f"{MODELS}:Add"}
    async with LocalMesh(models, [graph]) as mesh:
        assert (await mesh.predict("chain", x=[1.0]))["y"] == [3]


async def test_address_that_leads_back(base: str) -> None:
    """Servers that name each other as the place of a model end in an error, not in calls without end."""
    config = WorkerConfig(worker_id="near", models=(ModelConfig(name="loop", source=f"{base}/add"),), drain_s=0.01)
    async with Registry(MemoryKV()) as registry, Worker(config, registry) as worker:
        port = worker.http_port if base.startswith("http") else worker.grpc_port
        source = f"{base.partition(':')[0]}://127.0.0.1:{port}/loop"
        worker.repository._configs["loop"] = [ModelConfig(name="loop", source=source)]
        await worker.repository.load("loop")
        async with LocalMesh({"near": source}) as mesh:
            with pytest.raises(FailedPrecondition, match="at most 8 are allowed; does its model 'loop' lead back"):
                await mesh.predict("near", x=[1.0])


async def test_warm_up(base: str) -> None:
    """An external model can be warmed up; a warm-up that fails keeps it from being announced."""
    config = ModelConfig(name="far", source=f"{base}/fails", warmup=({"text": "cold"},))
    with pytest.raises(LoadFailed, match="cold"):
        async with LocalMesh({"far": config}):
            pass


async def test_in_a_worker(base: str, toy: MakeToy) -> None:
    """A worker hosts external models beside its own; unloaded and loaded again, they answer again."""
    models = (ModelConfig(name="far", source=f"{base}/add"), toy("Add"))
    config = WorkerConfig(worker_id="near", models=models, max_message_bytes=1 << 20, drain_s=0.01)
    async with Registry(MemoryKV()) as registry, Worker(config, registry) as worker:
        (hosted,) = [one for one in worker.repository.index() if one.name == "far"]
        (model,) = worker.catalog.hosted("far")
        assert model.config.max_message_bytes == 1 << 20
        assert (hosted.state, hosted.platform.split()[0]) == (ModelState.AVAILABLE, "open_inference_protocol")
        async with LocalMesh({"again": f"grpc://127.0.0.1:{worker.grpc_port}/far"}) as mesh:
            assert (await mesh.predict("again", x=[1.0]))["y"] == [2]
            await worker.repository.unload("far")
            with pytest.raises(GraphmeshError, match="UNLOADED") as caught:
                await mesh.predict("again", x=[1.0])
            assert caught.value.code is Code.UNAVAILABLE
            await worker.repository.load("far")
            assert (await mesh.predict("again", x=[1.0]))["y"] == [2]


async def test_worker_waits_for_nobody() -> None:
    """A server that is down fails its own model only, and a load says why again."""
    source = f"grpc://127.0.0.1:{free_port()}/add"
    config = WorkerConfig(worker_id="near", models=(ModelConfig(name="far", source=source),), drain_s=0.01)
    async with Registry(MemoryKV()) as registry, Worker(config, registry) as worker:
        (hosted,) = worker.repository.index()
        assert hosted.state is ModelState.FAILED
        assert "no server answers at 127.0.0.1:" in hosted.message
        with pytest.raises(LoadFailed, match="start it, or correct the address"):
            await worker.repository.load("far")


async def test_backend_and_source_must_agree() -> None:
    """An address is for this backend, and this backend is for addresses."""
    with pytest.raises(InvalidRequest, match="backend must be left out for an address, got 'onnx'"):
        ModelConfig(name="far", source="grpc://h:1/m", backend="onnx")
    with pytest.raises(InvalidRequest, match="source: an address must look like grpc://host:8001/model"):
        ModelConfig(name="far", source="model.onnx", backend="remote")


async def test_folder_names_no_address(tmp_path: Path) -> None:
    """What lies in a folder does not choose a server: only mesh.yaml does."""
    (tmp_path / "model.yaml").write_text('source: "grpc://127.0.0.1:1/m"\n')
    with pytest.raises(LoadFailed, match=r"model\.yaml"):
        async with LocalMesh({"far": tmp_path}):
            pass
