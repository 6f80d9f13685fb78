"""Streams over HTTP: server-sent events and lines at :predictStream, Triton's generate and generate_stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.worker.streams import CLOSED_WITHIN_S, eventually, post

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from graphmesh.worker.worker import Worker
    from tests.worker.conftest import Reply

    Http = Callable[..., Awaitable[Reply]]

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "/v1/models/count:predictStream"
THREE = b'{"n": 3, "pause_s": 0}'


async def test_events(worker: Worker) -> None:
    """Each answer is an event of natural JSON; the end of the body is the end."""
    for path in (COUNT, "/v1/models/count/versions/1:predictStream", "/v1/models/count-async:predictStream"):
        async with post(worker.http_port, path, THREE) as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            events = [event async for event in answer.events()]
        assert [event[:6] for event in events] == ["data: "] * 3
        assert [orjson.loads(event[6:])["outputs"] for event in events] == [{"output": i} for i in range(3)]


async def test_events_come_as_they_are_made(worker: Worker) -> None:
    """An event is there long before the next one."""
    async with post(worker.http_port, COUNT, b'{"n": 50, "pause_s": 0.1}') as answer:
        events = answer.events()
        async with asyncio.timeout(0.9):
            assert "outputs" in await anext(events)
            assert "outputs" in await anext(events)


async def test_lines(worker: Worker) -> None:
    """Whoever accepts lines of JSON gets them."""
    accept = {"accept": "application/x-ndjson"}
    async with post(worker.http_port, COUNT, THREE, headers=accept) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = (await answer.text()).splitlines()
    assert [orjson.loads(line)["outputs"] for line in lines] == [{"output": i} for i in range(3)]


async def test_other_models_give_one_event(worker: Worker) -> None:
    """A model that does not stream gives one event; a stream without answers is empty."""
    async with post(worker.http_port, "/v1/models/add:predictStream", b'{"x": [1, 2]}') as answer:
        (event,) = [event async for event in answer.events()]
    assert orjson.loads(event[6:])["outputs"] == {"y": [3.0, 4.0]}
    async with post(worker.http_port, COUNT, b'{"n": 0, "pause_s": 0}') as answer:
        assert (answer.status, await answer.text()) == (200, "")


async def test_errors(worker: Worker, http: Http) -> None:
    """An error before the first answer has its HTTP status; a later one is an event of its own."""
    early = await http(worker.http_port, COUNT, b'{"n": "three"}')
    assert (early.status, early.json["status"]) == (400, "INVALID_ARGUMENT")
    assert (await http(worker.http_port, "/v1/models/nothing:predictStream", THREE)).status == 404
    reply = await http(worker.http_port, COUNT)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    async with post(worker.http_port, "/v1/models/drifts:predictStream", b'{"n": 2}') as answer:
        first, last = [event async for event in answer.events()]
    assert (answer.status, first[:5]) == (200, "data:")
    kind, _, data = last.partition("\n")
    error = orjson.loads(data.removeprefix("data: "))
    assert (kind, error["status"]) == ("event: error", "INTERNAL")
    assert "does not keep to its signature" in error["error"]


async def test_response_headers(worker: Worker) -> None:
    """What a model sets before its first answer is among the headers."""
    async with post(worker.http_port, COUNT, THREE) as answer:
        assert answer.headers["x-count"] == "3"


@pytest.mark.parametrize("model", ["count", "count-async"])
async def test_caller_that_leaves(worker: Worker, toys: ModuleType, model: str) -> None:
    """A caller that leaves stops the generator at its next yield, although nothing is sent meanwhile."""
    async with post(worker.http_port, f"/v1/models/{model}:predictStream", b'{"n": 1000, "pause_s": 0.2}') as answer:
        events = answer.events()
        await anext(events)
        await anext(events)
        yielded, closed, closed_async = len(toys.Count.yielded), len(toys.Count.closed), toys.CountAsync.closed
    if model == "count-async":
        await eventually(lambda: toys.CountAsync.closed == closed_async + 1)
        return
    await eventually(lambda: len(toys.Count.closed) == closed + 1)
    assert len(toys.Count.yielded) <= yielded + 1
    assert toys.Count.closed[-1] - toys.Count.yielded[-1] < CLOSED_WITHIN_S
    assert toys.Count.left[-1]


@pytest.mark.parametrize("model", ["count", "count-async"])
async def test_deadline(worker: Worker, model: str) -> None:
    """A deadline ends a stream with an event that says so."""
    timeout = {"x-graphmesh-timeout-ms": "250"}
    path = f"/v1/models/{model}:predictStream"
    async with post(worker.http_port, path, b'{"n": 1000, "pause_s": 0.05}', headers=timeout) as answer:
        *events, last = [event async for event in answer.events()]
    assert events
    assert orjson.loads(last.partition("data: ")[2])["status"] == "DEADLINE_EXCEEDED"


async def test_streams_are_bounded(worker: Worker, toys: ModuleType) -> None:
    """A stream over HTTP is bounded by the size of a message, whoever reads it; then it ends with an error."""
    before = toys.Blocks.made
    async with post(worker.http_port, "/v1/models/blocks:predictStream", b'{"n": 100000, "size": 20000}') as answer:
        *events, last = [event async for event in answer.events()]
    assert len(events) < (1 << 20) / 40_000
    assert orjson.loads(last.partition("data: ")[2])["status"] == "RESOURCE_EXHAUSTED"
    assert toys.Blocks.made - before < len(events) + 5


async def test_a_generator_that_never_waits_leaves_others_alone(worker: Worker, http: Http) -> None:
    """Probes are answered while a stream is sent as fast as it can be made."""
    async with post(worker.http_port, COUNT, b'{"n": 1000000, "pause_s": 0}') as answer:
        events = answer.events()
        await anext(events)
        async with asyncio.timeout(1):
            assert (await http(worker.http_port, "/healthz/live")).status == 200


TOKENS = {"text_input": "a b c", "grid": [1, 2, 3, 4], "scale": 10, "id": "i"}


async def test_generate(worker: Worker, http: Http) -> None:
    """Fields named like inputs are inputs, others parameters; outputs of one element are bare."""
    body = orjson.dumps({"text_input": "word", "grid": [[1, 2]], "parameters": {"scale": 7}, "id": "i"})
    reply = await http(worker.http_port, "/v2/models/tokens/generate", body)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    expected = {"id": "i", "model_name": "tokens", "model_version": "1", "text_output": "word", "index": 0}
    assert reply.json == {**expected, "shape": [1, 2]}
    reply = await http(worker.http_port, "/v2/models/upper/versions/1/generate", b'{"text": "loud"}')
    assert reply.json == {"model_name": "upper", "model_version": "1", "output": "LOUD"}


@pytest.mark.parametrize("text", ["", "two words"])
async def test_generate_takes_one_answer(worker: Worker, http: Http, text: str) -> None:
    """A model that gives none or several answers is an error, in Triton's words."""
    body = orjson.dumps({"text_input": text, "grid": [1, 2]})
    reply = await http(worker.http_port, "/v2/models/tokens/generate", body)
    assert reply.status == 400
    assert str(reply.json["error"]).startswith("generate expects model to produce exactly 1 response")


