"""REST as curl and other plain clients speak it: bytes there, bytes back."""

from __future__ import annotations

import http.client
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

ADD = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}
LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body, parsed."""
        return json.loads(self.body)


def curl(
    target: Target, path: str, body: bytes | None = None, *, method: str = "", headers: Mapping[str, str] | None = None
) -> Reply:
    """Make one call, POST if there is a body."""
    connection = http.client.HTTPConnection(target.http, timeout=20)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def test_the_form_content_type_is_no_obstacle(target: Target) -> None:
    """`curl -d` says its body is a form; it is JSON all the same."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    reply = curl(target, "/v2/models/add/infer", json.dumps(ADD).encode(), headers=form)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [2], "data": [2.0, 3.0]}]


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata(target: Target, path: str) -> None:
    """The server describes itself with and without the slash."""
    assert curl(target, path).json["name"] == "graphmesh"


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/models/add/load"])
def test_bodies_may_be_empty(target: Target, path: str) -> None:
    """A POST without a body asks for the index, and loads."""
    reply = curl(target, path, b"")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("binary", [True, False])
def test_the_header_length_is_there_iff_outputs_are_binary(target: Target, *, binary: bool) -> None:
    """`Inference-Header-Content-Length` tells where binary outputs begin, and is absent without them."""
    request = {**ADD, "parameters": {"binary_data_output": binary}}
    reply = curl(target, "/v2/models/add/infer", json.dumps(request).encode())
    assert (LENGTH in reply.headers) is binary
    if binary:
        assert len(reply.body) - int(reply.headers[LENGTH]) == 8
        assert reply.headers["content-length"] == str(len(reply.body))


@pytest.mark.parametrize("outputs", [["uint8", "bool_", "int8"], ["int8", "uint8", "bool_"]])
def test_binary_outputs_are_in_the_order_of_the_json(target: Target, outputs: list[str]) -> None:
    """The bytes after the JSON follow its list of outputs, which is the order they were asked in."""
    names = ["bool_", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "fp32", "fp64"]
    values: dict[str, Any] = {"bool_": True, "uint8": 7, "int8": -1}
    inputs = [
        {"name": name, "datatype": name.strip("_").upper(), "shape": [1], "data": [values.get(name, 0)]}
        for name in names
    ]
    halves = [
        {"name": name, "datatype": name.upper(), "shape": [1], "parameters": {"binary_data_size": 2}}
        for name in ("fp16", "bf16")
    ]
    text = {"name": "bytes_", "datatype": "BYTES", "shape": [1], "data": ["x"]}
    asked = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    head = json.dumps({"inputs": [*inputs, *halves, text], "outputs": asked}).encode()
    reply = curl(target, "/v2/models/echo/infer", head + bytes(4), headers={LENGTH: str(len(head))})
    length = int(reply.headers[LENGTH])
    assert [output["name"] for output in json.loads(reply.body[:length])["outputs"]] == outputs
    expected = {"bool_": b"\x01", "uint8": b"\x07", "int8": b"\xff"}
    assert reply.body[length:] == b"".join(expected[name] for name in outputs)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_answers_are_compressed_for_those_who_ask(target: Target, encoding: str) -> None:
    """A large answer comes in the encoding that `Accept-Encoding` lists, a small one or an unwilling caller's plain."""
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [5000], "data": [1.5] * 5000}]}
    body = json.dumps(request).encode()
    plain = curl(target, "/v2/models/add/infer", body)
    packed = curl(target, "/v2/models/add/infer", body, headers={"accept-encoding": f"br, {encoding}"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == encoding
    assert packed.headers["vary"] == "accept-encoding"
    assert zlib.decompress(packed.body, zlib.MAX_WBITS | (16 if encoding == "gzip" else 0)) == plain.body
    assert len(packed.body) < len(plain.body) / 10
    small = curl(target, "/v2/models/add/infer", json.dumps(ADD).encode(), headers={"accept-encoding": encoding})
    assert "content-encoding" not in small.headers


def test_generate(target: Target) -> None:
    """The generate extension: flat JSON there and back, and as events of a model that streams."""
    reply = curl(target, "/v2/models/upper/generate", b'{"text": "hello"}')
    assert reply.status == 200
    assert reply.json["upper"] == "HELLO"
    events = curl(target, "/v2/models/count/generate_stream", b'{"n": 2}')
    assert events.headers["content-type"].startswith("text/event-stream")
    numbers = [json.loads(line[6:])["output"] for line in events.body.splitlines() if line.startswith(b"data: ")]
    assert numbers == [0, 1]


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({"priority": 1, "timeout": 5_000_000, "mine": "any"}, 200, ""),
        ({"triton_enable_empty_final_response": True}, 200, ""),
        ({"sequence_id": 0, "sequence_start": False}, 200, ""),
        ({"sequence_id": "a"}, 501, "sequences are not offered"),
        ({"triton_anything": 1}, 400, "reserved"),
        ({"headers": "x"}, 400, "reserved"),
        ({"binary_data_output": 1}, 400, "binary_data_output must be true or false"),
        ({"priority": -1}, 400, "priority"),
        ({"timeout": "soon"}, 400, "timeout"),
        ({"mine": [1]}, 400, "parameters"),
    ],
)
def test_parameters(target: Target, parameters: dict[str, Any], status: int, words: str) -> None:
    """An author's own parameters pass, those that the protocol knows are checked, those that it reserves refused."""
    reply = curl(target, "/v2/models/add/infer", json.dumps({**ADD, "parameters": parameters}).encode())
    assert reply.status == status
    assert words in reply.json.get("error", "")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v2/models/add/infer", b"{", 400),
        ("POST", "/v2/models/add/infer", b"\xff", 400),
        ("POST", "/v2/models/nope/infer", b"{}", 404),
        ("GET", "/v2/models/nope", None, 404),
        ("GET", "/v2/models/nope/ready", None, 404),
        ("GET", "/v2/models/nope/config", None, 404),
        ("GET", "/v2/models/nope/stats", None, 404),
        ("GET", "/v2/models/add/versions/77/stats", None, 404),
        ("GET", "/v2/nothing", None, 404),
        ("GET", "/v2/repository/index", None, 405),
        ("POST", "/v2/models/add/stats", b"", 405),
        ("POST", "/v2/repository/index", b"[1]", 400),
        ("POST", "/v2/repository/models/nope/load", b"", 404),
        ("POST", "/v2/repository/models/nope/unload", b"", 404),
        ("POST", "/v2/logging", b'{"log_info": false}', 501),
        ("POST", "/v2/systemsharedmemory/region/a/register", b"{}", 501),
        ("GET", "/v2/cudasharedmemory/status", None, 501),
    ],
)
def test_every_error_is_json(target: Target, method: str, path: str, body: bytes | None, status: int) -> None:
    """Whatever fails, the body is JSON with an `error`: Triton's clients read nothing else."""
    reply = curl(target, path, body, method=method)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["error"]
    assert reply.json["status"]
