"""What only the HTTP shell does: routes, limits, encodings, probes, metrics, callers that leave."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from graphmesh.core.inference import InferenceRequest
from graphmesh.core.oip import EXTENSIONS
from graphmesh.worker.forms.wire import encode_request, response_from_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from graphmesh.worker.worker import Worker

    Http = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
ADD = "/v1/models/add:predict"


async def _eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_probes_and_metadata(worker: Worker, http: Http) -> None:
    """Probes, server and model metadata answer in the protocol's form."""
    for path in ("/healthz/live", "/healthz/ready", "/v2/health/live", "/v2/health/ready", "/v2", "/v2/"):
        assert (await http(worker.http_port, path)).status == 200
    assert (await http(worker.http_port, "/v2")).json["extensions"] == list(EXTENSIONS)
    metadata = (await http(worker.http_port, "/v2/models/add")).json
    assert (metadata["name"], metadata["versions"]) == ("add", ["2", "1"])
    assert (await http(worker.http_port, "/v2/models/add/versions/1")).json["versions"] == ["1"]
    assert (await http(worker.http_port, "/v2/models/add/ready")).json == {"name": "add", "ready": True}
    assert (await http(worker.http_port, "/v2/models/add/versions/9/ready")).status == 404
    failed = await http(worker.http_port, "/v2/models/unloadable/ready")
    assert (failed.status, failed.json["ready"]) == (503, False)
    assert (await http(worker.http_port, "/v2/models/unloadable")).status == 503


async def test_not_ready(worker: Worker, http: Http) -> None:
    """While the worker is not ready the ready probes say 503, the live ones 200."""
    worker.health.ready = False
    try:
        assert (await http(worker.http_port, "/healthz/ready")).status == 503
        assert (await http(worker.http_port, "/v2/health/ready")).json == {"ready": False, "live": True}
        assert (await http(worker.http_port, "/healthz/live")).status == 200
    finally:
        worker.health.ready = True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v3", 404),
        ("POST", "/v1/models/add", 404),
        ("POST", "/v1/models/a/b:predict", 404),
        ("POST", "/v1/models/add:Predict", 404),
        ("POST", "/v2/models/add/infer/", 404),
        ("GET", ADD, 405),
        ("DELETE", "/v2/models/add/infer", 405),
        ("POST", "/metrics", 405),
        ("HEAD", "/healthz/ready", 200),
    ],
)
async def test_routes(worker: Worker, http: Http, method: str, path: str, status: int) -> None:
    """Unknown paths are 404, wrong methods 405, both with an error in JSON."""
    reply = await http(worker.http_port, path, method=method)
    assert reply.status == status
    if status == 405:
        assert reply.headers["allow"] in {"GET", "POST"}
    if status != 200:
        assert reply.json["error"]


async def test_names_are_percent_decoded(worker: Worker, http: Http) -> None:
    """A name may arrive percent-encoded."""
    assert (await http(worker.http_port, "/v1/models/%61dd:predict", b'{"x":[1]}')).status == 200


@pytest.mark.parametrize("form", ["application/x-www-form-urlencoded", "text/plain", "application/json"])
async def test_content_type_does_not_matter(worker: Worker, http: Http, form: str) -> None:
    """Curl sends a form's content type: bodies are JSON whatever it says."""
    reply = await http(worker.http_port, ADD, b'{"x":[1]}', headers={"content-type": form})
    assert reply.json["outputs"] == {"y": [3.0]}


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 10_000, b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"])
@pytest.mark.parametrize("path", [ADD, "/v2/models/add/infer"])
async def test_malformed_json(worker: Worker, http: Http, path: str, body: bytes) -> None:
    """Malformed and 10,000-deep JSON is 400 with an error in JSON."""
    reply = await http(worker.http_port, path, body)
    assert (reply.status, reply.json["status"]) == (400, "INVALID_ARGUMENT")


async def test_malformed_protobuf(worker: Worker, http: Http) -> None:
    """Bytes that are no message are INVALID_ARGUMENT on the fast path."""
    reply = await http(worker.http_port, MODEL_INFER, b"\xff\xff\xff")
    assert (reply.status, reply.headers["grpc-status"], reply.body) == (200, "3", b"")


@pytest.mark.parametrize("path", [ADD, "/v2/models/add/infer"])
async def test_announced_body_too_large(worker: Worker, http: Http, path: str) -> None:
    """A body that announces more than the limit is refused before it is read."""
    reply = await http(worker.http_port, path, headers={"content-length": str(4 << 30)}, method="POST")
    assert (reply.status, reply.json["status"]) == (413, "RESOURCE_EXHAUSTED")


