"""Streams by REST through a real gateway, which makes gRPC calls of them: real Envoy and etcd, a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sys
from typing import TYPE_CHECKING

import orjson
import pytest
import pytest_asyncio

from graphmesh.registry import Registry, connect
from graphmesh.worker import WorkerConfig
from graphmesh.worker.backends.python import import_class
from graphmesh.worker.worker import Worker
from tests.gateway.harness import running_mesh
from tests.worker.conftest import TOYS, toy
from tests.worker.streams import eventually, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from tests.worker.streams import Stream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.etcd, pytest.mark.e2e]

MIB = 1024 * 1024
MODELS = [toy(name) for name in ("Count", "Add", "Sluggish", "Blocks", "Echo", "Unloadable", "Raises")]
COUNT = "/v1/models/count:predictStream"
BLOCKS = "/v1/models/blocks:predictStream"
STREAMS = (COUNT, "/v2/models/count/generate_stream")
THREE = b'{"n": 3, "pause_s": 0}'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh_of_one() -> AsyncIterator[tuple[int, Registry]]:
    """A gateway's port, with one worker behind it, and their registry."""
    with running_mesh() as mesh:
        gateway = mesh.start_gateway()
        async with contextlib.AsyncExitStack() as stack:
            registry = await stack.enter_async_context(Registry(connect([f"127.0.0.1:{mesh.etcd_port}"])))
            config = WorkerConfig(worker_id="only", models=tuple(MODELS))
            await stack.enter_async_context(Worker(config, registry))
            await _served(gateway.config["port"], COUNT)
            yield gateway.config["port"], registry


async def _served(port: int, path: str) -> None:
    async with asyncio.timeout(15):
        while True:
            async with post(port, path, THREE) as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def port(mesh_of_one: tuple[int, Registry]) -> int:
    """The gateway's port."""
    return mesh_of_one[0]


@pytest.fixture(scope="module")
def toys() -> ModuleType:
    """The module that the worker loaded the toys from."""
    return sys.modules[import_class(f"{TOYS}:Count").__module__]


async def _length(answer: Stream) -> int:
    """Return how many bytes a whole body has, and forget them."""
    length = 0
    while size := int(await answer.reader.readline(), 16):
        await answer.reader.readexactly(size + 2)
        length += size
    return length


async def _held(toys: ModuleType) -> int:
    """Return how many blocks were made once no more are."""
    made = -1
    while toys.Blocks.made > made:
        made = toys.Blocks.made
        await asyncio.sleep(0.3)
    return made


@pytest.mark.parametrize("path", [BLOCKS, "/v2/models/blocks/generate_stream"])
async def test_back_pressure(port: int, toys: ModuleType, path: str) -> None:
    """A generator waits for a caller that does not read, once what is between them is full, and ends when it leaves."""
    before = toys.Blocks.made
    async with post(port, path, b'{"n": 1000000, "size": 1000000}') as answer:
        assert answer.status == 200
        assert await _held(toys) - before < 200, (
            "each two megabytes of JSON, of which Envoy holds at most 65 on either side"
        )
    made = toys.Blocks.made
    await asyncio.sleep(0.3)
    assert toys.Blocks.made <= made + 1


async def test_streams_may_be_long(port: int) -> None:
    """A stream of 200 MiB, thrice of what one message may be, comes whole."""
    async with post(port, BLOCKS, orjson.dumps({"n": 100, "size": MIB}), limit=4 * MIB) as answer:
        assert await _length(answer) > 200 * MIB


async def test_a_reader_that_stands_still_is_cut_at_its_deadline(port: int, toys: ModuleType) -> None:
    """Who does not take the answers cannot be told the deadline: the body ends in its middle, a second later."""
    timeout = {"x-graphmesh-timeout-ms": "1500"}
    async with post(port, BLOCKS, b'{"n": 1000000, "size": 1000000}', headers=timeout) as answer:
        await asyncio.sleep(3.5)
        made = toys.Blocks.made
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await _length(answer)
    assert toys.Blocks.made == made


async def test_it_is_the_gateways_deadline_not_grpcs(port: int) -> None:
    """A header of gRPC's on a call by REST ends nothing: its stream would end without a word."""
    async with post(port, COUNT, b'{"n": 3, "pause_s": 0.2}', headers={"grpc-timeout": "300m"}) as answer:
        assert len([event async for event in answer.events()]) == 3


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (COUNT, b'{"n": "three"}', 400, "INVALID_ARGUMENT"),
        (COUNT, b"", 400, "INVALID_ARGUMENT"),
        ("/v1/models/NO:predictStream", THREE, 400, "INVALID_ARGUMENT"),
        ("/v1/models/count/versions/7:predictStream", THREE, 404, "NOT_FOUND"),
        ("/v2/models/nothing/generate_stream", THREE, 404, "NOT_FOUND"),
        ("/v1/models/raises:predictStream", b'{"code": 10}', 409, "ABORTED"),
        ("/v1/models/sluggish:predictStream", b'{"x": [1]}', 429, "RESOURCE_EXHAUSTED"),
        ("/v1/models/unloadable:predictStream", b"{}", 503, "UNAVAILABLE"),
    ],
)
async def test_errors_before_the_first_answer(port: int, path: str, body: bytes, status: int, code: str) -> None:
    """What fails before the first answer has its HTTP status and the mesh's JSON, and says when to come again."""
    async with post(port, path, body) as answer:
        error = orjson.loads(await answer.text())
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert (error["status"], type(error["code"]), type(error["error"])) == (code, int, str)
    assert answer.headers.get("retry-after") == ("2" if status == 429 else None)
    assert not [name for name in answer.headers if name.startswith("grpc-")]


