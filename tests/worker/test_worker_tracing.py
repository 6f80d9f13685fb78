"""Traces: what is recorded, below what, and what it costs when nothing is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import timeit
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
import numpy as np
import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from graphmesh.core.errors import Cancelled, DeadlinePassed, GraphmeshError, NotFound
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.core.signature import Signature
from graphmesh.graph.forms.wire import graph_to_bytes
from graphmesh.graph.spec import Binding, Graph, GraphInput
from graphmesh.registry import GatewayRecord, MemoryKV, Registry
from graphmesh.worker import WorkerConfig
from graphmesh.worker.forms.wire import encode_request, response_from_wire
from graphmesh.worker.http.routes import FAST_PATH
from graphmesh.worker.tracing import Tracing, start_tracing
from graphmesh.worker.tracing.context import Parent, read_parent, travelling
from graphmesh.worker.tracing.sampling import Sampling, read_sampling
from graphmesh.worker.worker import Worker
from tests.graph.pictured import model, types
from tests.worker.conftest import toy
from tests.worker.otlp import Collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from graphmesh.worker.handler import Servable

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
UNSAMPLED = f"00-{TRACE}-{CALLER}-00"


class Recorded:
    """Spans of both workers."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def tracing(self, instance: str, sampling: Sampling) -> Tracing:
        """Return tracing that ends here."""
        tracing = Tracing(sampling, instance=instance)
        tracing.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return tracing

    def take(self) -> dict[str, ReadableSpan]:
        """Return what was recorded since the last time, by kind and name."""
        spans = self.exporter.get_finished_spans()
        self.exporter.clear()
        return {f"{span.kind.name} {span.name}": span for span in spans}


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    """Where spans end."""
    return Recorded()


@pytest.fixture
def alone() -> Recorded:
    """Where the spans of one test end."""
    return Recorded()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def near(recorded: Recorded) -> AsyncIterator[Worker]:
    """A worker that traces and runs a graph; of its two steps one is on another worker, which traces, too."""
    every = Sampling(1.0, follows=True)
    graph = Graph(
        name="chain",
        inputs=(GraphInput(name="x"),),
        nodes=(model("one", "add", x="x"), model("two", "far", x="one.y")),
        outputs=(Binding(name="y", source="two.y"),),
    )
    signature = Signature(inputs=(types(x="FP32 (N,)")["x"],), outputs=(types(y="FP32 (N,)")["y"],))
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(MemoryKV()))
        configs = [
            WorkerConfig(worker_id="w2", models=(toy("Add", name="far"),)),
            WorkerConfig(worker_id="w1", models=(toy("Add"), toy("Words"))),
        ]
        workers = []
        for config in configs:
            tracing = recorded.tracing(config.worker_id, every)
            stack.callback(tracing.close)
            workers.append(await stack.enter_async_context(Worker(config, registry, tracing=tracing)))
        far, worker = workers
        gateway = GatewayRecord(gateway_id="g", host="127.0.0.1", port=far.grpc_port)
        await stack.enter_async_context(await registry.register_gateway(gateway))
        await registry.put_graph("chain", graph_to_bytes(graph), signature)
        await worker._mirror.wait_for(lambda seen: "chain" in seen.graphs and bool(seen.gateways), 5.0)
        yield worker


async def call(worker: Worker, name: str, *headers: tuple[str, str], explain: bool = False) -> InferenceResponse:
    """Call a model or graph over gRPC."""
    request = InferenceRequest(model=name, inputs={"x": np.ones(2, np.float32)})
    if explain:
        request.parameters = {"explain": True}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as channel:
        return response_from_wire(await channel.unary_unary(FAST_PATH)(encode_request(request), metadata=headers))


def hexadecimal(span: ReadableSpan) -> tuple[str, str, str]:
    """Return a span's trace, its own id and its parent's."""
    context = span.context
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{span.parent.span_id:016x}" if span.parent else ""