async def test_generate_stream(worker: Worker) -> None:
    """Each answer is an event of flat JSON; a later error is one too, as from Triton."""
    path = "/v2/models/tokens/generate_stream"
    async with post(worker.http_port, path, orjson.dumps(TOKENS)) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        facts = [orjson.loads(event.removeprefix("data: ")) async for event in answer.events()]
    assert [(one["text_output"], one["index"], one["id"]) for one in facts] == [
        ("a", 0, "i"),
        ("b", 10, "i"),
        ("c", 20, "i"),
    ]
    assert facts[0]["shape"] == [2, 2]
    body = b'{"n": 3, "pause_s": 0, "fail_at": 1}'
    async with post(worker.http_port, "/v2/models/count/versions/1/generate_stream", body) as answer:
        first, last = [orjson.loads(event.removeprefix("data: ")) async for event in answer.events()]
    assert (first["output"], last["error"]) == (0, "fails at 1 on purpose")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"text_input": "a"}, "grid"),
        ({"text_input": 5, "grid": [1, 2]}, "text_input"),
        ({"text_input": "a", "grid": [1, 2, 3]}, "grid"),
        ({"text_input": ["a", "b"], "grid": [1, 2]}, "text_input"),
        ({"text_input": "a", "grid": [1, 2], "more": {"a": 1}}, "more"),
        ({"text_input": "a", "grid": [1, 2], "parameters": 5}, "parameters"),
        ({"text_input": "a", "grid": [1, 2], "parameters": {"deep": {}}}, "deep"),
        ({"text_input": "a", "grid": [1, 2], "parameters": {"grid": 1}}, "grid"),
        ({"text_input": "a", "grid": [1, 2], "id": 5}, "id"),
        ({"text_input": "a", "grid": [1, 2], "sequence_id": 5}, "sequence_id"),
        ([], "object"),
    ],
)
async def test_generate_names_what_is_wrong(worker: Worker, http: Http, body: object, told: str) -> None:
    """What cannot be understood is refused by name, before anything is sent."""
    for path in ("generate", "generate_stream"):
        reply = await http(worker.http_port, f"/v2/models/tokens/{path}", orjson.dumps(body))
        assert reply.status in {400, 501}
        assert told in str(reply.json["error"])


async def test_pushback_and_headers(worker: Worker, http: Http) -> None:
    """A refusal says when to come again; a model sees all headers and sets its own, on every path of HTTP."""
    reply = await http(worker.http_port, "/v1/models/sluggish:predict", b'{"x": [1]}')
    assert (reply.status, reply.headers["retry-after"]) == (429, "2")
    headers = {"x-mine": "yes", "x-request-id": "r1"}
    for path, body in (("v1/models/echo:predict", {"name": "x-mine"}), ("v2/models/echo/generate", {"name": "x-mine"})):
        reply = await http(worker.http_port, f"/{path}", orjson.dumps(body), headers=headers)
        assert reply.headers["x-echo"] == "r1"
        assert b'"yes"' in reply.body
