"""The small parts: configuration, headers, routes, statuses, catalog, health of a start that fails."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
import pytest
from google.rpc import status_pb2

from graphmesh.core import errors
from graphmesh.core.errors import Code, GraphmeshError, InvalidRequest, NotFound, StartFailed
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.status import as_graphmesh_error, grpc_headers, json_error, rpc_status
from graphmesh.registry import MemoryKV, ModelState, Registry, WorkerState
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.forms.headers import apply_headers
from graphmesh.worker.http.routes import Action, Route, match
from graphmesh.worker.metrics.families import Metrics
from graphmesh.worker.rpc.servicer_errors import status_code
from graphmesh.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "options",
    [
        {"name": "Bad Name"},
        {"version": "one"},
        {"instances": -1},
        {"source": ""},
    ],
)
def test_model_config_is_checked(options: dict[str, Any]) -> None:
    """A model's configuration is checked when it is made."""
    with pytest.raises(InvalidRequest):
        ModelConfig(**{"name": "m", "source": "m.py:M", **options})


def test_models_must_differ() -> None:
    """One name and version is hosted once."""
    one = ModelConfig(name="m", source="m.py:M", version="1")
    with pytest.raises(InvalidRequest, match="twice: m version 1"):
        WorkerConfig(worker_id="w", models=(one, one))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bind": "0.0.0.0"}, "--insecure-bind"),  # noqa: S104 - refused
        ({"bind": "localhost"}, "bind must be an IP address"),
        ({"bind": "::", "insecure_bind": True, "advertise": "0.0.0.0"}, "advertise must be an address"),  # noqa: S104
    ],
)
def test_bind_is_checked(options: dict[str, Any], said: str) -> None:
    """Listening beyond loopback needs to be asked for, and addresses must be addresses."""
    with pytest.raises(StartFailed, match=said):
        WorkerConfig(worker_id="w", **options).check_bind()


def _apply(**headers: str) -> InferenceRequest:
    request = InferenceRequest(model="m", inputs={}, parameters={"a": 1})
    apply_headers(request, {name.replace("_", "-"): value for name, value in headers.items()}.get)
    return request


def test_headers() -> None:
    """Deadline, revision, depth, request id and explain come from the headers."""
    request = _apply(
        grpc_timeout="2S",
        x_graphmesh_graph_revision="7",
        x_graphmesh_depth="3",
        x_graphmesh_explain="1",
        x_request_id="r",
    )
    assert 1.5 < request.deadline.remaining() <= 2
    assert (request.graph_revision, request.depth) == (7, 3)
    assert request.parameters == {"a": 1, "explain": True}
    assert request.headers == {"x-request-id": "r"}
    assert _apply().deadline.timeout() is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("1H", 3600), ("1M", 60), ("99999999S", 99999999), ("500m", 0.5), ("5u", 5e-6), ("7n", 7e-9)]
)
def test_grpc_timeout(text: str, seconds: float) -> None:
    """All units of `grpc-timeout` are known."""
    assert _apply(grpc_timeout=text).deadline.remaining() == pytest.approx(seconds, abs=0.05)


def test_two_timeouts() -> None:
    """Of gRPC's and the REST caller's own timeout, the earlier of both counts."""
    for grpc_timeout, own_ms in (("1S", "5000"), ("5S", "1000")):
        request = _apply(grpc_timeout=grpc_timeout, x_graphmesh_timeout_ms=own_ms)
        assert request.deadline.remaining() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "\uff11S"])
