"""A model at another server, called by gRPC. Its channel belongs to the event loop of the first call.

The questions of `describe` go over a channel of their own, since they are asked on a thread, before there is a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from graphmesh.core.errors import Code, GraphmeshError, InvalidRequest, LoadFailed
from graphmesh.core.oip import SERVICE
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.backends.remote_far import (
    ASK_S,
    beside_if_large,
    cannot_be_read,
    close_on,
    describe,
    led,
    no_model,
    nobody,
    size_of,
)
from graphmesh.worker.forms.wire import encode_request, response_from_message, response_from_wire
from graphmesh.worker.http.routes import FAST_PATH, STREAM_INFER
from graphmesh.worker.rpc.client import channel_options, error_of, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.worker.backends.remote_address import Address
    from graphmesh.worker.backends.remote_far import Description

__all__ = ["GrpcFar"]

_CONNECT_S = 5.0
_STRICT = ("triton_grpc_error", "true")  # without it, a failure in a stream has a text but no code


class GrpcFar:
    """A `Far` over gRPC.

    Args:
        address: Where the model is.
        ca: A file of certificates (PEM) that vouch for the server; None takes the system's.
        max_message_bytes: Of a request or an answer.
    """

    def __init__(self, address: Address, *, ca: Path | None, max_message_bytes: int) -> None:
        self._address = address
        self._options = channel_options(max_message_bytes=max_message_bytes, connect_s=_CONNECT_S)
        self._credentials = grpc.ssl_channel_credentials(_roots(ca)) if address.secure else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None

    def describe(self) -> Description:
        """Ask for readiness, metadata and, if the server has it, the configuration."""
        address, options = self._address, self._options
        with (
            grpc.secure_channel(address.authority, self._credentials, options)
            if self._credentials
            else grpc.insecure_channel(address.authority, options)
        ) as channel:
            if not self._ask(channel, "ModelReady", pb.ModelReadyRequest, pb.ModelReadyResponse).ready:
                raise LoadFailed(no_model(address))
            metadata = self._ask(channel, "ModelMetadata", pb.ModelMetadataRequest, pb.ModelMetadataResponse)
            config = pb.ModelConfig()
            with contextlib.suppress(LoadFailed):  # only Triton and its kin have it
                config = self._ask(channel, "ModelConfig", pb.ModelConfigRequest, pb.ModelConfigResponse).config
        return describe(
            address,
            _tensors(metadata.inputs),
            _tensors(metadata.outputs),
            properties=metadata.properties,
            platform=metadata.platform,
            max_batch_size=config.max_batch_size,
            streaming=config.model_transaction_policy.decoupled,
        )

    def _ask(self, channel: grpc.Channel, method: str, question: type[Any], answer: type[Any]) -> Any:
        address = self._address
        ask = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=question.SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return ask(question(name=address.model, version=address.version), timeout=ASK_S)
        except grpc.RpcError as error:
            known = error_of(error)
            if known.code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED}:
                raise LoadFailed(nobody(address, known.message)) from error
            if known.code is Code.UNIMPLEMENTED:
                raise LoadFailed(
                    f"{address.authority} must speak the Open Inference Protocol, but has no {method}; correct the "
                    "address, or what runs there"
                ) from error
            raise LoadFailed(no_model(address, f"{known.code.name}: {known.message}")) from error

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request there."""
        body = await beside_if_large(size_of(request), encode_request, request)
        call = self._open().unary_unary(FAST_PATH)
        try:
            answer: bytes = await call(body, timeout=request.deadline.timeout(), metadata=_metadata(request))
        except grpc.aio.AioRpcError as error:
            raise led(self._address, error_of(error)) from error
        try:
            return await beside_if_large(len(answer), response_from_wire, answer)
        except InvalidRequest as error:
            raise cannot_be_read(self._address, error) from error

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request there and yield each of its answers; an end that has no tensors is none."""
        body = await beside_if_large(size_of(request), encode_request, request)
        method = self._open().stream_stream(STREAM_INFER)
        call = method([body], timeout=request.deadline.timeout(), metadata=(*_metadata(request), _STRICT))
        try:
            async for data in call:
                message = self._streamed(data)
                if message.outputs:
                    yield self._response(message)
        except grpc.aio.AioRpcError as error:
            raise led(self._address, error_of(error)) from error
        finally:
            call.cancel()

    def _streamed(self, data: bytes) -> pb.ModelInferResponse:
        try:
            return streamed(data)
        except InvalidRequest as error:
            raise cannot_be_read(self._address, error) from error
        except GraphmeshError as error:
            raise led(self._address, error) from None

    def _response(self, message: pb.ModelInferResponse) -> InferenceResponse:
        try:
            return response_from_message(message)
        except InvalidRequest as error:
            raise cannot_be_read(self._address, error) from error

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._loop, target = asyncio.get_running_loop(), self._address.authority
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(target, self._options)
            else:
                self._channel = grpc.aio.secure_channel(target, self._credentials, self._options)
        return self._channel

    def close(self) -> None:
        """Close the channel, on its own loop; without one that runs it is closed when it is forgotten."""
        if self._channel is not None:
            close_on(self._loop, self._channel.close)
            self._channel = None


def _roots(ca: Path | None) -> bytes | None:
    """Return the certificates to trust; None for those that gRPC brings, where the system has none."""
    file = ca or ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None


def _tensors(found: Sequence[pb.ModelMetadataResponse.TensorMetadata]) -> list[tuple[str, str, Sequence[int]]]:
    return [(tensor.name, tensor.datatype, tensor.shape) for tensor in found]


def _metadata(request: InferenceRequest) -> tuple[tuple[str, str], ...]:
    return tuple(request.headers.items())