async def _chunked(worker: Worker, path: str, chunks: list[bytes]) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.http_port)
    writer.write(f"POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    try:
        for chunk in chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("framing", ["content-length: 100", "transfer-encoding: chunked"])
async def test_caller_that_leaves_while_sending(worker: Worker, caplog: pytest.LogCaptureFixture, framing: str) -> None:
    """A caller that leaves before its body is complete is no error of ours."""
    for path in (ADD, MODEL_INFER):
        _, writer = await asyncio.open_connection("127.0.0.1", worker.http_port)
        writer.write(f"POST {path} HTTP/1.1\r\nhost: t\r\n{framing}\r\n\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.sleep(0.05)
    assert not caplog.records


async def test_chunked_body(worker: Worker) -> None:
    """A body that does not announce its length is read, and refused once it is beyond the limit."""
    answer = await _chunked(worker, ADD, [b'{"x"', b":[1]}"])
    assert answer.startswith(b"HTTP/1.1 200")
    answer = await _chunked(worker, ADD, [bytes(1 << 18)] * 5)
    assert answer.startswith(b"HTTP/1.1 413")


async def test_encodings(worker: Worker, http: Http) -> None:
    """Gzip and deflate bodies are inflated, bombs and lies refused."""
    body = b'{"x":[1]}'
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        reply = await http(worker.http_port, ADD, packed, headers={"content-encoding": encoding})
        assert reply.json["outputs"] == {"y": [3.0]}
        reply = await http(worker.http_port, ADD, packed[:-3], headers={"content-encoding": encoding})
        assert reply.status == 400
    bomb = gzip.compress(bytes(64 << 20))
    assert (await http(worker.http_port, ADD, bomb, headers={"content-encoding": "gzip"})).status == 413
    assert (await http(worker.http_port, ADD, body, headers={"content-encoding": "gzip"})).status == 400
    assert (await http(worker.http_port, ADD, body, headers={"content-encoding": "br"})).status == 501


async def test_large_answers_vary_by_encoding(worker: Worker, http: Http) -> None:
    """Whoever keeps a large answer is told that it depends on `accept-encoding`, also if it is not compressed."""
    large, small = (orjson.dumps({"x": [1.5] * count}) for count in (5000, 1))
    for accepted in ("gzip", "identity"):
        reply = await http(worker.http_port, ADD, large, headers={"accept-encoding": accepted})
        assert reply.headers["vary"] == "accept-encoding"
        assert reply.headers.get("content-encoding", "identity") == accepted
    assert "vary" not in (await http(worker.http_port, ADD, small)).headers


@pytest.mark.parametrize(
    "headers",
    [
        {"grpc-timeout": "5"},
        {"grpc-timeout": "123456789S"},
        {"x-graphmesh-timeout-ms": "soon"},
        {"x-graphmesh-timeout-ms": "-1"},
        {"x-graphmesh-depth": "x"},
        {"x-graphmesh-graph-revision": "-1"},
    ],
)
async def test_headers_that_lie(worker: Worker, http: Http, headers: dict[str, str]) -> None:
    """A routing header that cannot be read is INVALID_ARGUMENT."""
    assert (await http(worker.http_port, ADD, b'{"x":[1]}', headers=headers)).status == 400


async def test_binary_tensors(worker: Worker, http: Http) -> None:
    """Binary tensors follow the JSON, and the answer's header says where they begin."""
    raw = np.array([1, 2], dtype=np.float32).tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"inference-header-content-length": str(len(head))}
    reply = await http(worker.http_port, "/v2/models/add/infer", head + raw, headers=headers)
    length = int(reply.headers["inference-header-content-length"])
    assert np.frombuffer(reply.body[length:], dtype=np.float32).tolist() == [3.0, 4.0]


async def test_explain(worker: Worker, http: Http) -> None:
    """Asked by query or by header, an answer says who worked and for how long."""
    reply = await http(worker.http_port, "/v1/models/addsync:predict?explain=true", b'{"x":[1]}')
    assert reply.json["explain"]["worker"] == "w1"
    assert reply.json["explain"]["compute_ms"] >= 0
    reply = await http(worker.http_port, ADD, b'{"x":[1]}', headers={"x-graphmesh-explain": "1"})
    assert reply.json["explain"]["model"] == "add"
    assert "explain" not in (await http(worker.http_port, ADD + "?explain=false", b'{"x":[1]}')).json


async def test_metrics(worker: Worker, http: Http) -> None:
    """Calls are counted by model, version and code; made-up names leave no trace."""
    await http(worker.http_port, "/v1/models/made-up:predict", b"{}")
    await http(worker.http_port, "/v1/models/add/versions/1:predict", b'{"x":[1]}')
    await http(worker.http_port, "/v1/models/add/versions/1:predict", b'{"x":[[1]]}')
    text = (await http(worker.http_port, "/metrics")).body.decode()
    assert 'graphmesh_worker_requests_total{model="add",version="1",code="OK"}' in text
    assert 'graphmesh_worker_requests_total{model="add",version="1",code="INVALID_ARGUMENT"}' in text
    assert 'graphmesh_worker_request_duration_seconds_count{model="add",version="1"}' in text
    assert 'graphmesh_worker_model_ready{model="add",version="1"} 1' in text
    assert "graphmesh_worker_unknown_requests_total" in text
    assert "process_cpu_seconds_total" in text
    assert "made-up" not in text


async def test_caller_that_leaves(worker: Worker, toys: ModuleType) -> None:
    """When the caller closes the connection, an async model is cancelled within 50 ms and nothing is left over."""
    before = toys.Sleep.cancelled
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.http_port)
    body = b'{"seconds": 30}'
    head = f"POST /v1/models/sleep:predict HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await _eventually(lambda: toys.Sleep.running == 1)
    writer.close()
    started = asyncio.get_running_loop().time()
    await _eventually(lambda: toys.Sleep.cancelled == before + 1)
    assert asyncio.get_running_loop().time() - started < 0.2
    await _eventually(lambda: worker.catalog.find("sleep").metrics.in_flight == 0)  # type: ignore[union-attr]
    assert not await reader.read()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl for HTTP/2")
