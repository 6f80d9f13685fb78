"""Models at another HTTP server: what is asked when they are loaded, what a call carries, what errors become."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest

from graphmesh.cli.ports import free_port
from graphmesh.core.errors import (
    Code,
    DeadlinePassed,
    GraphmeshError,
    InvalidRequest,
    LoadFailed,
    MessageTooLarge,
    Overloaded,
    Unavailable,
)
from graphmesh.core.status import json_error
from graphmesh.worker import ModelConfig
from graphmesh.worker.local import LocalMesh
from tests.worker.far import TLS, FarHttp, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROWS = np.array([[1, 2], [3, 4]], np.float32)
INFER = "POST /v2/models/m/infer"


def _metadata(datatype: str = "FP32", **more: object) -> bytes:
    tensors = {key: [{"name": name, "datatype": datatype, "shape": [-1, 2]}] for key, name in _NAMES}
    return answer(orjson.dumps({"name": "m", "platform": "far", **tensors, **more}))


_NAMES = (("inputs", "x"), ("outputs", "y"))


def _server(*extensions: str) -> bytes:
    return answer(orjson.dumps({"name": "far", "extensions": extensions}))


def _result(**output: object) -> bytes:
    tensor = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [5, 6], **output}
    return answer(orjson.dumps({"model_name": "m", "outputs": [tensor]}))


@pytest.fixture
async def far() -> AsyncIterator[FarHttp]:
    """A server with the model `m`, JSON only."""
    answers = {
        "GET /v2": _server(),
        "GET /v2/models/m": _metadata(),
        "GET /v2/models/m/ready": answer(b""),
        INFER: _result(),
    }
    async with FarHttp(answers) as running:
        yield running


def _mesh(far: FarHttp, path: str = "m", **options: object) -> LocalMesh:
    source = f"http://127.0.0.1:{far.port}/{path}"
    return LocalMesh({"near": ModelConfig(name="near", source=source, **options)})  # type: ignore[arg-type]


async def _failure(far: FarHttp, path: str = "m", **options: object) -> str:
    with pytest.raises(LoadFailed) as caught:
        async with _mesh(far, path, **options):
            pass
    return caught.value.message


async def test_call(far: FarHttp) -> None:
    """A call carries tensors, parameters, the time that is left, the request id and the trace."""
    headers = {"x-request-id": "r1", "traceparent": "00-1-2-01", "authorization": "Bearer secret"}
    async with _mesh(far) as mesh:
        assert [str(spec) for spec in (await mesh.signature("near")).outputs] == ["y: FP32 (?, 2)"]
        outputs = await mesh.predict("near", x=ROWS, headers=headers, parameters={"k": 1}, timeout_s=20)
    assert outputs["y"].tolist() == [[5, 6]]
    path, sent, body = far.requests[-1]
    assert path == INFER
    assert orjson.loads(body) == {
        "parameters": {"k": 1},
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}],
    }
    assert (sent["x-request-id"], sent["traceparent"]) == ("r1", "00-1-2-01")
    assert (sent["host"], sent["content-type"]) == (f"127.0.0.1:{far.port}", "application/json")
    assert 10_000 < float(sent["x-graphmesh-timeout-ms"]) <= 20_000
    assert "authorization" not in sent


@pytest.mark.parametrize("by_option", [True, False])
async def test_binary(far: FarHttp, by_option: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Tensors go as raw bytes where the server names the extension, or the configuration says that it has it."""
    if not by_option:
        far.answers["GET /v2"] = _server("binary_tensor_data")
    tensor = {"name": "y", "datatype": "FP16", "shape": [1, 2], "parameters": {"binary_data_size": 4}}
    head = orjson.dumps({"model_name": "m", "outputs": [tensor]})
    raw = np.array([5, 6], np.float16).tobytes()
    far.answers[INFER] = answer(head + raw, headers=f"Inference-Header-Content-Length: {len(head)}\r\n")
    far.answers["GET /v2/models/m"] = _metadata("FP16")
    async with _mesh(far, parameters={"binary": True} if by_option else {}) as mesh:
        outputs = await mesh.predict("near", x=ROWS.astype(np.float16))
    assert outputs["y"].tolist() == [[5, 6]]
    _, sent, body = far.requests[-1]
    length = int(sent["inference-header-content-length"])
    assert orjson.loads(body[:length])["parameters"] == {"binary_data_output": True}
    assert body[length:] == ROWS.astype(np.float16).tobytes()


async def test_datatype_without_json(far: FarHttp) -> None:
    """What JSON cannot hold needs the binary extension, or gRPC."""
    far.answers["GET /v2/models/m"] = _metadata("BF16")
    message = await _failure(far)
    assert "'x' is BF16, which JSON cannot hold" in message
    assert "use its grpc:// address, or set the parameter binary: true" in message