async def test_one_trace_from_the_caller_to_every_step(near: Worker, recorded: Recorded) -> None:
    """Each call is a span below the one that made it, across workers; times and places are attributes."""
    recorded.take()
    response = await call(near, "chain", ("traceparent", PARENT), ("tracestate", "vendor=1"), ("baggage", "user=7"))
    assert response.outputs["y"].tolist() == [3.0, 3.0]
    assert "explain" not in response.parameters
    spans = recorded.take()
    graph = spans.pop("SERVER infer chain")
    fused = spans.pop("INTERNAL infer add")
    sent = spans.pop("CLIENT call far")
    there = spans.pop("SERVER infer far")
    assert spans == {}
    assert {hexadecimal(span)[0] for span in (graph, fused, sent, there)} == {TRACE}
    assert hexadecimal(graph)[2] == CALLER
    assert hexadecimal(fused)[2] == hexadecimal(sent)[2] == hexadecimal(graph)[1]
    assert hexadecimal(there)[2] == hexadecimal(sent)[1]
    assert all(span.context.trace_state.get("vendor") == "1" for span in (graph, fused, sent, there))
    attributes = [dict(span.attributes or {}) for span in (graph, fused, sent, there)]
    assert [one.get("graphmesh.node") for one in attributes] == [None, "one", "two", None]
    assert [one["graphmesh.worker"] for one in attributes] == ["w1", "w1", "w2", "w2"]
    assert (attributes[0]["graphmesh.graph"], attributes[3]["graphmesh.model"]) == ("chain", "far")
    assert {"graphmesh.compute_ms", "graphmesh.network_ms", "graphmesh.serialise_ms"} <= set(attributes[2])
    assert graph.resource.attributes["service.name"] == "graphmesh"
    assert [span.resource.attributes["service.instance.id"] for span in (graph, there)] == ["w1", "w2"]


@pytest.mark.parametrize("records", [True, False])
async def test_a_context_goes_on_to_every_step(near: Worker, monkeypatch: pytest.MonkeyPatch, *, records: bool) -> None:
    """What the caller said to services further on reaches them as it came; so does its span if this worker has none."""
    sent: list[dict[str, str]] = []
    call_on = near._mesh._call

    async def remember(address: str, body: bytes, request: InferenceRequest, *rest: Any) -> InferenceResponse:  # noqa: ANN401
        sent.append(dict(request.headers))
        return await call_on(address, body, request, *rest)

    monkeypatch.setattr(near._mesh, "_call", remember)
    if not records:
        monkeypatch.setattr(near._mesh, "_tracing", None)
        monkeypatch.setattr(near.handler, "_tracing", None)
    await call(near, "chain", ("traceparent", PARENT), ("tracestate", "a=1,b=2"), ("baggage", "k=v%20w;p=1"))
    (headers,) = sent
    assert (headers["tracestate"], headers["baggage"]) == ("a=1,b=2", "k=v%20w;p=1")
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert (headers["traceparent"] == PARENT) is not records


async def test_who_asks_for_an_explanation_gets_it(near: Worker) -> None:
    """Recording takes nothing away: network and encoding times are in the answer, too."""
    response = await call(near, "chain", ("traceparent", PARENT), explain=True)
    nodes = {node["node"]: node for node in orjson.loads(str(response.parameters["explain"]))["nodes"]}
    assert nodes["two"]["network_ms"] >= 0
    assert nodes["two"]["serialise_ms"] > 0
    assert "network_ms" not in nodes["one"]


async def test_a_trace_begins_here_without_a_caller(near: Worker, recorded: Recorded) -> None:
    """Without `traceparent`, or with one that cannot be read, the span has no parent and the trace is new."""
    recorded.take()
    await call(near, "add")
    await call(near, "add", ("traceparent", "00-nonsense-01"))
    spans = recorded.exporter.get_finished_spans()
    assert [hexadecimal(span)[2] for span in spans] == ["", ""]
    assert len({hexadecimal(span)[0] for span in spans}) == 2