def test_wrong_grpc_timeout(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidRequest, match="grpc-timeout"):
        _apply(grpc_timeout=text)


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "nan", "inf"])
def test_wrong_timeout_ms(text: str) -> None:
    """A REST caller's timeout must be a positive number."""
    with pytest.raises(InvalidRequest, match="x-graphmesh-timeout-ms"):
        _apply(x_graphmesh_timeout_ms=text)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/models/m:predict", Route(Action.PREDICT, "m")),
        ("/v1/models/m/versions/3:predict", Route(Action.PREDICT, "m", "3")),
        ("/v2/models/m/infer", Route(Action.INFER, "m")),
        ("/v2/models/m/versions/3/infer", Route(Action.INFER, "m", "3")),
        ("/v2/models/m/ready", Route(Action.MODEL_READY, "m")),
        ("/v2/models/m/versions/3", Route(Action.MODEL_METADATA, "m", "3")),
        ("/v2/", Route(Action.SERVER_METADATA)),
        ("/healthz/ready", Route(Action.READY)),
        ("/metrics", Route(Action.METRICS)),
        ("/v1/models/:predict", None),
        ("/v1/models/m:predict/", None),
        ("//v2/models/m/infer", None),
        ("", None),
    ],
)
def test_routes(path: str, route: Route | None) -> None:
    """Paths mean what the documentation says, and nothing else means anything."""
    assert match(path) == route


def _leaves(kind: type[GraphmeshError]) -> list[type[GraphmeshError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _leaves(child))]


@pytest.mark.parametrize("kind", [k for k in _leaves(GraphmeshError) if k.__module__ == errors.__name__])
def test_every_error_has_its_status(kind: type[GraphmeshError]) -> None:
    """Every class of error is a gRPC status, headers and JSON with the same code and reason."""
    error = kind("100% of é\r\nlines", metadata={"k": "v"})
    status = rpc_status(error)
    assert status.code == error.code
    assert status_code(error).value[0] == error.code
    headers = dict(grpc_headers(error))
    assert headers["grpc-status"] == str(int(error.code))
    assert unquote(headers["grpc-message"]) == error.message
    assert all(character.isprintable() and character.isascii() for character in headers["grpc-message"])
    details = headers["grpc-status-details-bin"]
    assert "=" not in details
    assert status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4))) == status
    body = orjson.loads(json_error(error))
    assert (body["error"], body["code"], body["status"]) == (error.message, error.code, error.code.name)
    assert body["details"][0]["reason"] == error.reason
    assert body["details"][0]["metadata"] == {"k": "v"}


def test_long_messages_fit_into_headers() -> None:
    """A message of any length leaves headers small."""
    assert sum(len(name) + len(value) for name, value in grpc_headers(NotFound("é" * 100_000))) < 32_000


def test_unknown_errors_become_internal(caplog: pytest.LogCaptureFixture) -> None:
    """An error that is not ours is INTERNAL with an id; its text is in the log only."""
    error = as_graphmesh_error(ValueError("secret"))
    assert (error.code, "secret" in error.message) == (Code.INTERNAL, False)
    assert "secret" in caplog.text
    assert as_graphmesh_error(asyncio.CancelledError()).code is Code.CANCELLED


def test_metrics_without_calls() -> None:
    """Metrics are well-formed before the first call."""
    assert b"graphmesh_worker_unknown_requests_total 0\n" in Metrics().text()


async def test_record_of_a_worker(toy: Callable[..., ModelConfig]) -> None:
    """The record appears with its models, the failed one with file and reason, and goes when the worker does."""
    async with Registry(MemoryKV()) as registry:
        config = WorkerConfig(worker_id="w", models=(toy("Add"), toy("Unloadable")), labels={"zone": "a"})
        async with Worker(config, registry) as worker:
            snapshot = await registry.read()
            record = snapshot.workers["w"]
            assert (record.host, record.http_port, record.grpc_port) == (
                "127.0.0.1",
                worker.http_port,
                worker.grpc_port,
            )
            assert record.labels == {"zone": "a"}
            add, failed = sorted(record.models, key=lambda model: model.name)
            assert (add.state, failed.state) == (ModelState.AVAILABLE, ModelState.FAILED)
            assert failed.message == "toys.py:Unloadable: OSError: cannot read weights.bin"
            assert snapshot.signature_of("add") is not None
            assert snapshot.models["add"].versions == ("1",)
        assert "w" not in (await registry.read()).workers


