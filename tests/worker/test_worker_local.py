"""The local test mode: models and graphs in one process, called as a client would."""
# ruff: noqa: D101, D102 - the models here are what a team would write beside its tests

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import pytest

from graphmesh.core.errors import (
    DeadlinePassed,
    InvalidGraph,
    InvalidRequest,
    InvalidTensor,
    LoadFailed,
    ModelFailed,
    NotFound,
    SignatureMismatch,
)
from graphmesh.graph import GraphBuilder
from graphmesh.worker import Context, ModelConfig, batched, model
from graphmesh.worker.local import LocalMesh

Rows = Annotated[np.ndarray[Any, Any], "FP32 (N, 2)"]

SHOUT = """
name: shout
inputs: [text]
nodes:
  upper:
    model: upper
    inputs: {text: text}
  mark:
    model: mark
    inputs: {text: upper.output}
outputs:
  text: mark.output
"""


class Upper:
    def predict(self, text: str) -> str:
        return text.upper()


class Mark:
    def __init__(self, mark: str = "!") -> None:
        self._mark = mark

    def predict(self, text: str) -> str:
        return text + self._mark


class Kinds(TypedDict):
    numbers: Annotated[np.ndarray[Any, Any], "FP32 (N,)"]
    words: list[str]
    raw: bytes
    count: int


class Everything:
    def predict(self, numbers: Annotated[np.ndarray[Any, Any], "FP32 (N,)"], words: list[str], raw: bytes) -> Kinds:
        return {"numbers": numbers * 2, "words": words[::-1], "raw": raw[::-1], "count": len(words)}


class Countdown:
    def predict(self, count: int) -> Iterator[int]:
        yield from range(count, 0, -1)


class AsyncCountdown:
    async def predict(self, count: int) -> AsyncIterator[int]:
        for number in range(count, 0, -1):
            await asyncio.sleep(0)
            yield number


class Curious:
    def predict(self, name: str, context: Context) -> str:
        context.set_header("x-seen", context.headers["x-caller"])
        return f"{name} {context.request_id} {context.parameters['topic']} {context.remaining() < 9}"


class Broken:
    def predict(self, text: str) -> str:
        raise ZeroDivisionError(text)


class Picky:
    def predict(self, text: str) -> str:
        raise InvalidRequest(f"not {text}, please")


@model(version="7")
class Declared:
    def predict(self, text: str) -> str:
        return text


