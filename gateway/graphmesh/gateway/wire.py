"""What the gateway itself reads of inference requests."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from graphmesh.core.errors import InvalidRequest
from graphmesh.oip import open_inference_pb2

__all__ = ["named_model"]


def named_model(body: bytes) -> tuple[str, str]:
    """Return the model and version of a serialized ModelInferRequest, or raise InvalidRequest."""
    try:
        request = open_inference_pb2.ModelInferRequest.FromString(body)
    except DecodeError:
        raise InvalidRequest("the body must be an inference.ModelInferRequest, got bytes that do not parse") from None
    return request.model_name, request.model_version
