"""Streams over gRPC: Triton's wrapper, its final answers, concurrency, forwarding, leaving, PredictStream."""

from __future__ import annotations

import asyncio
import gzip
import time
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import Mock

import grpc
import grpc.aio
import numpy as np
import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from graphmesh.core.inference import InferenceRequest
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.v1 import inference_service_pb2, inference_service_pb2_grpc
from graphmesh.worker.forms.wire import encode_request, response_from_message
from graphmesh.worker.rpc.servicer_stream import StreamServicer
from tests.worker.streams import CLOSED_WITHIN_S, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import ModuleType

    from graphmesh.worker.worker import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def channel(worker: Worker) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the worker."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as opened:
        yield opened


def _request(model: str, id: str = "", /, *, parameters: dict[str, Any] | None = None, **inputs: object) -> bytes:  # noqa: A002
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    return encode_request(InferenceRequest(model=model, inputs=arrays, id=id, parameters=parameters or {}))


def _count(n: int, pause_s: float = 0.0, id: str = "c", /, **parameters: object) -> bytes:  # noqa: A002
    return _request("count", id, parameters=parameters, n=n, pause_s=pause_s)


async def _answers(
    channel: grpc.aio.Channel,
    *messages: bytes,
    metadata: Sequence[tuple[str, str]] = (),
    timeout_s: float | None = None,
) -> list[pb.ModelStreamInferResponse]:
    call = channel.stream_stream(STREAM_INFER)(list(messages), metadata=metadata, timeout=timeout_s)
    return [pb.ModelStreamInferResponse.FromString(data) async for data in call]


def _final(answer: pb.ModelStreamInferResponse) -> bool:
    return answer.infer_response.parameters["triton_final_response"].bool_param


def _numbers(answers: list[pb.ModelStreamInferResponse]) -> list[int]:
    outputs = [response_from_message(answer.infer_response).outputs for answer in answers]
    return [int(one["output"]) for one in outputs if one]


async def test_streaming_model(channel: grpc.aio.Channel) -> None:
    """A generator's answers come one by one, none of them final, with the request's id."""
    for model in ("count", "count-async"):
        answers = await _answers(channel, _request(model, "i", n=5, pause_s=0.0))
        assert _numbers(answers) == [0, 1, 2, 3, 4]
        assert {(answer.infer_response.id, _final(answer)) for answer in answers} == {("i", False)}
    assert await _answers(channel, _count(0)) == []


async def test_empty_final_answer(channel: grpc.aio.Channel) -> None:
    """A message that asks for it is told the end of a stream by an empty answer; one answer alone is final itself."""
    asked = {"triton_enable_empty_final_response": True}
    *answers, last = await _answers(channel, _request("count", "i", parameters=asked, n=2, pause_s=0.0))
    assert (_numbers(answers), [_final(answer) for answer in answers]) == ([0, 1], [False, False])
    response = last.infer_response
    assert (_final(last), response.id, response.model_name, len(response.outputs)) == (True, "i", "count", 0)
    (only,) = await _answers(channel, _request("add", parameters=asked, x=np.ones(1, np.float32)))
    assert _final(only)


async def test_order_among_messages(channel: grpc.aio.Channel) -> None:
    """Streams, single answers and failures of one stream come in the order of their messages."""
    messages = (
        _count(3, 0.02, "a"),
        _request("add", "b", x=np.ones(1, np.float32)),
        _count(2, 0.0, "c"),
        _request("nothing", "d"),
        b"\xff",
        _request("add", "e", x=np.ones(1, np.float32)),
    )
    answers = await _answers(channel, *messages)
    assert [answer.infer_response.id for answer in answers] == ["a", "a", "a", "b", "c", "c", "d", "", "e"]
    assert [bool(answer.error_message) for answer in answers] == [False] * 6 + [True, True, False]
    assert _final(answers[6])


async def test_single_answers_run_side_by_side(channel: grpc.aio.Channel) -> None:
    """Messages to models that answer once are worked on at a time, and no more than 32 of them."""
    started = time.monotonic()
    answers = await _answers(channel, *[_request("sleep", str(i), seconds=0.2) for i in range(40)])
    assert 0.35 < time.monotonic() - started < 2
    assert [answer.infer_response.id for answer in answers] == [str(i) for i in range(40)]


