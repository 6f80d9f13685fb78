"""Every lie a tensor can tell, and bytes that are no message, at every entrance: INVALID_ARGUMENT, naming the field."""

from __future__ import annotations

import http.client
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import grpc
import pytest

from graphmesh.core.oip import SERVICE
from graphmesh.oip import open_inference_pb2 as pb
from tests.contract.lies import LIES, MODEL, Lie

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

_INVALID = "3"


@pytest.fixture
def channel(target: Target) -> Iterator[grpc.Channel]:
    """A channel to the worker or the gateway."""
    with grpc.insecure_channel(target.grpc) as opened:
        yield opened


def unary(channel: grpc.Channel, message: bytes, *, compression: grpc.Compression | None = None) -> str:
    """Return what ModelInfer says to a message that it must refuse."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{SERVICE}/ModelInfer")(message, timeout=10, compression=compression)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


def streamed(channel: grpc.Channel, message: bytes) -> str:
    """Return what ModelStreamInfer says to a message that it must refuse, in the stream, which goes on."""
    answers = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter([message, message]), timeout=10)
    first, second = (pb.ModelStreamInferResponse.FromString(answer) for answer in answers)
    assert first.error_message == second.error_message
    return str(first.error_message)


def post(address: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and body of a POST."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def fast(address: str, message: bytes) -> str:
    """Return what a worker's fast path says to a message that it must refuse."""
    status, headers, body = post(address, f"/{SERVICE}/ModelInfer", message, {"content-type": "application/x-protobuf"})
    assert (status, headers["grpc-status"], body) == (200, _INVALID, b"")
    return unquote(headers["grpc-message"])


def rest(address: str, body: bytes, length: int | None) -> str:
    """Return what the protocol's JSON says to a body that it must refuse."""
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    status, _, answer = post(address, f"/v2/models/{MODEL}/infer", body, headers)
    document = json.loads(answer)
    assert (status, document["code"]) == (400, 3)
    return str(document["error"])


@pytest.mark.parametrize("lie", LIES, ids=[lie.name for lie in LIES])
def test_lies_are_named(target: Target, channel: grpc.Channel, lie: Lie) -> None:
    """A lie is refused by name in every form: raw, typed, JSON, binary; unary, streamed, on the fast path."""
    said: list[str] = []
    for message in lie.protobufs():
        data = message.SerializeToString()
        said += [unary(channel, data), streamed(channel, data)]
        if target.direct:
            said.append(fast(target.http, data))
    said += [rest(target.http, *body) for body in lie.bodies()]
    assert said
    for words in said:
        assert re.search(lie.words, words), words


MALFORMED = {
    "no-field": b"\x0f\xff",
    "truncated-varint": b"\x0a\xff",
    "endless-varint": b"\x08" + b"\xff" * 11,
    "group": b"\x0b\x0b\x0b",
    "length-past-the-end": b"\x2a\xff\xff\xff\xff\x07abc",
    "wrong-wire-type": b"\x0a\x02\xff\xfe",  # a name that is not UTF-8
    "nested": b"\x0b" * 10_000,
    "gzip": b"\x1f\x8b\x08\x00junk",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_message_is_refused(target: Target, channel: grpc.Channel, name: str) -> None:
    """Bytes that are no message are INVALID_ARGUMENT at every method, never UNKNOWN; the server goes on."""
    message = MALFORMED[name]
    for method in ("ModelInfer", "ModelMetadata", "ModelConfig", "RepositoryModelLoad", "ModelStatistics"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(f"/{SERVICE}/{method}")(message, timeout=10)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, method
    if target.direct:
        assert fast(target.http, message)
    live = channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=10)
    assert pb.ServerLiveResponse.FromString(live).live


@pytest.mark.parametrize("lie", LIES[:3], ids=[lie.name for lie in LIES[:3]])
def test_compressed_lies_are_named(channel: grpc.Channel, lie: Lie) -> None:
    """Compression hides no lie; through the gateway it goes another way."""
    for message in lie.protobufs():
        message.id = "x" * 1000  # worth compressing
        assert re.search(lie.words, unary(channel, message.SerializeToString(), compression=grpc.Compression.Gzip))