async def test_version(far: FarHttp) -> None:
    """A version in the address is one in each path; names are quoted."""
    base = "/v2/models/a%2Fb/versions/v%203"
    far.answers |= {f"GET {base}": _metadata(), f"GET {base}/ready": answer(b""), f"POST {base}/infer": _result()}
    async with _mesh(far, "a%2Fb/v%203") as mesh:
        await mesh.predict("near", x=ROWS)
    assert far.requests[-1][0] == f"POST {base}/infer"


async def test_nan(far: FarHttp) -> None:
    """What is no number is null in JSON."""
    far.answers[INFER] = _result(data=[None, 6])
    async with _mesh(far) as mesh:
        assert np.isnan((await mesh.predict("near", x=ROWS))["y"][0, 0])


async def test_text(far: FarHttp) -> None:
    """BYTES are text where the configuration says so; bytes that are no text cannot be sent as JSON."""
    far.answers["GET /v2/models/m"] = _metadata("BYTES")
    far.answers[INFER] = _result(datatype="BYTES", data=["ä", "b"])
    async with _mesh(far, parameters={"text": ["y"]}) as mesh:
        signature = await mesh.signature("near")
        assert [spec.type for spec in (*signature.inputs, *signature.outputs)] == ["BYTES (?, 2)", "TEXT (?, 2)"]
        assert (await mesh.predict("near", x=[["a", "b"]]))["y"] == [["ä", "b"]]
        with pytest.raises(InvalidRequest, match="input 'x' is not UTF-8 text"):
            await mesh.predict("near", x=[[b"\xff", b""]])


@pytest.mark.parametrize(
    ("path", "played", "said"),
    [
        ("/ready", answer(b'{"error": "unknown"}', status=404), "has no model 'm' that is ready (unknown)"),
        ("/ready", answer(b"", status=400), "(HTTP 400 without a reason)"),
        ("/ready", answer(b'{"name": "m", "ready": false}'), "has no model 'm' that is ready"),
        ("/ready", answer(b"", status=302, headers="location: http://h/\r\n"), "redirects are not followed"),
        ("", answer(b"", status=500), "has no model 'm' that is ready"),
        ("", answer(b"[]"), "its metadata names no inputs"),
        ("", answer(b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": "2"}]}'), "inputs[0].shape must be"),
        (
            "/config",
            answer(b'{"model_transaction_policy": {"decoupled": true}}'),
            "REST has no streams; use its grpc://",
        ),
    ],
)
async def test_what_cannot_be_loaded(far: FarHttp, path: str, played: bytes, said: str) -> None:
    """The message names the server, what is expected and the next step."""
    far.answers[f"GET /v2/models/m{path}"] = played
    message = await _failure(far)
    assert said in message
    assert message.endswith("then run: graphmesh model load near")


async def test_batch_axis(far: FarHttp) -> None:
    """Triton's configuration tells by REST, too, that axis 0 is the batch."""
    far.answers["GET /v2/models/m/config"] = answer(b'{"max_batch_size": 4}')
    async with _mesh(far) as mesh:
        assert (await mesh.signature("near")).inputs[0].type == "FP32 (N, 2)"


async def test_nobody_answers() -> None:
    """A server that is down fails the load with its address and the next step."""
    far = FarHttp()
    far.port = free_port()
    assert f"no server answers at 127.0.0.1:{far.port} (cannot be reached" in await _failure(far)


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (400, b'{"error": "bad"}', Code.INVALID_ARGUMENT, "bad"),
        (401, b"", Code.UNAUTHENTICATED, "HTTP 401 without a reason"),
        (403, b"<html>", Code.PERMISSION_DENIED, "HTTP 403 without a reason"),
        (404, b'{"detail": "gone"}', Code.NOT_FOUND, "gone"),
        (422, b'{"detail": [{"msg": "x"}]}', Code.INVALID_ARGUMENT, "[{'msg': 'x'}]"),
        (429, b'{"error": "full"}', Code.RESOURCE_EXHAUSTED, "full"),
        (500, b'{"error": "broken"}', Code.INTERNAL, "broken"),
        (501, b"", Code.UNIMPLEMENTED, "HTTP 501 without a reason"),
        (502, b"", Code.UNAVAILABLE, "HTTP 502 without a reason"),
        (503, b'{"error": "later"}', Code.UNAVAILABLE, "later"),
        (504, b'{"error": "late"}', Code.DEADLINE_EXCEEDED, "late"),
        (418, b"", Code.INVALID_ARGUMENT, "HTTP 418 without a reason"),
        (599, b"", Code.UNKNOWN, "HTTP 599 without a reason"),
        (400, b'{"error": "later", "code": 9}', Code.FAILED_PRECONDITION, "later"),
        (400, b'{"error": "lie", "code": 14}', Code.INVALID_ARGUMENT, "lie"),
        (400, b'{"error": "lie", "code": 99}', Code.INVALID_ARGUMENT, "lie"),
        (400, b'{"error": "lie", "code": "9"}', Code.INVALID_ARGUMENT, "lie"),
        (307, b"", Code.FAILED_PRECONDITION, "redirects are not followed; write down the address that it leads to"),
    ],
)
async def test_errors(far: FarHttp, status: int, body: bytes, code: Code, text: str) -> None:
    """A status is mapped back to its code; a code in the body counts if the status is its own."""
    far.answers[INFER] = answer(body, status=status, headers="location: http://127.0.0.1:1/\r\n")
    async with _mesh(far) as mesh:
        asked = len(far.requests)
        with pytest.raises(GraphmeshError) as caught:
            await mesh.predict("near", x=ROWS)
    assert (caught.value.code, caught.value.message) == (code, f"127.0.0.1:{far.port}: {text}")
    assert len(far.requests) == asked + 1


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_our_own_errors(far: FarHttp, code: Code) -> None:
    """Errors of a worker of this kind keep their code, whichever it is."""
    error = GraphmeshError("it says so")
    error.code = code  # type: ignore[misc]
    far.answers[INFER] = answer(json_error(error), status=code.http_status)
    async with _mesh(far) as mesh:
        with pytest.raises(GraphmeshError) as caught:
            await mesh.predict("near", x=ROWS)
    assert caught.value.code is code