@pytest.mark.parametrize(
    ("path", "body", "begins"),
    [
        (COUNT, b'{"n": 9, "pause_s": 0.1}', 'event: error\ndata: {"error":'),
        ("/v2/models/count/generate_stream", b'{"n": 3, "pause_s": 0, "fail_at": 1}', 'data: {"error":'),
    ],
)
async def test_errors_after_the_first_answer(port: int, path: str, body: bytes, begins: str) -> None:
    """What fails later, and a deadline that passes, is told by the last event; the body ends well."""
    async with post(port, path, body, headers={"x-graphmesh-timeout-ms": "400"}) as answer:
        *events, last = [event async for event in answer.events()]
    assert events
    assert last.startswith(begins)


async def test_patience_that_cannot_be_read(port: int) -> None:
    """A timeout that is none is refused, as elsewhere."""
    for path in STREAMS:
        for timeout in ("0", "1.5", "soon"):
            async with post(port, path, THREE, headers={"x-graphmesh-timeout-ms": timeout}) as answer:
                assert (answer.status, timeout in await answer.text()) == (400, True)


async def test_queries(port: int) -> None:
    """A query asks for times; whatever else it says, the path says what is called."""
    for query in ("model=count", "version=7", "mod%65l=count", "body.data=YQ==", "x", "%zz"):
        async with post(port, f"/v1/models/add:predictStream?{query}&explain=true", b'{"x": [1]}') as answer:
            (event,) = [event async for event in answer.events()]
        facts = orjson.loads(event.removeprefix("data: "))
        assert (facts["model"], facts["explain"]["worker"]) == ("add", "only")


async def test_headers(port: int) -> None:
    """A model sees what came and sets headers; nobody from outside can say that a call was transcoded."""
    headers = {"x-mine": "yes", "x-request-id": "r1", "x-envoy-original-path": "/forged", "grpc-encoding": "gzip"}
    async with post(port, "/v1/models/echo:predictStream", b'{"name": "x-mine"}', headers=headers) as answer:
        assert (answer.headers["x-echo"], answer.headers["cache-control"]) == ("r1", "no-cache")
        assert '"yes"' in await answer.text()
    async with post(
        port, "/v1/models/echo:predictStream", b'{"name": "x-envoy-original-path"}', headers=headers
    ) as answer:
        assert '"/v1/models/echo:predictStream"' in await answer.text()


async def test_lines_and_compressed_bodies(port: int) -> None:
    """Who accepts lines gets them; a compressed body is inflated; no answer at all is an empty body."""
    headers = {"accept": "application/x-ndjson", "content-encoding": "gzip"}
    async with post(port, COUNT, gzip.compress(THREE), headers=headers) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert [orjson.loads(line)["outputs"]["output"] for line in (await answer.text()).splitlines()] == [0, 1, 2]
    async with post(port, COUNT, b'{"n": 0, "pause_s": 0}') as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert await answer.text() == ""


async def test_large_requests(port: int) -> None:
    """A body of 30 MiB is read, one that is too large for a message is refused."""
    async with post(port, "/v1/models/echo:predictStream", orjson.dumps({"name": "x" * 30 * MIB})) as answer:
        assert answer.status == 200
    with contextlib.suppress(ConnectionError):
        async with post(port, "/v1/models/echo:predictStream", orjson.dumps({"name": "x" * 66 * MIB})) as answer:
            assert (answer.status, orjson.loads(await answer.text())["status"]) == (413, "RESOURCE_EXHAUSTED")


async def test_a_worker_that_stops_says_so(mesh_of_one: tuple[int, Registry], toys: ModuleType) -> None:
    """A stream that a stopping worker cannot finish ends with an error; its end alone would look like all of it."""
    port, registry = mesh_of_one
    path = "/v1/models/leaving:predictStream"
    config = WorkerConfig(worker_id="leaving", models=(toy("Count", name="leaving"),))
    async with Worker(config, registry) as worker:
        await _served(port, path)
        closed = len(toys.Count.closed)
        async with post(port, path, b'{"n": 1000, "pause_s": 0.1}') as answer:
            events = answer.events()
            await anext(events)
            hurry = asyncio.Event()
            hurry.set()
            draining = asyncio.create_task(worker.drain(hurry))
            *_, last = [event async for event in events]
            await draining
    assert last.startswith("event: error\n")
    assert orjson.loads(last.partition("data: ")[2])["status"] == "UNAVAILABLE"
    await eventually(lambda: len(toys.Count.closed) > closed)