async def test_what_the_caller_does_not_record_is_not_recorded(near: Worker, recorded: Recorded) -> None:
    """The decision of whoever began the trace holds for all its calls."""
    recorded.take()
    await call(near, "chain", ("traceparent", UNSAMPLED))
    assert recorded.take() == {}


async def test_an_error_marks_its_span(near: Worker, recorded: Recorded) -> None:
    """A call that fails has its code and message on its span."""
    recorded.take()
    with pytest.raises(grpc.aio.AioRpcError):
        await call(near, "words", ("traceparent", PARENT))
    span = recorded.take()["SERVER infer words"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"


class _Servable:
    platform = "graphmesh_graph"


def _tracing(alone: Recorded, *, rate: float = 1.0) -> Tracing:
    return alone.tracing("w", Sampling(rate, follows=True))


async def test_steps_that_call_nothing_are_spans(alone: Recorded) -> None:
    """Composed steps and transforms are below their graph's span, when they were, with what they noted."""
    alone.take()
    branch = {"node": "route/cut", "kind": "transform", "outcome": "INTERNAL", "start_ms": 1.0, "duration_ms": 1.0}
    route = {
        "node": "route",
        "kind": "switch",
        "outcome": "ok",
        "start_ms": 1.0,
        "duration_ms": 2.0,
        "branches": [branch],
    }
    route["notes"] = {"chosen": ["a", "b"]}
    document = {"nodes": [route, {"node": "m", "calls": 1}]}

    async def run(_servable: Servable, request: InferenceRequest) -> InferenceResponse:
        return InferenceResponse(
            model="g", version="1", outputs={}, parameters={"explain": orjson.dumps(document).decode(), "other": 1}
        )

    request = InferenceRequest(model="g", inputs={})
    tracing = _tracing(alone)
    response = await tracing.run(run, cast("Servable", _Servable), request)
    tracing.close()
    assert response.parameters == {"other": 1}
    spans = alone.take()
    assert sorted(spans) == ["INTERNAL infer g", "INTERNAL run route", "INTERNAL run route/cut"]
    parent, step, cut = (spans[name] for name in sorted(spans))
    assert hexadecimal(step)[2] == hexadecimal(cut)[2] == hexadecimal(parent)[1]
    assert (step.attributes or {})["graphmesh.chosen"] == "a, b"
    assert cut.status.status_code is StatusCode.ERROR
    assert step.start_time is not None
    assert step.end_time is not None
    assert step.end_time - step.start_time == 2_000_000


@pytest.mark.parametrize(
    ("ending", "code"), [("cancel", "CANCELLED"), ("fail", "NOT_FOUND"), ("close", None), ("end", None)]
)
async def test_a_stream_is_one_span(alone: Recorded, ending: str, code: str | None) -> None:
    """However it ends, its span ends with it, its steps told once; a caller that has enough is no error."""
    alone.take()

    step = {"node": "route", "kind": "switch", "outcome": "ok", "start_ms": 1.0, "duration_ms": 2.0}
    explain = orjson.dumps({"nodes": [step]}).decode()

    async def stream(_servable: Servable, request: InferenceRequest) -> Any:  # noqa: ANN401 - a generator
        for _ in range(2):
            yield InferenceResponse(model="g", version="1", outputs={}, parameters={"explain": explain})
        if ending == "cancel":
            raise asyncio.CancelledError
        if ending == "fail":
            raise NotFound("no")

    tracing = _tracing(alone)
    answers = tracing.stream(stream, cast("Servable", _Servable), InferenceRequest(model="g", inputs={}))
    with contextlib.suppress(asyncio.CancelledError, GraphmeshError):
        async with contextlib.aclosing(answers):
            async for answer in answers:
                assert answer.parameters == {}
                if ending == "close":
                    break
    tracing.close()
    assert sorted(span.name for span in alone.exporter.get_finished_spans()) == ["infer g", "run route"]
    span = alone.take()["INTERNAL infer g"]
    assert (span.attributes or {}).get("rpc.response.status_code") == code
    assert (span.attributes or {}).get("graphmesh.answers") == (1 if ending == "close" else 2)


async def test_what_was_cancelled_says_why(alone: Recorded) -> None:
    """A call that a limit cut off ran out of time; one that lost a race was cancelled; else its caller left."""
    alone.take()
    told = {
        "DEADLINE_EXCEEDED: cut off after 50 ms by the limit of try/slow": DeadlinePassed(
            "cut off after 50 ms by the limit of try/slow"
        ),
        "CANCELLED: another answer came first": Cancelled("another answer came first"),
        "CANCELLED: the caller left": None,
    }
    tracing = _tracing(alone)

    async def run(_servable: Servable, _request: InferenceRequest) -> InferenceResponse:
        await asyncio.sleep(60)
        raise AssertionError

    for reason in told.values():
        work = tracing.run(run, cast("Servable", _Servable), InferenceRequest(model="g", inputs={}))
        task = asyncio.create_task(work)
        await asyncio.sleep(0)
        task.cancel(reason)
        await asyncio.gather(task, return_exceptions=True)
    tracing.close()
    spans = alone.exporter.get_finished_spans()
    said = [f"{dict(s.attributes or {})['rpc.response.status_code']!s}: {s.status.description}" for s in spans]
    assert said == list(told)


async def test_a_stream_that_is_sent_on(alone: Recorded) -> None:
    """It is a client span below what is being recorded, and none if nothing is."""
    alone.take()

    async def send(request: InferenceRequest) -> Any:  # noqa: ANN401 - a generator
        yield InferenceResponse(model=request.headers.get("traceparent", "none"), version="1", outputs={})

    tracing = _tracing(alone)
    for headers, count in (({"traceparent": PARENT}, 1), ({"traceparent": UNSAMPLED}, 0), ({}, 0)):
        request = InferenceRequest(model="m", inputs={}, headers=headers)
        answers = [answer.model async for answer in tracing.send_stream(send, request)]
        spans = alone.take()
        assert len(spans) == count
        for span in spans.values():
            assert span.kind is SpanKind.CLIENT
            assert answers == [f"00-{TRACE}-{hexadecimal(span)[1]}-01"]
    tracing.close()


async def test_nobody_begins_a_trace_of_a_part(alone: Recorded) -> None:
    """A graph that is not recorded tells its steps so; a model has no one to tell."""

    class Model:
        platform = "python"

    async def run(_servable: Servable, request: InferenceRequest) -> InferenceResponse:
        return InferenceResponse(model=request.headers.get("traceparent", ""), version="1", outputs={})

    tracing = _tracing(alone, rate=0.0)
    for servable, flag in ((_Servable, False), (Model, None)):
        response = await tracing.run(run, cast("Servable", servable), InferenceRequest(model="g", inputs={}))
        parent = read_parent(response.model)
        assert (parent.sampled if parent else None) is flag
    tracing.close()


async def test_what_is_not_recorded_costs_next_to_nothing(alone: Recorded) -> None:
    """At most a microsecond on a machine of today, measured here with room for a slow and busy one."""
    tracing = alone.tracing("w", Sampling(0.001, follows=True))
    servable = cast("Servable", type("Model", (), {"platform": "python"}))
    request = InferenceRequest(model="m", inputs={}, headers={"x-request-id": "1"}, metadata={"traceparent": UNSAMPLED})
    costs = timeit.repeat(lambda: tracing._serve(servable, request), number=5_000, repeat=5)
    tracing.close()
    assert min(costs) / 5_000 < 10e-6


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Sampling(1.0, follows=True)),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, Sampling(1.0, follows=False)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, Sampling(0.0, follows=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Sampling(0.0, follows=True)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, Sampling(0.25, follows=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, Sampling(1.0, follows=True)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, Sampling(1.0, follows=False)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, Sampling(1.0, follows=False)),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, Sampling(1.0, follows=True)),
    ],
)
async def test_samplers(environment: Mapping[str, str], expected: Sampling) -> None:
    """The standard's six are understood; what is not is said and records everything, as the standard has it."""
    assert read_sampling(environment) == expected


