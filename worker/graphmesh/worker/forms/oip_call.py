"""Requests to other servers, and their answers, as the JSON of the Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.inference import InferenceResponse
from graphmesh.worker.forms.oip_tensors import Body, parameters_of, read_body, write_body

if TYPE_CHECKING:
    from graphmesh.core.inference import InferenceRequest

__all__ = ["decode_answer", "encode_call"]


def encode_call(request: InferenceRequest, binary: bool) -> Body:  # noqa: FBT001 - handed to a thread by position
    """Return the body of a request for all outputs; its model and version belong into the path.

    Raises:
        InvalidRequest: an input has no JSON form and is not to be binary (INVALID_ARGUMENT, retry: no).
    """
    parameters = dict(request.parameters)
    if binary:
        parameters["binary_data_output"] = True
    fields: dict[str, object] = {"id": request.id} if request.id else {}
    if parameters:
        fields["parameters"] = parameters
    return write_body(fields, "inputs", request.inputs, lambda _: binary)


def decode_answer(body: bytes, header_length: str | None) -> InferenceResponse:
    """Return the answer of a body.

    Raises:
        InvalidRequest: malformed; names the field (INVALID_ARGUMENT, retry: no).
        Unsupported: shared memory (UNIMPLEMENTED, retry: no).
    """
    head, outputs = read_body(body, header_length, "outputs", null_is_nan=True)
    name, version = (str(head.get(key) or "") for key in ("model_name", "model_version"))
    return InferenceResponse(model=name, version=version, outputs=outputs, parameters=parameters_of(head, "parameters"))
