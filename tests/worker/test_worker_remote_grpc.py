"""Models at another gRPC server: what is asked when they are loaded, what a call carries, what errors become."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from graphmesh.cli.ports import free_port
from graphmesh.core.errors import (
    Code,
    DeadlinePassed,
    GraphmeshError,
    LoadFailed,
    ModelFailed,
    Overloaded,
    Unavailable,
    from_code,
)
from graphmesh.core.status import rpc_status
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker import Batching, ModelConfig
from graphmesh.worker.local import LocalMesh
from tests.worker.far import TLS, FarGrpc
from tests.worker.streams import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from graphmesh.core.inference import Parameter

ROWS = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture
async def far() -> AsyncIterator[FarGrpc]:
    """A server with the model `m`."""
    async with FarGrpc() as running:
        yield running


def _mesh(source: str, **options: object) -> LocalMesh:
    return LocalMesh({"near": ModelConfig(name="near", source=source, **options)})  # type: ignore[arg-type]


async def _failure(source: str, **options: object) -> str:
    with pytest.raises(LoadFailed) as caught:
        async with _mesh(source, **options):
            pass
    return caught.value.message


async def test_typed_by_its_metadata(far: FarGrpc) -> None:
    """The signature is the server's metadata; open sizes have no name while the server does not batch."""
    async with _mesh(far.source) as mesh:
        signature = await mesh.signature("near")
    assert [str(spec) for spec in (*signature.inputs, *signature.outputs)] == ["x: FP32 (?, 2)", "y: FP32 (?, 2)"]
    assert not signature.streaming