async def test_large_messages_are_not_piled_up(channel: grpc.aio.Channel) -> None:
    """Messages that are too large together for one message are worked on one after the other, small ones again not."""
    large = _request("add", "large", x=np.ones(150_000, np.float32))
    answers = await _answers(channel, *[large] * 5, *[_request("sleep", "s", seconds=0.1)] * 20)
    assert [answer.infer_response.id for answer in answers] == ["large"] * 5 + ["s"] * 20
    assert not any(answer.error_message for answer in answers)


async def test_messages_of_one_stream_are_batched(worker: Worker, channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """A model that is batched gets the messages of one stream in batches, and each its own answer."""
    model = worker.catalog.find("together")
    assert model is not None
    messages = [_request("together", str(i), x=np.full(1, i, np.float32)) for i in range(64)]
    asked = asyncio.create_task(_answers(channel, *messages))
    await eventually(lambda: toys.Together.rows and model.waiting == 32 - toys.Together.rows[0])
    toys.Together.gate.set()
    answers = [response_from_message(answer.infer_response) for answer in await asked]
    assert [(answer.id, answer.outputs["y"].tolist()) for answer in answers] == [(str(i), [i + 1.0]) for i in range(64)]
    first, *rows = toys.Together.rows
    assert first + sum(rows) == 64
    assert rows[0] == min(16, 32 - first), "all that are worked on at a time must share batches"


async def test_errors_inside_a_stream(channel: grpc.aio.Channel) -> None:
    """What fails after some answers is told, without what is nobody's business, and the stream goes on."""
    answers = await _answers(
        channel,
        _count(3, 0.0, "a", fail_at=1),
        _count(3, 0.0, "b", break_at=2),
        _request("drifts", "d", n=2),
        _count(1),
    )
    told = [(answer.infer_response.id, answer.error_message[:33]) for answer in answers]
    assert told[:3] == [("a", ""), ("a", "fails at 1 on purpose"), ("b", "")]
    assert told[4:7] == [
        ("b", "model 'count' failed; the worker'"),
        ("d", ""),
        ("d", "model 'drifts' does not keep to i"),
    ]
    assert told[7] == ("c", "")
    assert "passwd" not in answers[4].error_message


async def test_strict_stream(channel: grpc.aio.Channel) -> None:
    """Whoever asks for statuses gets the first failure as one."""
    call = channel.stream_stream(STREAM_INFER)(
        [_count(3, 0.0, fail_at=1), _count(1)], metadata=[("triton_grpc_error", "true")]
    )
    await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_caller_that_leaves(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """A caller that leaves stops the generator at its next yield; its instance is free again."""
    call = channel.stream_stream(STREAM_INFER)([_count(1000, 0.2)])
    await call.read()
    await call.read()
    closed, yielded = len(toys.Count.closed), len(toys.Count.yielded)
    call.cancel()
    await eventually(lambda: len(toys.Count.closed) == closed + 1)
    assert len(toys.Count.yielded) <= yielded + 1
    assert toys.Count.closed[-1] - toys.Count.yielded[-1] < CLOSED_WITHIN_S
    assert toys.Count.left[-1]
    assert _numbers(await _answers(channel, _count(1))) == [0]


async def test_caller_of_async_generator_leaves(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """An async generator is ended where it waits."""
    call = channel.stream_stream(STREAM_INFER)([_request("count-async", n=1000, pause_s=0.05)])
    await call.read()
    closed = toys.CountAsync.closed
    call.cancel()
    await eventually(lambda: toys.CountAsync.closed == closed + 1)
    assert toys.CountAsync.running == 0


async def test_deadline(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """A deadline ends a stream with DEADLINE_EXCEEDED, and its generator."""
    closed = len(toys.Count.closed)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _answers(channel, _count(1000, 0.05), timeout_s=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: len(toys.Count.closed) == closed + 1)


class _Caller:
    """What the servicer sees of a call whose caller does not watch the clock itself."""

    def __init__(self, seconds: float) -> None:
        self.written: list[pb.ModelStreamInferResponse] = []
        self._seconds = seconds

    def invocation_metadata(self) -> tuple[()]:
        """Return none."""
        return ()

    def time_remaining(self) -> float:
        """Return what is left when the call comes."""
        return self._seconds

    async def send_initial_metadata(self, metadata: object) -> None:
        """Take the headers."""

    async def write(self, data: bytes) -> None:
        """Take an answer."""
        self.written.append(pb.ModelStreamInferResponse.FromString(data))

    async def abort(self, code: grpc.StatusCode, message: str, _: object) -> NoReturn:
        """End the call."""
        raise _AbortedError(code, message)


class _AbortedError(Exception):
    """The status that a call ended with."""


@pytest.mark.parametrize("model", ["count", "count-async"])
async def test_the_server_itself_ends_a_call_that_is_over(worker: Worker, model: str) -> None:
    """Whoever's clock is first: a stream that its deadline cut off never ends with OK."""
    servicer = StreamServicer(worker.handler, Mock(), max_message_bytes=1 << 20)
    caller = _Caller(0.3)

    async def messages() -> AsyncIterator[bytes]:
        yield _request(model, n=1000, pause_s=0.02)

    with pytest.raises(_AbortedError, match="before the last answer") as caught:
        await servicer.model_stream_infer(messages(), caller)
    assert caught.value.args[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not any(answer.error_message for answer in caller.written)


async def test_back_pressure(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """A generator waits for a caller that does not read."""
    before = toys.Blocks.made
    call = channel.stream_stream(STREAM_INFER)([_request("blocks", n=100_000, size=64_000)])
    await call.read()
    await asyncio.sleep(0.5)
    made = toys.Blocks.made
    assert (made - before) * 64_000 < 16 << 20
    while toys.Blocks.made == made:
        await call.read()
    call.cancel()


async def test_response_headers(channel: grpc.aio.Channel) -> None:
    """What a model sets before its first answer is initial metadata."""
    call = channel.stream_stream(STREAM_INFER)([_count(2)])
    assert ("x-count", "2") in tuple(await call.initial_metadata())
    await call.read()


async def test_other_models_are_called_through_the_mesh(
    channel: grpc.aio.Channel, other: Worker, toys: ModuleType
) -> None:
    """Later messages may name models that other workers host, whether they stream or not."""
    messages = (
        _count(1),
        _request("far", "f", x=np.ones(1, np.float32)),
        _request("far-count", "s", n=3, pause_s=0.0),
        _request("far-count", "t", parameters={"fail_at": 1}, n=3, pause_s=0.0),
    )
    answers = await _answers(channel, *messages)
    told = [(answer.infer_response.id, answer.error_message) for answer in answers]
    assert told == [("c", ""), ("f", ""), *[("s", "")] * 3, ("t", ""), ("t", "fails at 1 on purpose")]
    assert other.metrics.unknown == 0
    call = channel.stream_stream(STREAM_INFER)([_request("far-count", n=1000, pause_s=0.05)])
    await call.read()
    closed = len(toys.Count.closed)
    call.cancel()
    await eventually(lambda: len(toys.Count.closed) == closed + 1)


@pytest.mark.usefixtures("other")
async def test_a_call_is_passed_on_once(channel: grpc.aio.Channel) -> None:
    """What another worker passed on is not passed on again; its failure is a status."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _answers(channel, _request("far-count", n=1, pause_s=0.0), metadata=[("x-graphmesh-forwarded", "1")])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_compressed_messages(channel: grpc.aio.Channel) -> None:
    """Compressed messages are messages, the later ones too."""
    messages = [_count(1, 0.0, "a"), _request("add", "b", x=np.ones(1000, np.float32))] * 3
    call = channel.stream_stream(STREAM_INFER)(messages, compression=grpc.Compression.Gzip)
    answers = [pb.ModelStreamInferResponse.FromString(data) async for data in call]
    assert [(answer.infer_response.id, answer.error_message) for answer in answers] == [("a", ""), ("b", "")] * 3


async def test_compressed_messages_count_by_what_they_inflate_to(channel: grpc.aio.Channel) -> None:
    """Together the messages that are worked on are no larger than one may be, which is 1 MiB here."""
    large = {"text": "x" * (600 << 10)}
    messages = [_request("sleep", str(i), parameters=large, seconds=0.2) for i in range(3)]
    started = time.monotonic()
    call = channel.stream_stream(STREAM_INFER)(messages, compression=grpc.Compression.Gzip)
    answers = [pb.ModelStreamInferResponse.FromString(data) async for data in call]
    assert [(answer.infer_response.id, answer.error_message) for answer in answers] == [("0", ""), ("1", ""), ("2", "")]
    assert time.monotonic() - started > 0.55  # one after the other


async def test_message_that_inflates_to_too_much(channel: grpc.aio.Channel) -> None:
    """A message that cannot be inflated fails alone, in its turn."""
    good = _request("add", "b", x=np.ones(1, np.float32))
    answers = await _answers(channel, good, gzip.compress(bytes(2 << 20)), gzip.compress(good)[:-3], good)
    assert [bool(answer.error_message) for answer in answers] == [False, True, True, False]


async def test_predict_stream(channel: grpc.aio.Channel, toys: ModuleType) -> None:
    """PredictStream gives each answer as natural JSON, of models that answer once too."""
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)

    def call(model: str, body: bytes) -> Any:  # noqa: ANN401
        message = inference_service_pb2.PredictStreamRequest(model=model, body=httpbody_pb2.HttpBody(data=body))
        return stub.PredictStream(message)

    stream = call("count", b'{"n": 3, "pause_s": 0}')
    assert ("x-count", "3") in tuple(await stream.initial_metadata())
    answers = [orjson.loads(body.data) async for body in stream]
    assert [answer["outputs"] for answer in answers] == [{"output": 0}, {"output": 1}, {"output": 2}]
    (only,) = [body async for body in call("add", b'{"x": [1]}')]
    assert (only.content_type, orjson.loads(only.data)["outputs"]) == ("application/json", {"y": [3.0]})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [body async for body in call("count", b'{"n": "three"}')]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stream = call("count", b'{"n": 1000, "pause_s": 0.1}')
    await stream.read()
    closed = len(toys.Count.closed)
    stream.cancel()
    await eventually(lambda: len(toys.Count.closed) == closed + 1)
    assert toys.Count.closed[-1] - toys.Count.yielded[-1] < CLOSED_WITHIN_S


async def test_generate_stream(channel: grpc.aio.Channel) -> None:
    """GenerateStream gives each answer as flat JSON; a failure after the first is the call's, for a caller by gRPC."""
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)

    def call(body: bytes) -> Any:  # noqa: ANN401
        message = inference_service_pb2.GenerateStreamRequest(model="count", body=httpbody_pb2.HttpBody(data=body))
        return stub.GenerateStream(message)

    answers = [orjson.loads(body.data) async for body in call(b'{"n": 2, "pause_s": 0}')]
    assert [answer["output"] for answer in answers] == [0, 1]
    stream = call(b'{"n": 2, "pause_s": 0, "fail_at": 1}')
    assert orjson.loads((await stream.read()).data)["output"] == 0
    with pytest.raises(grpc.aio.AioRpcError, match="fails at 1") as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("accept", "content_type", "parts"),
    [
        ("*/*", "text/event-stream; charset=utf-8", (b"data: {", b"event: error\ndata: {", b"\n\n")),
        ("application/x-ndjson", "application/x-ndjson", (b"{", b"{", b"\n")),
    ],
)
async def test_predict_stream_by_rest(
    channel: grpc.aio.Channel, accept: str, content_type: str, parts: tuple[bytes, bytes, bytes]
) -> None:
    """Answers of a call that the gateway made of REST's are parts of one body, its late failure the last of them."""
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
    message = inference_service_pb2.PredictStreamRequest(model="drifts", body=httpbody_pb2.HttpBody(data=b'{"n": 2}'))
    path = "/v1/models/drifts:predictStream"
    stream = stub.PredictStream(message, metadata=[("x-envoy-original-path", path), ("accept", accept)])
    assert ("cache-control", "no-cache") in tuple(await stream.initial_metadata())
    first, last = [body async for body in stream]
    assert {first.content_type, last.content_type} == {content_type}
    before, before_error, after = parts
    assert first.data.startswith(before)
    assert last.data.startswith(before_error)
    assert orjson.loads(last.data.removeprefix(before_error[:-1]))["status"] == "INTERNAL"
    assert (first.data.endswith(after), last.data.endswith(after)) == (True, True)


async def test_unary_call_of_a_model_that_streams(channel: grpc.aio.Channel) -> None:
    """A model that streams has no single answer: UNIMPLEMENTED, and how to call it."""
    with pytest.raises(grpc.aio.AioRpcError, match="ModelStreamInfer") as caught:
        await channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(_count(1))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_pushback_and_headers_of_unary_calls(channel: grpc.aio.Channel) -> None:
    """A refusal's pushback is in the trailers; what a model sets is initial metadata, and it sees what came."""
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(_request("sluggish", x=np.ones(1, np.float32)))
    assert ("grpc-retry-pushback-ms", "1500") in tuple(caught.value.trailing_metadata())
    name = np.array(b"x-mine", dtype=object)
    call = infer(_request("echo", name=name), metadata=[("x-mine", "yes"), ("x-request-id", "r1")])
    answer = response_from_message(pb.ModelInferResponse.FromString(await call))
    assert answer.outputs["output"].item() == b"yes"
    assert ("x-echo", "r1") in tuple(await call.initial_metadata())
