"""Batched models behind a worker: batches, bad items, deadlines, priorities, pushback.

A model is held where a test needs it to be busy until something else has happened: how long that takes on a busy
machine is nobody's guess.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import orjson
import pytest
import pytest_asyncio

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import DeadlinePassed, GraphmeshError, InvalidRequest, ModelFailed, Overloaded
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.graph.running.limits import MISSES_DEADLINE
from graphmesh.registry import MemoryKV, ModelState, Registry
from graphmesh.worker import Batching, ModelConfig, WorkerConfig
from graphmesh.worker.forms.wire import encode_request
from graphmesh.worker.worker import Worker
from tests.worker.batching_models import SEEN, held
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from graphmesh.worker.metrics.counts import CallMetrics

    Http = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.worker.batching_models"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


def model(kind: str, name: str = "", /, **options: Any) -> ModelConfig:  # noqa: ANN401
    """Return the configuration of a class of batching_models.py."""
    return ModelConfig(name=name or kind.lower(), source=f"{MODULE}:{kind}", **options)


def slow(kind: str, name: str, /, seconds: float = 0.05, **options: Any) -> ModelConfig:  # noqa: ANN401
    """Return one that takes a while and keeps what it saw under its own name."""
    return model(kind, name, parameters={"name": name, "seconds": seconds}, **options)


MODELS = (
    slow("Double", "double"),
    slow("DoubleAsync", "doubleasync"),
    slow("Plain", "operator", batching=Batching(max_batch_size=4)),
    slow("Plain", "plain"),
    slow("Plain", "patient", seconds=0.3),
    model("Wait", "wait", parameters={"name": "wait"}),
    model("Ragged"),
    model("Told"),
    model("Short"),
    model("Fixed"),
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker() -> AsyncIterator[Worker]:
    """A worker with all of them."""
    async with (
        Registry(MemoryKV()) as registry,
        Worker(WorkerConfig(worker_id="w", models=MODELS), registry) as running,
    ):
        yield running


def request(name: str, *rows: float, deadline_s: float = 0.0, **parameters: int | str | bool) -> InferenceRequest:
    """Return a call with these rows."""
    return InferenceRequest(
        model=name,
        inputs={"x": np.array(rows, dtype=np.float32)},
        deadline=Deadline.after(deadline_s) if deadline_s else NO_DEADLINE,
        parameters=parameters,
    )


def ask(worker: Worker, name: str, *rows: float, **options: Any) -> asyncio.Task[InferenceResponse]:  # noqa: ANN401
    """Call a model."""
    return asyncio.ensure_future(worker.handler.infer(request(name, *rows, **options)))


def y(response: InferenceResponse) -> list[float]:
    """Return the output."""
    return list(response.outputs["y"].tolist())


def metrics(worker: Worker, name: str) -> CallMetrics:
    """Return what is counted of a model."""
    found = worker.catalog.find(name)
    assert found is not None
    return found.metrics


async def until(worker: Worker, name: str, running: int, waiting: int) -> None:
    """Return once so many calls of a model run and wait."""
    found = worker.catalog.find(name)

    def counts() -> tuple[int, int]:
        now = found._execution.statistics  # type: ignore[union-attr]
        return now.running, now.waiting

    await eventually(lambda: counts() == (running, waiting))


@pytest.mark.parametrize("name", ["double", "doubleasync", "operator"])
async def test_calls_share_batches_and_get_their_own_rows(worker: Worker, name: str) -> None:
    """Calls that come while the model is busy run together, sync and async, by author's or operator's choice."""
    SEEN[name].clear()
    with held(name):
        calls = [ask(worker, name, 0, 1)]
        await until(worker, name, 1, 0)
        calls += [ask(worker, name, *rows) for rows in ((2,), (3, 4, 5), (6,))]
        await until(worker, name, 1, 3)
    assert [y(await call) for call in calls] == [[0, 2], [4], [6, 8, 10], [12]]
    assert [len(batch) for batch in SEEN[name]] == ([2, 4, 1] if name == "operator" else [2, 5])


async def test_explain_tells_the_batch(worker: Worker) -> None:
    """The answer's explanation says how many rows the batch had."""
    with held("double"):
        first = ask(worker, "double", 1)
        await until(worker, "double", 1, 0)
        started = time.monotonic()
        others = [ask(worker, "double", 1, 2, explain=True) for _ in range(3)]
        await until(worker, "double", 1, 3)
    await first
    answers = await asyncio.gather(*others)
    took_ms = (time.monotonic() - started) * 1000
    for answer in answers:
        facts = orjson.loads(str(answer.parameters["explain"]))
        assert facts["batch_rows"] == 6
        assert facts["queue_ms"] > 0
        assert facts["compute_ms"] > 40
        assert facts["batch_ms"] > 0
        assert facts["queue_ms"] + facts["batch_ms"] + facts["compute_ms"] < took_ms + 0.01


