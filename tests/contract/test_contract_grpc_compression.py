"""gRPC's message compression, seen on the wire: a client that does not inflate for us."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import grpc
import pytest

from graphmesh.core.compression import compressed_with, inflate_sync
from graphmesh.core.oip import SERVICE
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

ALGORITHMS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}


@pytest.fixture
def channel(target: Target) -> Iterator[grpc.Channel]:
    """A channel that hands answers out as they came."""
    options = [("grpc.per_message_decompression", 0), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target.grpc, options=options) as opened:
        yield opened


def request(count: int) -> bytes:
    """Return a request of `add` that compresses well."""
    message = pb.ModelInferRequest(model_name="add", raw_input_contents=[bytes(4 * count)])
    message.inputs.add(name="x", datatype="FP32", shape=[count])
    data: bytes = message.SerializeToString()
    return data


@pytest.mark.parametrize("encoding", ALGORITHMS)
def test_answers_come_as_requests_went(channel: grpc.Channel, encoding: str) -> None:
    """A compressed call has a compressed answer, unary and streamed; a plain call a plain one."""
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    answer = infer(request(1000), compression=ALGORITHMS[encoding], timeout=10)
    assert compressed_with(answer) == encoding
    plain = infer(request(1000), timeout=10)
    assert compressed_with(plain) is None
    assert inflate_sync(answer, encoding, 1 << 20) == plain
    stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
    (streamed,) = stream(iter([request(1000)]), compression=ALGORITHMS[encoding], timeout=10)
    assert compressed_with(streamed) == encoding


def test_metadata_too(channel: grpc.Channel) -> None:
    """Calls about the server and its models answer in kind as well."""
    index = channel.unary_unary(f"/{SERVICE}/RepositoryIndex")
    message = pb.RepositoryIndexRequest(ready=True).SerializeToString()
    assert len(pb.RepositoryIndexResponse.FromString(index(message, timeout=10)).models) > 5


def test_large_answers_stay_plain(channel: grpc.Channel) -> None:
    """What would take long to compress is not: the event loop has other calls to serve."""
    count = 300_000
    message = pb.ModelInferRequest(model_name="add", raw_input_contents=[os.urandom(2 * count) + bytes(2 * count)])
    message.inputs.add(name="x", datatype="FP32", shape=[count])
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    answer = infer(message.SerializeToString(), compression=grpc.Compression.Gzip, timeout=10)
    assert compressed_with(answer) is None
    assert len(pb.ModelInferResponse.FromString(answer).raw_output_contents[0]) > 1 << 20


@pytest.mark.parametrize("method", ["ModelInfer", "ModelConfig", "RepositoryIndex"])
def test_a_bomb_is_stopped(channel: grpc.Channel, method: str) -> None:
    """Whatever the method, a message that inflates to a thousand times its size is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{SERVICE}/{method}")(bytes(20 << 20), compression=grpc.Compression.Gzip, timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "100 times" in str(caught.value.details())
