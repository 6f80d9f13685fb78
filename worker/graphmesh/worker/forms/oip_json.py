"""Requests to us and our answers as the JSON of the Open Inference Protocol, with Triton's binary tensor extension.

Where an answer to "which" is optional, null is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from graphmesh.core.errors import InvalidRequest, Unsupported
from graphmesh.core.inference import InferenceRequest, InferenceResponse, Parameter
from graphmesh.worker.forms.oip_tensors import (
    HEADER_LENGTH,
    Body,
    objects,
    parameters_of,
    read_body,
    string_of,
    write_body,
)
from graphmesh.worker.forms.text_properties import text_properties
from graphmesh.worker.forms.wire import check_parameters, check_unique

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature, TensorSpec

__all__ = ["HEADER_LENGTH", "Wanted", "decode_infer", "encode_infer", "metadata_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """In which form outputs are wanted."""

    binary: bool = False
    """Those that say nothing themselves: raw bytes after the JSON."""
    outputs: Mapping[str, bool] = field(default_factory=dict)
    """By name: raw bytes or JSON."""

    def is_binary(self, name: str) -> bool:
        """Return whether an output is wanted as raw bytes."""
        return self.outputs.get(name, self.binary)


def decode_infer(body: bytes, header_length: str | None) -> tuple[InferenceRequest, Wanted]:
    """Return a request, its model left empty, and the form its outputs are wanted in.

    Raises:
        InvalidRequest: malformed; names the field (INVALID_ARGUMENT, retry: no).
        Unsupported: sequences, shared memory, classification (UNIMPLEMENTED, retry: no).
    """
    head, inputs = read_body(body, header_length, "inputs")
    parameters = parameters_of(head, "parameters")
    default = _flag(parameters.pop("binary_data_output", False), "parameters.binary_data_output")
    check_parameters(parameters)
    asked = [(string_of(one, "name", f"outputs[{index}]"), one) for index, one in enumerate(objects(head, "outputs"))]
    check_unique("outputs", [name for name, _ in asked])
    wanted = {name: _binary_wanted(output, index) for index, (name, output) in enumerate(asked)}
    outputs = {name: default if choice is None else choice for name, choice in wanted.items()}
    request_id = head.get("id") or ""
    if not isinstance(request_id, str):
        raise InvalidRequest(f"id must be a string, got {type(request_id).__name__}")
    request = InferenceRequest(model="", inputs=inputs, id=request_id, parameters=parameters, outputs=tuple(wanted))
    return request, Wanted(binary=default, outputs=outputs)


def _binary_wanted(output: dict[str, Any], index: int) -> bool | None:
    path = f"outputs[{index}].parameters"
    parameters = parameters_of(output, path)
    for name in ("shared_memory_region", "classification"):
        if name in parameters:
            raise Unsupported(f"{path}[{name!r}] is not offered")
    return _flag(parameters["binary_data"], f"{path}.binary_data") if "binary_data" in parameters else None


def _flag(value: Parameter, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{path} must be true or false, got {str(value)[:20]}")
    return value


def encode_infer(response: InferenceResponse, wanted: Wanted) -> Body:
    """Return the encoded answer.

    Raises:
        InvalidRequest: an output has no JSON form and was not asked for as binary data (INVALID_ARGUMENT, retry: no).
    """
    fields: dict[str, object] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        fields["id"] = response.id
    if response.parameters:
        fields["parameters"] = dict(response.parameters)
    return write_body(fields, "outputs", response.outputs, wanted.is_binary)


def metadata_json(name: str, versions: tuple[str, ...], platform: str, signature: Signature) -> bytes:
    """Return a model's metadata; named and open dimensions are -1, and `properties` say which tensors are text."""
    body: dict[str, object] = {
        "name": name,
        "versions": versions,
        "platform": platform,
        "inputs": [_spec(spec) for spec in signature.inputs],
        "outputs": [_spec(spec) for spec in signature.outputs],
    }
    if properties := text_properties(signature):
        body["properties"] = properties
    return orjson.dumps(body)


def _spec(spec: TensorSpec) -> dict[str, object]:
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}