async def test_drain(toy: Callable[..., ModelConfig], http: Callable[..., Any]) -> None:
    """Draining is announced first; calls in flight finish; the ports close; the record goes."""
    async with Registry(MemoryKV()) as registry:
        config = WorkerConfig(worker_id="w", models=(toy("Sleep"),), drain_s=0.1)
        async with Worker(config, registry) as worker:
            call = asyncio.create_task(http(worker.http_port, "/v1/models/sleep:predict", b'{"seconds": 0.5}'))
            await asyncio.sleep(0.05)
            draining = asyncio.create_task(worker.drain())
            await asyncio.sleep(0.05)
            assert (await registry.read()).workers["w"].state is WorkerState.DRAINING
            assert (await http(worker.http_port, "/healthz/ready")).status == 200
            assert (await http(worker.http_port, "/v1/models/sleep:predict", b'{"seconds": 0}')).status == 200
            await draining
            assert (await call).json["outputs"] == {"output": 0.5}
            with pytest.raises(OSError, match=r"refused|Connect"):
                await http(worker.http_port, "/healthz/live")


async def test_drain_beyond_grace(toy: Callable[..., ModelConfig], http: Callable[..., Any]) -> None:
    """Calls that take longer than the grace are cut with UNAVAILABLE."""
    async with Registry(MemoryKV()) as registry:
        config = WorkerConfig(worker_id="w", models=(toy("Sleep"),), drain_s=0.0, grace_s=0.1)
        async with Worker(config, registry) as worker:
            call = asyncio.create_task(http(worker.http_port, "/v1/models/sleep:predict", b'{"seconds": 30}'))
            await asyncio.sleep(0.05)
            await worker.drain()
            assert (await call).json["error"] == "this worker is stopping"


async def test_second_signal_hurries(toy: Callable[..., ModelConfig], http: Callable[..., Any]) -> None:
    """Once told to hurry, draining waits for nothing."""
    async with Registry(MemoryKV()) as registry:
        config = WorkerConfig(worker_id="w", models=(toy("Sleep"),), drain_s=30)
        async with Worker(config, registry) as worker:
            call = asyncio.create_task(http(worker.http_port, "/v1/models/sleep:predict", b'{"seconds": 30}'))
            await asyncio.sleep(0.05)
            hurry = asyncio.Event()
            hurry.set()
            async with asyncio.timeout(5):
                await worker.drain(hurry)
                await call


@pytest.mark.parametrize("which", ["http_port", "grpc_port"])
async def test_port_in_use(which: str) -> None:
    """A taken port is one line that names it and says what to do, before any model is loaded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with Registry(MemoryKV()) as registry:
            config = WorkerConfig(worker_id="w", **{which: port})
            with pytest.raises(
                StartFailed, match=f"{which.replace('_', ' ')} {port} on 127.0.0.1 is already in use; choose"
            ):
                async with Worker(config, registry):
                    pass


async def test_two_workers_of_one_name() -> None:
    """A second live worker of a name cannot start."""
    async with Registry(MemoryKV()) as registry, Worker(WorkerConfig(worker_id="w"), registry):
        with pytest.raises(StartFailed, match="workers/w"):
            async with Worker(WorkerConfig(worker_id="w"), registry):
                pass


async def test_no_etcd() -> None:
    """Without etcd a worker does not start, and says where it looked."""
    store = MemoryKV()
    store.stop()
    async with Registry(store) as registry:
        with pytest.raises(StartFailed, match=r"no etcd answers at 127\.0\.0\.1:2379; start one"):
            async with Worker(WorkerConfig(worker_id="w"), registry):
                pass


async def test_highest_available_version_answers(toy: Callable[..., ModelConfig]) -> None:
    """A version that failed to load does not take the calls of the one that works."""
    async with Registry(MemoryKV()) as registry:
        models = (toy("Add"), toy("Unloadable", name="add", version="2"))
        async with Worker(WorkerConfig(worker_id="w", models=models), registry) as worker:
            assert (await worker.handler.describe("add")).platform.startswith("python")
            found = await worker.handler.find("add")
            assert found.version == "1"


def test_server_logs_do_not_change_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Granian's own logging set-up leaves handlers of this process as they were."""
    before = list(logging.getLogger().handlers)

    async def start() -> None:
        async with Registry(MemoryKV()) as registry, Worker(WorkerConfig(worker_id="w"), registry):
            pass

    asyncio.run(start())
    assert logging.getLogger().handlers == before
    assert "experimental" not in caplog.text