async def test_a_ratio_is_kept_by_trace_id() -> None:
    """The same trace is decided alike everywhere; the caller's decision goes before, unless it is not asked for."""
    quarter = Sampling(0.25, follows=True)
    assert sum(quarter.takes(None, number << 56) for number in range(256)) == 64
    assert quarter.takes(Parent(1 << 63, 1, sampled=True), 1 << 63)
    assert not Sampling(0.25, follows=False).takes(Parent(1 << 63, 1, sampled=True), 1 << 63)


@pytest.mark.parametrize(
    ("text", "parent"),
    [
        (PARENT, Parent(int(TRACE, 16), int(CALLER, 16), sampled=True)),
        (UNSAMPLED, Parent(int(TRACE, 16), int(CALLER, 16), sampled=False)),
        (f"cc-{TRACE}-{CALLER}-09-what-the-future-is", Parent(int(TRACE, 16), int(CALLER, 16), sampled=True)),
        (f"ff-{TRACE}-{CALLER}-01", None),
        (f"00-{'0' * 32}-{CALLER}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{CALLER}-01", None),
        (f"00-{TRACE}-{CALLER}", None),
        ("", None),
        (None, None),
    ],
)
async def test_parents(text: str | None, parent: Parent | None) -> None:
    """What the specification allows is read, of later versions as well; everything else is nothing."""
    assert read_parent(text) == parent