async def test_pushback_and_size(far: FarHttp) -> None:
    """When to come again survives; a message that was too large is told apart from a server that is full."""
    async with _mesh(far, max_message_bytes=2000) as mesh:
        far.answers[INFER] = answer(b"", status=429, headers="Retry-After: 3\r\n")
        with pytest.raises(Overloaded) as caught:
            await mesh.predict("near", x=ROWS)
        assert caught.value.retry_after_s == 3
        far.answers[INFER] = answer(b"", status=429, headers="Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
        with pytest.raises(Overloaded) as caught:
            await mesh.predict("near", x=ROWS)
        assert caught.value.retry_after_s == 0
        far.answers[INFER] = answer(b"", status=413)
        with pytest.raises(MessageTooLarge):
            await mesh.predict("near", x=ROWS)
        asked = len(far.requests)
        with pytest.raises(MessageTooLarge, match="a request must be at most 2000 bytes"):
            await mesh.predict("near", x=np.zeros((1000, 2), np.float32))
        assert len(far.requests) == asked


@pytest.mark.parametrize("played", [answer(b"no json"), answer(b'{"outputs": 3}'), _result(shape=[3])])
async def test_answer_is_malformed(far: FarHttp, played: bytes) -> None:
    """An answer that cannot be read is the server's fault, not the caller's."""
    far.answers[INFER] = played
    async with _mesh(far) as mesh:
        with pytest.raises(GraphmeshError, match="the answer cannot be read") as caught:
            await mesh.predict("near", x=ROWS)
    assert caught.value.code is Code.INTERNAL


async def test_server_goes(far: FarHttp) -> None:
    """Without the server calls are UNAVAILABLE, which is safe to repeat."""
    async with _mesh(far) as mesh:
        await mesh.predict("near", x=ROWS)
        await far.__aexit__()
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{far.port}: cannot be reached"):
            await mesh.predict("near", x=ROWS)


async def test_deadline(far: FarHttp) -> None:
    """A deadline closes the connection, which is how the server learns of it."""
    far.hangs = True
    async with _mesh(far) as mesh:
        with pytest.raises(DeadlinePassed):
            await mesh.predict("near", x=ROWS, timeout_s=0.2)
        async with asyncio.timeout(5):
            await far.left.wait()


async def test_tls(far: FarHttp) -> None:
    """TLS checks the certificate: by the system's authorities, or by those of `ca`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    async with FarHttp(far.answers, tls=context) as secure:
        source = f"https://localhost:{secure.port}/m"
        config = ModelConfig(name="near", source=source, parameters={"ca": str(TLS / "ca.pem")})
        async with LocalMesh({"near": config}) as mesh:
            assert (await mesh.predict("near", x=ROWS))["y"].tolist() == [[5, 6]]
        with pytest.raises(LoadFailed, match=r"no server answers.*certificate verify failed"):
            async with LocalMesh({"near": source}):
                pass


@pytest.mark.parametrize(
    ("source", "parameters", "said"),
    [
        ("http://h/m", {"ca": "x"}, "parameter 'ca' is for grpcs:// and https:// only"),
        ("grpc://h:1/m", {"binary": True}, "parameter 'binary' is for http:// and https:// only"),
        ("http://h/m", {"binary": 1}, "parameter 'binary' must be true or false"),
        ("https://h/m", {"ca": "/nowhere/ca.pem"}, "there is no ca.pem"),
        ("http://h/m", {"tekst": []}, "did you mean 'text'?"),
    ],
)
async def test_options(source: str, parameters: dict[str, object], said: str) -> None:
    """Options that are unknown, or say nothing here, are refused before anybody is asked."""
    with pytest.raises(LoadFailed) as caught:
        async with LocalMesh({"near": ModelConfig(name="near", source=source, parameters=parameters)}):
            pass
    assert said in caught.value.message


async def test_text_that_is_not_there(far: FarHttp) -> None:
    """`text` names tensors that the model has."""
    assert "parameter 'text' must list BYTES tensors, which are [], got 'x'" in await _failure(
        far, parameters={"text": ["x"]}
    )