@pytest.mark.parametrize("name", ["double", "doubleasync"])
async def test_bad_item_fails_alone_with_its_own_error(worker: Worker, name: str) -> None:
    """Of a batch with two bad calls the others are answered; each bad one gets its own code, no text leaks."""
    SEEN[name].clear()
    with held(name):
        first = ask(worker, name, 0)
        await until(worker, name, 1, 0)
        calls = [ask(worker, name, *rows) for rows in ((1,), (-1,), (2, 3), (-20,))]
        await until(worker, name, 1, 4)
    await first
    good, typed, also_good, other = await asyncio.gather(*calls, return_exceptions=True)
    assert not isinstance(good, BaseException)
    assert not isinstance(also_good, BaseException)
    assert (y(good), y(also_good)) == ([2], [4, 6])
    assert isinstance(typed, InvalidRequest)
    assert typed.message == "rows must not be negative"
    assert isinstance(other, ModelFailed)
    assert "secret" not in other.message
    assert SEEN[name] == [[0], [1, -1, 2, 3, -20], [1], [-1], [2, 3], [-20]]


async def test_every_call_has_its_context(worker: Worker) -> None:
    """A batched model gets a context a call, in order, with its rows; the headers it sets reach their own caller."""
    with held("told"):
        first = ask(worker, "told", 0, who="first")
        await until(worker, "told", 1, 0)
        calls = [ask(worker, "told", *range(1, 1 + rows), who=f"c{rows}") for rows in (1, 2, 3)]
        await until(worker, "told", 1, 3)
    await first
    for rows, response in enumerate(await asyncio.gather(*calls), 1):
        assert y(response) == [rows] * rows
        assert response.headers == {"x-who": f"c{rows}"}


async def test_ragged_calls_are_padded_and_cut_back(worker: Worker, http: Http) -> None:
    """Calls of several lengths share a batch of an allowed length; their answers have their own, text too."""
    SEEN.setdefault("ragged", []).clear()

    async def call(length: int) -> Any:  # noqa: ANN401
        ids, text = [[1] * length], [["é"] * length]
        body = orjson.dumps({"ids": ids, "text": text})
        reply = await http(worker.http_port, "/v1/models/ragged:predict", body)
        assert reply.json["outputs"] == {"sums": [length], "same": ids, "words": text}

    with held("ragged"):
        first = asyncio.create_task(call(6))
        await until(worker, "ragged", 1, 0)
        calls = [asyncio.create_task(call(length)) for length in (1, 2, 3, 4, 5, 8)]
        await until(worker, "ragged", 1, 6)
    await asyncio.gather(first, *calls)
    assert SEEN["ragged"][0] == [1, 8]
    assert sorted(SEEN["ragged"][1:]) == [[2, 8], [4, 4]]
    reply = await http(
        worker.http_port, "/v1/models/ragged:predict", orjson.dumps({"ids": [[1] * 9], "text": [["a"] * 9]})
    )
    assert reply.status == 400
    assert "T must be at most 8, got 9" in reply.json["error"]


async def test_output_without_the_batchs_rows(worker: Worker) -> None:
    """A model that gives another number of rows is to blame, and the message says so."""
    with pytest.raises(ModelFailed, match="one row for each of the batch's 2"):
        await ask(worker, "short", 1, 2)