@given(st.text(max_size=80))
async def test_any_text_is_a_parent_or_none(text: str) -> None:
    """No header can make a call fail."""
    read_parent(text)


async def test_a_context_travels_as_it_came() -> None:
    """Values are not changed; those that gRPC could not send on, and endless ones, stay behind."""
    headers = {"traceparent": "anything", "tracestate": "a=1,b=2", "baggage": "k=v%20w;p=1", "other": "x"}
    assert travelling(headers.get) == {name: headers[name] for name in ("traceparent", "tracestate", "baggage")}
    assert travelling({"baggage": "ü", "tracestate": "a\n"}.get) == {}
    assert travelling({"baggage": "x" * 8193}.get) == {}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "zipkin"},
    ],
)
async def test_nothing_is_recorded_unless_asked_for(environment: Mapping[str, str]) -> None:
    """Without an endpoint, or if the environment says not to, there is no tracing at all."""
    assert start_tracing(instance="w", environment=environment) is None


async def test_another_protocol(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that is told to speak one it does not says which it speaks and where, and runs without traces."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert start_tracing(instance="w", environment=environment) is None
    assert "only 'http/json' is spoken" in caplog.text
    assert "4318" in caplog.text


@pytest.mark.parametrize(
    "module", ["graphmesh.worker.tracing.exporter", "opentelemetry.sdk.resources", "opentelemetry"]
)
async def test_the_extra_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, module: str
) -> None:
    """A worker without the packages, or with a part of them, runs, and says once how to get them."""
    monkeypatch.setitem(sys.modules, module, None)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert start_tracing(instance="w", environment=environment) is None
    assert caplog.text.count("pip install 'graphmesh[tracing]'") == 1


async def test_spans_get_to_a_collector() -> None:
    """What is recorded is sent at the latest when tracing is closed."""

    async def run(_servable: Servable, request: InferenceRequest) -> InferenceResponse:
        return InferenceResponse(model=request.model, version="1", outputs={})

    with Collector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}"}
        tracing = start_tracing(instance="w", environment=environment)
        assert tracing is not None
        request = InferenceRequest(model="g", inputs={}, headers={"traceparent": PARENT})
        await tracing.run(run, cast("Servable", _Servable), request)
        await asyncio.to_thread(tracing.close)
        (span,) = collector.spans
    assert (span.kind, span.name, span.trace_id, span.parent) == ("INTERNAL", "infer g", TRACE, CALLER)
    assert span.attributes == {"graphmesh.graph": "g", "graphmesh.version": "1"}
    assert (span.resource["service.name"], span.resource["service.instance.id"]) == ("graphmesh", "w")
