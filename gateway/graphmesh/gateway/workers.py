"""Calls from the control plane to workers themselves, for what is asked of all of them; inference never goes here."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc
from google.protobuf.message import Message

from graphmesh.core.errors import from_code
from graphmesh.core.oip import SERVICE

if TYPE_CHECKING:
    from graphmesh.registry.records import WorkerRecord

__all__ = ["ask"]

_Answer = TypeVar("_Answer", bound=Message)


async def ask(
    worker: WorkerRecord, rpc: str, request: Message, answer: type[_Answer], *, timeout_s: float | None
) -> _Answer:
    """Return a worker's answer, over a connection of its own.

    Args:
        worker: Whom to ask.
        rpc: A method of the Open Inference Protocol's service.
        request: What to ask.
        answer: The message that it answers with.
        timeout_s: How long to wait; None waits as long as the caller does.

    Raises:
        GraphmeshError: with the worker's code and message; UNAVAILABLE if it cannot be reached.

    Cancellation: the worker is told.
    """
    host = f"[{worker.host}]" if ":" in worker.host else worker.host
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"{host}:{worker.grpc_port}", options=options) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/{rpc}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            found: _Answer = await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise from_code(error.code().value[0], error.details() or error.code().name) from error
        return found