async def test_rows_are_required(worker: Worker) -> None:
    """A call of a batched model brings a row."""
    with pytest.raises(InvalidRequest, match="at least 1 row"):
        await ask(worker, "double")


async def test_model_that_cannot_be_batched_fails_to_load(worker: Worker) -> None:
    """What cannot be batched is not announced, and says what to change."""
    hosted = worker.catalog.find("fixed")
    assert hosted is not None
    assert hosted.state is ModelState.FAILED
    assert "axis 0" in hosted.message


async def test_priorities(worker: Worker) -> None:
    """Waiting calls run by their priority: 1 first, nothing said is 5, 9 last."""
    SEEN["wait"].clear()
    with held("wait"):
        first = ask(worker, "wait", 0)
        await until(worker, "wait", 1, 0)
        calls = [
            ask(worker, "wait", 0.001 * mark, **({"priority": p} if p else {}))
            for mark, p in enumerate((9, 0, 1, 5), 1)
        ]
        await until(worker, "wait", 1, 4)
    await asyncio.gather(first, *calls)
    assert [round(batch[0] * 1000) for batch in SEEN["wait"]] == [0, 3, 2, 4, 1]


@pytest.mark.parametrize("parameters", [{"priority": 10}, {"priority": -1}, {"timeout": "soon"}, {"timeout": True}])
@pytest.mark.parametrize("name", ["double", "plain", "doubleasync"])
async def test_parameters_that_mean_nothing(worker: Worker, name: str, parameters: dict[str, Any]) -> None:
    """A priority or timeout that is none is refused."""
    with pytest.raises(InvalidRequest, match="parameter"):
        await ask(worker, name, 1, **parameters)


async def test_deadline_that_the_model_alone_misses(worker: Worker) -> None:
    """Once its cost is known, a call that cannot make it is refused at once, though nothing waits."""
    for _ in range(3):
        await ask(worker, "patient", 1)
    ran = len(SEEN["patient"])
    started = time.monotonic()
    with pytest.raises(DeadlinePassed, match="model 'patient' version 1 alone takes"):
        await ask(worker, "patient", 1, deadline_s=0.28)
    assert time.monotonic() - started < 0.14, "must not be told when half of the deadline is over"
    assert len(SEEN["patient"]) == ran
    assert y(await ask(worker, "patient", 1, deadline_s=10)) == [2]
    assert metrics(worker, "patient").refusals == {"deadline": 1}


@contextlib.asynccontextmanager
async def _piled_up(worker: Worker, name: str, count: int) -> AsyncIterator[list[asyncio.Task[InferenceResponse]]]:
    """Have calls of a model run and wait whose times are known; at the end they are answered."""
    for _ in range(3):
        await ask(worker, name, 1)
    with held(name):
        calls = [ask(worker, name, 1) for _ in range(count)]
        await until(worker, name, 1, count - 1)
        yield calls
    assert [y(await call) for call in calls] == [[2]] * count


async def test_deadline_that_the_queue_makes_impossible(worker: Worker) -> None:
    """A call that would be too late because of the queue is refused at once, with a pause of about the queue."""
    async with _piled_up(worker, "plain", 12):
        started = time.monotonic()
        with pytest.raises(Overloaded, match="too long to be done by its deadline") as caught:
            await ask(worker, "plain", 1, deadline_s=0.3)
        assert time.monotonic() - started < 0.15, "must not be told when half of the deadline is over"
        assert 0.3 < caught.value.retry_after_s < 3
        assert caught.value.metadata == MISSES_DEADLINE


async def test_timeout_is_how_long_a_call_will_wait(worker: Worker) -> None:
    """A call whose timeout is shorter than the predicted wait is refused, one that is patient is not."""
    async with _piled_up(worker, "plain", 4):
        with pytest.raises(Overloaded, match="longer than the request's timeout"):
            await ask(worker, "plain", 1, timeout=50_000)
        patient = ask(worker, "plain", 1, timeout=20_000_000)
        await until(worker, "plain", 1, 4)
    assert y(await patient) == [2]