async def test_call(far: FarGrpc) -> None:
    """A call carries the name and version there, tensors, parameters, the deadline, the request id and the trace."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"X-Request-Id": "r1", "traceparent": trace, "tracestate": "a=b", "authorization": "Bearer secret"}
    async with _mesh(f"{far.source}/v3") as mesh:
        parameters: dict[str, Parameter] = {"text": "t", "flag": True, "number": 3, "fraction": 0.5, "explain": True}
        outputs = await mesh.predict("near", x=ROWS, headers=headers, parameters=parameters, timeout_s=20)
    assert np.array_equal(outputs["y"], ROWS)
    request, metadata, left = far.calls[0]
    assert (request.model_name, request.model_version) == ("m", "v3")
    assert list(request.raw_input_contents) == [ROWS.tobytes()]
    assert {
        name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()
    } == {
        "text": "t",
        "flag": True,
        "number": 3,
        "fraction": 0.5,
    }
    assert (metadata["x-request-id"], metadata["traceparent"], metadata["tracestate"]) == ("r1", trace, "a=b")
    assert "authorization" not in metadata
    assert left is not None
    assert 10 < left <= 20


async def test_header_that_cannot_travel(far: FarGrpc) -> None:
    """A header value that HTTP cannot carry stays here, and the call goes on."""
    async with _mesh(far.source) as mesh:
        await mesh.predict("near", x=ROWS, headers={"traceparent": "a\r\nevil: 1", "x-request-id": "ü"})
    assert not {"traceparent", "evil", "x-request-id"} & far.calls[0][1].keys()


async def test_nobody_answers() -> None:
    """A server that is down fails the load with its address, the reason and the next step."""
    message = await _failure(f"grpc://127.0.0.1:{free_port()}/m")
    assert "no server answers at 127.0.0.1:" in message
    assert message.endswith("start it, or correct the address; then run: graphmesh model load near")


async def test_loaded_later() -> None:
    """What could not be loaded can be once the server is there."""
    port = free_port()
    await _failure(f"grpc://127.0.0.1:{port}/m")
    far = FarGrpc()
    await far.start(port)
    async with _mesh(far.source) as mesh:
        assert np.array_equal((await mesh.predict("near", x=ROWS))["y"], ROWS)
    await far.__aexit__()


async def test_model_is_not_ready(far: FarGrpc) -> None:
    """A model that the server has not loaded is named."""
    far.ready = False
    assert "has no model 'm' version 3 that is ready; load it there" in await _failure(f"{far.source}/3")


async def test_no_such_protocol() -> None:
    """A gRPC server of something else is recognised."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert "must speak the Open Inference Protocol, but has no ModelReady" in await _failure(
        f"grpc://127.0.0.1:{port}/m"
    )
    await server.stop(None)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (pb.ModelMetadataResponse(), "its metadata names no inputs; declare"),
        (
            pb.ModelMetadataResponse(inputs=[pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32")]),
            "its metadata names no outputs; declare",
        ),
        (
            pb.ModelMetadataResponse(inputs=[pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP8")]),
            "tensor 'x': datatype must be one of",
        ),
    ],
)
async def test_metadata_that_says_too_little(far: FarGrpc, metadata: pb.ModelMetadataResponse, said: str) -> None:
    """Without inputs and outputs of the protocol's datatypes, a model has no types."""
    far.metadata = metadata
    assert said in await _failure(far.source)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_errors_keep_their_code(far: FarGrpc, code: Code) -> None:
    """Each code arrives as it was sent, and the message says who sent it."""
    status = next(one for one in grpc.StatusCode if one.value[0] == code)
    far.abort = (status, "it says so", ())
    async with _mesh(far.source) as mesh:
        with pytest.raises(GraphmeshError) as caught:
            await mesh.predict("near", x=ROWS)
    error = caught.value
    assert (error.code, error.message) == (code, f"127.0.0.1:{far.port}: it says so")
    assert type(error) is type(from_code(code, ""))
    assert len(far.calls) == 1


@pytest.mark.parametrize("by_detail", [True, False])
async def test_pushback(far: FarGrpc, by_detail: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """When to come again survives, be it told by a detail or by gRPC's own trailer."""
    detail = rpc_status(Overloaded("full", retry_after_s=1.5)).SerializeToString()
    trailer = ("grpc-status-details-bin", detail) if by_detail else ("grpc-retry-pushback-ms", "1500")
    far.abort = (grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (trailer,))
    async with _mesh(far.source) as mesh:
        with pytest.raises(Overloaded) as caught:
            await mesh.predict("near", x=ROWS)
    assert caught.value.retry_after_s == 1.5


async def test_server_goes_and_comes_back(far: FarGrpc) -> None:
    """Without the server calls are UNAVAILABLE, safe to repeat; once it is back they are answered, without a load."""
    async with _mesh(far.source) as mesh:
        await mesh.predict("near", x=ROWS)
        await far.__aexit__()
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{far.port}: "):
            await mesh.predict("near", x=ROWS)
        again = FarGrpc()
        await again.start(far.port)
        async with again, asyncio.timeout(20):
            while not again.calls:
                with contextlib.suppress(Unavailable):
                    assert np.array_equal((await mesh.predict("near", x=ROWS))["y"], ROWS)
                await asyncio.sleep(0.02)


async def test_deadline(far: FarGrpc) -> None:
    """A deadline ends the call here and there."""
    far.hangs = True
    async with _mesh(far.source) as mesh:
        with pytest.raises(DeadlinePassed):
            await mesh.predict("near", x=ROWS, timeout_s=0.2)
        async with asyncio.timeout(5):
            await far.cancelled.wait()


async def test_cancelled(far: FarGrpc) -> None:
    """A caller that leaves cancels the call there at once."""
    far.hangs = True
    async with _mesh(far.source) as mesh:
        call = asyncio.create_task(mesh.predict("near", x=ROWS))
        await eventually(lambda: far.calls)
        call.cancel()
        await eventually(far.cancelled.is_set)
        assert (await asyncio.gather(call, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_answer_breaks_the_signature(far: FarGrpc) -> None:
    """An answer is held against the metadata, like any model's."""

    def wrong(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        answer = pb.ModelInferResponse(model_name="m")
        answer.outputs.add(name="z", datatype="FP32", shape=[1])
        answer.raw_output_contents.append(bytes(4))
        return answer

    far.answer = wrong
    async with _mesh(far.source) as mesh:
        with pytest.raises(ModelFailed, match="does not keep to its signature"):
            await mesh.predict("near", x=ROWS)


async def test_answer_is_malformed(far: FarGrpc) -> None:
    """An answer that contradicts itself is the server's fault, not the caller's."""

    def short(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        answer = pb.ModelInferResponse(model_name="m")
        answer.outputs.add(name="y", datatype="FP32", shape=[1, 2])
        answer.raw_output_contents.append(bytes(4))
        return answer

    far.answer = short
    async with _mesh(far.source) as mesh:
        with pytest.raises(GraphmeshError, match="the answer cannot be read") as caught:
            await mesh.predict("near", x=ROWS)
    assert caught.value.code is Code.INTERNAL


async def test_typed_answer(far: FarGrpc) -> None:
    """A server may answer with typed contents although it was asked with raw ones."""

    def typed(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        answer = pb.ModelInferResponse(model_name="m")
        answer.outputs.add(name="y", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([5, 6])
        return answer

    far.answer = typed
    async with _mesh(far.source) as mesh:
        assert (await mesh.predict("near", x=ROWS))["y"].tolist() == [[5, 6]]


async def test_limits(far: FarGrpc) -> None:
    """A request or an answer that is larger than allowed is RESOURCE_EXHAUSTED."""
    rows = np.zeros((512, 2), np.float32)
    async with _mesh(far.source, max_message_bytes=2048) as mesh:
        with pytest.raises(Overloaded, match="larger than max"):
            await mesh.predict("near", x=rows)
        far.answer = lambda _: pb.ModelInferResponse(model_name="m" * 4096)
        with pytest.raises(Overloaded, match="larger than max"):
            await mesh.predict("near", x=ROWS)


async def test_batch_axis() -> None:
    """Where the server batches, axis 0 is the batch, and batches can be gathered here, no larger than it takes."""
    far = FarGrpc()
    far.config = pb.ModelConfig(max_batch_size=4)
    async with far:
        async with _mesh(far.source, batching=Batching(max_batch_size=4, max_delay_ms=50)) as mesh:
            assert (await mesh.signature("near")).inputs[0].type == "FP32 (N, 2)"
            calls = [mesh.predict("near", x=np.full((1, 2), n, np.float32)) for n in range(4)]
            answers = await asyncio.gather(*calls)
        assert [float(answer["y"][0, 0]) for answer in answers] == [0, 1, 2, 3]
        assert sum(request.inputs[0].shape[0] for request, *_ in far.calls) == 4
        assert len(far.calls) < 4
        message = await _failure(far.source, batching=Batching(max_batch_size=5))
    assert f"max_batch_size must be at most 4, which is what 127.0.0.1:{far.port} takes, got 5" in message


async def test_batch_of_different_parameters() -> None:
    """Calls of a batch whose parameters differ reach the server apart, each with its own; each gets its own rows."""
    far = FarGrpc()
    far.config = pb.ModelConfig(max_batch_size=8)
    async with far, _mesh(far.source, batching=Batching(max_batch_size=8, max_delay_ms=100)) as mesh:
        calls = [mesh.predict("near", x=np.full((1, 2), n, np.float32), parameters={"k": n // 2}) for n in range(6)]
        answers = await asyncio.gather(*calls)
    assert [float(answer["y"][0, 0]) for answer in answers] == [0, 1, 2, 3, 4, 5]
    for request, *_ in far.calls:
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(-1, 2)
        assert {int(row[0]) // 2 for row in rows} == {request.parameters["k"].int64_param}


def _streamed(*values: float) -> list[pb.ModelStreamInferResponse]:
    found = []
    for value in values:
        answer = pb.ModelInferResponse(model_name="m")
        answer.outputs.add(name="y", datatype="FP32", shape=[1, 2])
        answer.raw_output_contents.append(np.full(2, value, np.float32).tobytes())
        found.append(pb.ModelStreamInferResponse(infer_response=answer))
    return found


@pytest.fixture
async def decoupled() -> AsyncIterator[FarGrpc]:
    """A server whose model streams."""
    far = FarGrpc()
    far.config = pb.ModelConfig(model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True), max_batch_size=4)
    async with far:
        yield far


async def test_stream(decoupled: FarGrpc) -> None:
    """A decoupled model streams; an empty message that only marks the end is no answer."""
    final = pb.ModelInferResponse(model_name="m")
    final.parameters["triton_final_response"].bool_param = True
    decoupled.answers = [*_streamed(1, 2), pb.ModelStreamInferResponse(infer_response=final)]
    async with _mesh(decoupled.source) as mesh:
        assert (await mesh.signature("near")).streaming
        answers = [float(one["y"][0, 0]) async for one in mesh.stream("near", x=ROWS, parameters={"k": 1})]
    assert answers == [1, 2]
    request, metadata, _ = decoupled.calls[0]
    assert request.parameters["k"].int64_param == 1
    assert metadata["triton_grpc_error"] == "true"


async def test_stream_fails(decoupled: FarGrpc) -> None:
    """A stream may fail after its first answers, with a status or, where the server knows none, with a text."""
    decoupled.answers = _streamed(1)
    decoupled.abort = (grpc.StatusCode.INVALID_ARGUMENT, "no", ())
    async with _mesh(decoupled.source) as mesh:
        stream = mesh.stream("near", x=ROWS)
        assert (await anext(stream))["y"].tolist() == [[1, 1]]
        with pytest.raises(GraphmeshError, match=rf"127\.0\.0\.1:{decoupled.port}: no") as caught:
            await anext(stream)
        assert caught.value.code is Code.INVALID_ARGUMENT
        decoupled.answers, decoupled.abort = [pb.ModelStreamInferResponse(error_message="broken")], None
        with pytest.raises(GraphmeshError, match=rf"127\.0\.0\.1:{decoupled.port}: broken") as caught:
            await anext(mesh.stream("near", x=ROWS))
        assert caught.value.code is Code.INTERNAL


async def test_stream_that_is_left(decoupled: FarGrpc) -> None:
    """A caller that leaves a stream cancels it there."""
    decoupled.answers, decoupled.hangs = _streamed(1), True
    async with _mesh(decoupled.source) as mesh:
        stream = mesh.stream("near", x=ROWS)
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(5):
            await decoupled.cancelled.wait()


async def test_tls() -> None:
    """TLS checks the certificate: by the system's authorities, or by those of `ca`."""
    far = FarGrpc()
    await far.start(tls=True)
    source = f"grpcs://localhost:{far.port}/m"
    async with _mesh(source, parameters={"ca": str(TLS / "ca.pem")}) as mesh:
        assert np.array_equal((await mesh.predict("near", x=ROWS))["y"], ROWS)
    assert "no server answers" in await _failure(source)
    await far.__aexit__()


async def test_unload_closes(far: FarGrpc) -> None:
    """After the unloading no connection is left."""
    async with _mesh(far.source) as mesh:
        await mesh.predict("near", x=ROWS)
        handler = mesh._open()
        model = next(iter(handler.models("near")))
        loaded = model._loaded  # type: ignore[attr-defined]
        channel = loaded._far._channel
        assert channel.get_state() is grpc.ChannelConnectivity.READY
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    assert loaded._far._channel is None
