"""What calls of other gRPC servers share: how a channel is set up, statuses as our errors, messages of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.rpc import error_details_pb2, status_pb2

from graphmesh.core.errors import GraphmeshError, Overloaded, from_code
from graphmesh.graph.running.limits import MISSES_DEADLINE
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.forms.wire import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import grpc

__all__ = ["channel_options", "details_of", "error_of", "streamed"]

_PING_S = 10.0
_LOST_S = 5.0
_DETAILS = "grpc-status-details-bin"
_PUSHBACK_MS = "grpc-retry-pushback-ms"


def channel_options(
    *, max_message_bytes: int, connect_s: float, ping_s: float = _PING_S, lost_s: float = _LOST_S
) -> tuple[tuple[str, int], ...]:
    """Return the options of a channel.

    Args:
        max_message_bytes: Of a request or an answer.
        connect_s: How long one attempt to connect may take.
        ping_s: Silence of a connection with calls in flight after which it is tried.
        lost_s: How long the answer to that may take before the connection is lost, and its calls are UNAVAILABLE.
    """
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.min_reconnect_backoff_ms", round(connect_s * 1000)),  # bounds one attempt to connect, too
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.keepalive_time_ms", round(ping_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(lost_s * 1000)),
        ("grpc.http2.ping_timeout_ms", round(lost_s * 1000)),  # without it, the one above waits for a minute
    )


def details_of(error: grpc.RpcError) -> tuple[Any, ...]:
    """Return the details of a status, as google.rpc.Status has them; none if the server sent none that can be read."""
    found = dict(error.trailing_metadata() or ()).get(_DETAILS)
    try:
        return tuple(status_pb2.Status.FromString(found).details) if found else ()
    except ValueError:  # protobuf's DecodeError: what a server says beside its status must not hide the status
        return ()


def error_of(error: grpc.RpcError) -> GraphmeshError:
    """Return the error that stands for a failed call: of its code, with its message and its pushback."""
    known = from_code(error.code().value[0], error.details() or error.code().name)
    if isinstance(known, Overloaded):
        details = details_of(error)
        known.retry_after_s = _pause_s(details) or _pushback_s(error)
        known.metadata.update(_misses_deadline(details))
    return known


def _misses_deadline(details: Iterable[Any]) -> Mapping[str, str]:
    """Return what marks a call that was refused because it would miss its deadline; nothing for any other."""
    info = error_details_pb2.ErrorInfo()
    said = any(detail.Unpack(info) and MISSES_DEADLINE.items() <= dict(info.metadata).items() for detail in details)
    return MISSES_DEADLINE if said else {}


def _pause_s(details: Iterable[Any]) -> float:
    """Return after how long whoever refused the call would have it repeated; 0 if they did not say."""
    for detail in details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return 0.0


def _pushback_s(error: grpc.RpcError) -> float:
    text = dict(error.trailing_metadata() or ()).get(_PUSHBACK_MS, "")
    return int(text) / 1000 if text.isascii() and text.isdigit() else 0.0


def streamed(data: bytes) -> pb.ModelInferResponse:
    """Return the answer in a message of a stream.

    Raises:
        GraphmeshError: it says that the call failed (INTERNAL, retry: no).
        InvalidRequest: it is no such message (INVALID_ARGUMENT, retry: no).
    """
    message: pb.ModelStreamInferResponse = parse(pb.ModelStreamInferResponse, data)
    if message.error_message:
        raise GraphmeshError(message.error_message)
    return message.infer_response
