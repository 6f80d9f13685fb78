"""The edge of the gRPC shell: metadata in, errors out as statuses with details and pushback."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc

from graphmesh.core.status import as_graphmesh_error, pushback, rpc_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.inference import InferenceResponse

__all__ = ["DETAILS", "Context", "abort", "metadata_of", "reraise_cancelled", "send_headers", "status_code"]

DETAILS = "grpc-status-details-bin"
"""The trailer that carries a google.rpc.Status."""

Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpc ships no types

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_code(error: GraphmeshError) -> grpc.StatusCode:
    """Return grpc's own name of an error's code."""
    return _CODES[int(error.code)]


async def abort(error: BaseException, context: Context) -> NoReturn:
    """End the call with an error; raises, as grpc's own abort does."""
    reraise_cancelled(error)
    known = as_graphmesh_error(error)
    status = rpc_status(known)
    trailers = ((DETAILS, status.SerializeToString()), *pushback(known))
    await context.abort(status_code(known), status.message, trailers)
    raise AssertionError("abort always raises")


def reraise_cancelled(error: BaseException) -> None:
    """Let a cancellation of this very task through; one that came out of a model is the model's failure."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error


def metadata_of(context: Context) -> Mapping[str, str]:
    """Return what a call came with; values of `-bin` keys as they travel, in base64."""
    return {
        name: value if isinstance(value, str) else b64encode(value).decode()
        for name, value in context.invocation_metadata() or ()
    }


async def send_headers(response: InferenceResponse, context: Context) -> None:
    """Send the response headers that a model set, as initial metadata; to be called once, before the answer."""
    if response.headers:
        await context.send_initial_metadata(tuple(response.headers.items()))