async def test_http2_stream_that_is_reset(worker: Worker, toys: ModuleType) -> None:
    """HTTP/2 is spoken on the same port, and a caller that gives up there is noticed as well."""
    before = toys.Sleep.cancelled
    url = f"http://127.0.0.1:{worker.http_port}/v1/models/sleep:predict"
    command = ["curl", "-s", "--http2-prior-knowledge", "-m", "0.3", "-d", '{"seconds": 30}', url]
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 28
    await _eventually(lambda: toys.Sleep.cancelled == before + 1)


async def test_queued_call_of_a_caller_that_left_never_runs(worker: Worker, toys: ModuleType) -> None:
    """A call that waits for a thread leaves the queue with its caller."""
    calls = toys.Block.calls
    first = asyncio.create_task(_block(worker, 0.3))
    await _eventually(lambda: toys.Block.calls == calls + 1)
    waiting = asyncio.create_task(_block(worker, 0.3))
    execution = worker.catalog.find("block")._execution  # type: ignore[union-attr]
    assert execution is not None
    await _eventually(lambda: execution.statistics.waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await _eventually(lambda: execution.statistics.waiting == 0)
    assert b"200 OK" in await first
    assert toys.Block.calls == calls + 1


async def _block(worker: Worker, seconds: float) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.http_port)
    body = orjson.dumps({"seconds": seconds})
    headers = f"host: t\r\nconnection: close\r\ncontent-length: {len(body)}"
    writer.write(f"POST /v1/models/block:predict HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_many_at_once(worker: Worker, http: Http) -> None:
    """More calls at once than granian's default allows are all in progress together."""
    request = encode_request(InferenceRequest(model="sleep", inputs={"seconds": np.array(0.3)}))
    started = asyncio.get_running_loop().time()
    replies = await asyncio.gather(*(http(worker.http_port, MODEL_INFER, request) for _ in range(200)))
    assert all(response_from_wire(reply.body).outputs["output"].item() == 0.3 for reply in replies)
    assert asyncio.get_running_loop().time() - started < 5


async def test_bytes_that_are_not_http(worker: Worker, http: Http) -> None:
    """Garbage on the port hurts nobody else."""
    long_header = b"GET / HTTP/1.1\r\nx: " + b"a" * 1_000_000
    for garbage in (b"\x00" * 100, long_header, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff"):
        _, writer = await asyncio.open_connection("127.0.0.1", worker.http_port)
        writer.write(garbage)
        writer.close()
    assert (await http(worker.http_port, "/healthz/ready")).status == 200