class Slow:
    async def predict(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds


class Spoiler:
    def predict(self, rows: Rows) -> Rows:
        rows += 1
        return rows


class Batcher:
    sizes: list[int]

    def load(self) -> None:
        Batcher.sizes = []
        self._first = threading.Event()

    @batched(max_batch_size=8)
    def predict(self, rows: Rows) -> Rows:
        Batcher.sizes.append(len(rows))
        if not self._first.is_set():  # the others gather meanwhile
            self._first.set()
            time.sleep(0.05)
        return rows * 2


class Closed:
    unloaded: list[str]

    def load(self) -> None:
        Closed.unloaded = []

    def predict(self, text: str) -> str:
        return text

    def unload(self) -> None:
        Closed.unloaded.append("closed")


async def test_a_class_is_called_with_plain_values() -> None:
    """A class of the test file itself is served; text goes in and comes out as str."""
    async with LocalMesh({"upper": Upper}) as mesh:
        outputs = await mesh.predict("upper", text="hi")
        assert outputs == {"output": "HI"}
        assert (outputs.model, outputs.version) == ("upper", "1")
        assert [spec.name for spec in (await mesh.signature("upper")).inputs] == ["text"]


async def test_values_follow_the_signature() -> None:
    """Lists become arrays of the declared dtype; numbers come back as arrays, text and bytes as themselves."""
    async with LocalMesh({"all": Everything}) as mesh:
        outputs = await mesh.predict("all", numbers=[1, 2.5], words=["a", "b"], raw=b"xy")
    np.testing.assert_array_equal(outputs["numbers"], np.array([2, 5], dtype=np.float32))
    assert outputs["numbers"].dtype == np.float32
    assert (outputs["words"], outputs["raw"], outputs["count"]) == (["b", "a"], b"yx", 2)


async def test_a_graph_runs_whole(tmp_path: Path) -> None:
    """A graph of a file is checked against the models and called like one of them."""
    (tmp_path / "shout.yaml").write_text(SHOUT)
    models: dict[str, Any] = {
        "upper": Upper,
        "mark": ModelConfig(name="any", source=f"{__name__}:Mark", parameters={"mark": "?"}),
    }
    async with LocalMesh(models, graphs=[tmp_path / "shout.yaml"]) as mesh:
        outputs = await mesh.predict("shout", {"text": "hi"}, parameters={"explain": True})
    assert outputs == {"text": "HI?"}
    assert '"upper"' in str(outputs.parameters["explain"])


async def test_graphs_nest_and_are_built_in_python() -> None:
    """A graph made by GraphBuilder may call another one that was given before it."""
    inner = GraphBuilder("inner")
    inner.output("text", inner.model("upper", "upper", text=inner.input("text"))["output"])
    outer = GraphBuilder("outer")
    first = outer.graph("first", "inner", text=outer.input("text"))
    outer.output("text", outer.model("mark", "mark", text=first["text"])["output"])
    async with LocalMesh({"upper": Upper, "mark": Mark}, graphs=[inner, outer.build()]) as mesh:
        assert await mesh.predict("outer", text="deep") == {"text": "DEEP!"}


async def test_versions_live_side_by_side() -> None:
    """A class declares its version; the highest answers, unless a call names another."""
    async with LocalMesh({"m": [Upper, Declared]}) as mesh:
        assert (await mesh.predict("m", text="a")).version == "7"
        assert await mesh.predict("m", text="a", version="1") == {"output": "A"}
        with pytest.raises(NotFound, match="there is 7, 1"):
            await mesh.predict("m", text="a", version="2")


@pytest.mark.parametrize("kind", [Countdown, AsyncCountdown])
async def test_streams(kind: type[Any]) -> None:
    """Each answer of a generator is one of the stream's; a model that does not stream gives one."""
    async with LocalMesh({"count": kind, "upper": Upper}) as mesh:
        assert [outputs["output"] async for outputs in mesh.stream("count", count=3)] == [3, 2, 1]
        assert [outputs async for outputs in mesh.stream("upper", text="a")] == [{"output": "A"}]


async def test_the_context_is_the_callers() -> None:
    """Headers, request id, parameters and deadline reach the model; its response headers reach the caller."""
    async with LocalMesh({"curious": Curious}) as mesh:
        outputs = await mesh.predict(
            "curious",
            {"name": "I"},
            headers={"X-Caller": "test", "x-request-id": "r1"},
            parameters={"topic": "cats"},
            timeout_s=5,
        )
    assert outputs == {"output": "I r1 cats True"}
    assert outputs.headers == {"x-seen": "test"}


async def test_errors_are_themselves() -> None:
    """A typed error arrives as it was raised; another one is ModelFailed, caused by it."""
    async with LocalMesh({"broken": Broken, "picky": Picky}) as mesh:
        with pytest.raises(InvalidRequest, match="not this, please"):
            await mesh.predict("picky", text="this")
        with pytest.raises(ModelFailed) as failed:
            await mesh.predict("broken", text="why")
        assert isinstance(failed.value.__cause__, ZeroDivisionError)


async def test_mistakes_of_the_caller() -> None:
    """Unknown names, missing inputs, other dtypes and other values are refused as a worker refuses them."""
    async with LocalMesh({"upper": Upper, "spoil": Spoiler}) as mesh:
        with pytest.raises(NotFound, match="close names: upper"):
            await mesh.predict("uper", text="a")
        with pytest.raises(SignatureMismatch):
            await mesh.predict("upper")
        with pytest.raises(SignatureMismatch):
            await mesh.predict("upper", txt="a")
        with pytest.raises(SignatureMismatch, match="FP64"):
            await mesh.predict("spoil", rows=np.zeros((1, 2)))
        with pytest.raises(InvalidTensor, match="FP32"):
            await mesh.predict("spoil", rows=[["a", "b"]])
        with pytest.raises(InvalidTensor, match="str or bytes"):
            await mesh.predict("upper", text=3)


async def test_inputs_are_read_only() -> None:
    """A model that writes into its input fails here as it would in a worker; the test's own array is left alone."""
    rows = np.zeros((1, 2), dtype=np.float32)
    async with LocalMesh({"spoil": Spoiler}) as mesh:
        with pytest.raises(ModelFailed) as failed:
            await mesh.predict("spoil", rows=rows)
    assert "read-only" in str(failed.value.__cause__)
    assert rows.flags.writeable


async def test_a_deadline_ends_a_call() -> None:
    """A caller's patience is the deadline."""
    async with LocalMesh({"slow": Slow}) as mesh:
        with pytest.raises(DeadlinePassed):
            await mesh.predict("slow", seconds=30, timeout_s=0.02)


async def test_calls_side_by_side_are_batched() -> None:
    """Batches form as in a worker: each call gets its own rows."""
    async with LocalMesh({"rows": Batcher}) as mesh:
        calls = [mesh.predict("rows", rows=np.full((1, 2), number, dtype=np.float32)) for number in range(9)]
        answers = await asyncio.gather(*calls)
    assert [answer["output"][0, 0] for answer in answers] == [2 * number for number in range(9)]
    assert sum(Batcher.sizes) == 9
    assert max(Batcher.sizes) > 1


async def test_a_model_that_does_not_load() -> None:
    """The start fails with the reason."""

    class Unloadable:
        def load(self) -> None:
            raise OSError("no weights here")

        def predict(self, text: str) -> str:
            return text

    with pytest.raises(LoadFailed, match="no weights here"):
        async with LocalMesh({"bad": Unloadable}):
            pass


async def test_a_graph_that_cannot_work() -> None:
    """A graph is refused for the reasons for which a mesh refuses it."""
    graph = GraphBuilder("bad")
    graph.output("text", graph.model("upper", "uper", text=graph.input("text"))["output"])
    with pytest.raises(InvalidGraph, match="upper"):
        async with LocalMesh({"upper": Upper}, graphs=[graph]):
            pass
    with pytest.raises(InvalidRequest, match="names must differ"):
        async with LocalMesh({"upper": Upper}, graphs=[_named_upper()]):
            pass


async def test_graphs_in_any_order(tmp_path: Path) -> None:
    """A graph may be given before the one that it calls; an error names the graph and its file."""
    outer = tmp_path / "outer.yaml"
    outer.write_text(
        "name: outer\ninputs: [text]\nnodes:\n  in: {graph: shout, inputs: {text: text}}\noutputs: {text: in.text}\n"
    )
    inner = tmp_path / "shout.yaml"
    inner.write_text(SHOUT)
    async with LocalMesh({"upper": Upper, "mark": Mark}, graphs=[outer, inner]) as mesh:
        assert (await mesh.predict("outer", text="a"))["text"] == "A!"
    with pytest.raises(InvalidGraph, match=f"graph outer from {outer}: node in: there is no graph 'shout'"):
        async with LocalMesh({"upper": Upper}, graphs=[outer]):
            pass
    inner.write_text("name: [")
    with pytest.raises(InvalidRequest, match=str(inner)):
        async with LocalMesh({"upper": Upper}, graphs=[inner]):
            pass


def _named_upper() -> GraphBuilder:
    graph = GraphBuilder("upper")
    graph.output("text", graph.model("up", "upper", text=graph.input("text"))["output"])
    return graph


async def test_the_end_unloads() -> None:
    """Models are unloaded at the end, and nothing can be called afterwards."""
    mesh = LocalMesh({"closed": Closed})
    with pytest.raises(RuntimeError, match="entered"):
        await mesh.predict("closed", text="a")
    async with mesh:
        assert Closed.unloaded == []
    assert Closed.unloaded == ["closed"]
    with pytest.raises(RuntimeError, match="entered"):
        await mesh.predict("closed", text="a")


def test_the_sync_face(caplog: pytest.LogCaptureFixture) -> None:
    """A plain test calls models, graphs and streams without an event loop of its own."""
    with LocalMesh({"upper": Upper, "count": Countdown, "slow": Slow}).sync() as mesh:
        assert mesh.predict("upper", text="a") == {"output": "A"}
        assert [outputs["output"] for outputs in mesh.stream("count", {"count": 2})] == [2, 1]
        assert mesh.signature("slow").inputs[0].name == "seconds"
        with pytest.raises(DeadlinePassed):
            mesh.predict("slow", seconds=30, timeout_s=0.02)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    with pytest.raises(NotFound), LocalMesh({"upper": Upper}).sync() as mesh:
        mesh.predict("nobody")


def test_the_sync_face_stops_a_stream() -> None:
    """A stream that is left early is closed, and the mesh goes on."""
    with LocalMesh({"count": Countdown}).sync() as mesh:
        stream = mesh.stream("count", count=1000)
        assert next(stream) == {"output": 1000}
        stream.close()
        assert len(list(mesh.stream("count", count=3))) == 3


def test_misuse_says_how_it_is_used() -> None:
    """A mesh that is entered without a loop, and an instance in place of a class, are told what to write."""

    class Echo:
        def predict(self, x: int) -> int:
            return x

    with pytest.raises(TypeError, match=r"with LocalMesh\(...\).sync\(\)"), LocalMesh({"m": Echo}):
        pass
    wrong: Any = {"m": Echo()}
    with pytest.raises(TypeError, match="give the class Echo, not an instance"), LocalMesh(wrong).sync():
        pass