async def test_pushback_over_http(worker: Worker, http: Http) -> None:
    """A refusal says when to come back: Retry-After over REST, grpc-retry-pushback-ms on the fast path."""
    body = encode_request(request("plain", 1))
    async with _piled_up(worker, "plain", 12):
        headers = {"x-graphmesh-timeout-ms": "300"}
        reply = await http(worker.http_port, "/v1/models/plain:predict", b'{"x": [1]}', headers=headers)
        fast = await http(worker.http_port, MODEL_INFER, body, headers={"grpc-timeout": "300m"})
    assert reply.status == 429
    pause_ms = int(reply.headers["grpc-retry-pushback-ms"])
    assert 300 <= pause_ms <= 3000
    assert reply.headers["retry-after"] == str(math.ceil(pause_ms / 1000))
    assert fast.headers["grpc-status"] == "8"
    assert 300 <= int(fast.headers["grpc-retry-pushback-ms"]) <= 3000


async def test_pushback_over_grpc(worker: Worker) -> None:
    """Plain gRPC carries the pushback in its trailers."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as channel:
        await channel.channel_ready()
        async with _piled_up(worker, "plain", 24):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(MODEL_INFER)(encode_request(request("plain", 1)), timeout=0.8)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            trailers = dict(caught.value.trailing_metadata() or ())
            assert 800 <= int(trailers["grpc-retry-pushback-ms"]) <= 6000


async def test_expired_and_abandoned_calls_are_never_computed(worker: Worker) -> None:
    """What waits for a model that is busy longer than expected leaves before compute."""
    await until(worker, "wait", 0, 0)
    SEEN["wait"].clear()
    with held("wait"):
        first = ask(worker, "wait", 0)
        await until(worker, "wait", 1, 0)
        left = [ask(worker, "wait", 0.0001) for _ in range(5)]
        await until(worker, "wait", 1, 5)
        for call in left:
            call.cancel()
        deadline_s = 0.1
        late = [ask(worker, "wait", 0.0002, deadline_s=deadline_s) for _ in range(5)]
        await asyncio.sleep(deadline_s * 1.1)
    assert y(await first) == [0]
    assert all(isinstance(error, GraphmeshError) for error in await asyncio.gather(*late, return_exceptions=True))
    await until(worker, "wait", 0, 0)
    assert all(call.cancelled() for call in left)
    assert SEEN["wait"] == [[0]]


async def test_overload_is_shed_early_and_the_rest_is_in_time(worker: Worker) -> None:
    """At three times its capacity a model goes on at full speed: answers in time, refusals in milliseconds."""
    for _ in range(5):
        await ask(worker, "plain", 1)
    deadline_s, answered, refused, late = 0.5, list[float](), list[float](), list[float]()
    counts = metrics(worker, "plain").batches[1]
    ran, computed_s = counts.executions, counts.compute_s

    async def caller() -> None:
        started = time.monotonic()
        try:
            await ask(worker, "plain", 1, deadline_s=deadline_s)
        except Overloaded:
            refused.append(time.monotonic() - started)
        except DeadlinePassed:
            late.append(time.monotonic() - started)
        else:
            answered.append(time.monotonic() - started)

    calls = []
    started = time.monotonic()
    for _ in range(120):  # 60 a second for 2 seconds, of a model that can 20 a second
        calls.append(asyncio.ensure_future(caller()))
        await asyncio.sleep(max(0.0, started + len(calls) / 60 - time.monotonic()))
    asked_s = time.monotonic() - started
    await asyncio.gather(*calls)
    assert len(answered) + len(refused) + len(late) == 120
    assert len(late) <= 6, "what was taken in must be computed, but for the few that a busy machine holds up"
    assert counts.compute_s - computed_s > 0.75 * asked_s
    assert len(answered) == counts.executions - ran, "what was computed must be of use"
    assert _quantile(answered, 0.9) < deadline_s
    assert _quantile(refused, 0.5) < 0.01


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]
