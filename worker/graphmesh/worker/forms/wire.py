"""Requests and answers as protobuf messages of the Open Inference Protocol.

A request carries its tensors raw or typed, never both; an answer always raw. Every complaint names the field, and comes
before anything is allocated for the tensor.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from graphmesh.core.errors import InvalidRequest, InvalidTensor, Unsupported
from graphmesh.core.inference import InferenceRequest, InferenceResponse, Parameter
from graphmesh.core.tensor import BYTES, DTYPES, RAW_ONLY, Tensor, check_shape, datatype_of, decode_raw, encode_raw
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.signature import TensorSpec

    _Typed: TypeAlias = pb.ModelInferRequest.InferInputTensor | pb.ModelInferResponse.InferOutputTensor

__all__ = [
    "at",
    "check_parameters",
    "check_unique",
    "decode",
    "decode_request",
    "encode_request",
    "encode_response",
    "metadata_to_wire",
    "parse",
    "request_from_wire",
    "response_from_message",
    "response_from_wire",
    "response_to_wire",
]

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_MAX_TENSORS = 1024
_ON_LOOP_BYTES = 1024 * 1024
_MAX_INT64 = (1 << 63) - 1
_SEQUENCE = frozenset({"sequence_id", "sequence_start", "sequence_end"})
_RESERVED = frozenset({"headers", "binary_data_output"})
_TRITON = "triton_"
_FINAL_RESPONSE = "triton_enable_empty_final_response"


def parse(kind: type[Any], data: bytes) -> Any:  # noqa: ANN401 - an instance of `kind`
    """Return the message that bytes stand for.

    Raises:
        InvalidRequest: they are not one (INVALID_ARGUMENT, retry: no).
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"the body must be a protobuf {kind.DESCRIPTOR.full_name}; it cannot be parsed") from error


async def decode(data: bytes) -> InferenceRequest:
    """Return what `decode_request` does; a large message, of maybe millions of elements, beside the event loop.

    Cancellation: a thread that decodes goes on to its end.
    """
    return decode_request(data) if len(data) <= _ON_LOOP_BYTES else await asyncio.to_thread(decode_request, data)


def decode_request(data: bytes) -> InferenceRequest:
    """Return the request that the bytes of a ModelInferRequest stand for; raises as `request_from_wire`."""
    return request_from_wire(parse(pb.ModelInferRequest, data))


def request_from_wire(message: pb.ModelInferRequest) -> InferenceRequest:
    """Return the request of a message. Raw tensors of fixed size are read-only views of its bytes.

    Raises:
        InvalidRequest: malformed; the message names the field (INVALID_ARGUMENT, retry: no).
        Unsupported: sequences, shared memory, classification (UNIMPLEMENTED, retry: no).
    """
    count = len(message.inputs)
    if count > _MAX_TENSORS:
        raise InvalidRequest(f"inputs: at most {_MAX_TENSORS} tensors, got {count}")
    if message.raw_input_contents:
        inputs = _raw_inputs(message.inputs, message.raw_input_contents)
    else:
        for index, tensor in enumerate(message.inputs):
            if tensor.parameters:
                _check_input_parameters(index, tensor)
        inputs = _typed_tensors("inputs", message.inputs)
    if len(inputs) != count:
        check_unique("inputs", [tensor.name for tensor in message.inputs])
    request = InferenceRequest(model=message.model_name, inputs=inputs, version=message.model_version, id=message.id)
    if message.outputs:
        request.outputs = _requested(message.outputs)
    if message.parameters:
        request.parameters = _parameters_from_wire("parameters", message.parameters)
        check_parameters(request.parameters)
    return request


def check_parameters(parameters: Mapping[str, Parameter]) -> None:
    """Refuse what would be misunderstood if it were ignored, and names that the protocol keeps for itself.

    `priority` and `timeout` are checked where calls queue.

    Raises:
        Unsupported: sequences (UNIMPLEMENTED, retry: no).
        InvalidRequest: a reserved name, or a flag that is not a boolean (INVALID_ARGUMENT, retry: no).
    """
    for name, value in parameters.items():
        if name in _SEQUENCE and value:
            raise Unsupported(f"parameters[{name!r}]: sequences are not offered")
        if name == _FINAL_RESPONSE:
            if not isinstance(value, bool):
                raise InvalidRequest(f"parameters[{name!r}] must be true or false, got {str(value)[:20]}")
        elif name in _RESERVED or name.startswith(_TRITON):
            raise InvalidRequest(f"parameters[{name[:140]!r}] has a reserved name, which means nothing here")


def check_unique(path: str, names: Sequence[str]) -> None:
    """Raise InvalidRequest if a name occurs twice."""
    if len(set(names)) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InvalidRequest(f"{path}: names must be unique, got {twice[:140]!r} twice")


def at(path: str, error: InvalidTensor) -> InvalidTensor:
    """Return an error that begins with the field it is about."""
    return error if error.message.startswith(path) else InvalidTensor(f"{path}: {error.message}")


def _raw_inputs(tensors: Sequence[pb.ModelInferRequest.InferInputTensor], raw: Sequence[bytes]) -> dict[str, Tensor]:
    if len(raw) != len(tensors):
        raise InvalidRequest(
            f"raw_input_contents must have one entry for each of {len(tensors)} inputs, got {len(raw)}"
        )
    inputs = {}
    for index, tensor in enumerate(tensors):
        if tensor.HasField("contents") and tensor.contents.ListFields():  # mlserver's client sends empty ones
            raise InvalidRequest(f"inputs[{index}].contents must be empty when raw_input_contents is used")
        if tensor.parameters:
            _check_input_parameters(index, tensor)
        try:
            inputs[tensor.name] = decode_raw(tensor.name, tensor.datatype, tuple(tensor.shape), raw[index])
        except InvalidTensor as error:
            raise at(f"inputs[{index}]", error) from None
    return inputs


def _typed_tensors(key: str, tensors: Sequence[_Typed]) -> dict[str, Tensor]:
    found = {}
    for index, tensor in enumerate(tensors):
        path = f"{key}[{index}]"
        try:
            found[tensor.name] = _typed(path, tensor)
        except InvalidTensor as error:
            raise at(path, error) from None
    return found


def _check_input_parameters(index: int, tensor: pb.ModelInferRequest.InferInputTensor) -> None:
    if "shared_memory_region" in tensor.parameters:
        raise Unsupported(f"inputs[{index}].parameters: shared memory is not offered")


def _typed(path: str, tensor: _Typed) -> Tensor:
    datatype = tensor.datatype
    if datatype in RAW_ONLY:
        raise InvalidTensor(f"{path}.datatype {datatype} has no typed contents, only raw ones")
    field = _CONTENTS.get(datatype)
    if field is None:
        raise InvalidTensor(
            f"{path}.datatype must be one of {', '.join(_CONTENTS)} with contents, got {datatype[:40]!r}"
        )
    others = [descriptor.name for descriptor, _ in tensor.contents.ListFields() if descriptor.name != field]
    if others:
        raise InvalidTensor(f"{path}.contents: {datatype} elements belong into {field}, got {others[0]}")
    elements = getattr(tensor.contents, field)
    count = check_shape(tensor.name, tensor.shape)
    if len(elements) != count:
        raise InvalidTensor(
            f"{path}.contents.{field}: shape {list(tensor.shape)} takes {count} elements, got {len(elements)}"
        )
    array = _array(f"{path}.contents.{field}", datatype, elements)
    array.flags.writeable = False  # as raw ones are
    return array.reshape(tensor.shape)


def _array(path: str, datatype: str, elements: Sequence[Any]) -> Tensor:
    dtype = DTYPES[datatype]
    if datatype == BYTES:
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return array
    if dtype.kind in "iu" and len(elements):
        limits = np.iinfo(dtype)
        if min(elements) < limits.min or max(elements) > limits.max:
            raise InvalidTensor(f"{path}: {datatype} elements must be from {limits.min} to {limits.max}")
    return np.array(elements, dtype=dtype)


def _requested(outputs: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor]) -> tuple[str, ...]:
    for index, output in enumerate(outputs):
        for name in ("shared_memory_region", "classification"):
            if name in output.parameters:
                raise Unsupported(f"outputs[{index}].parameters[{name!r}] is not offered")
    names = tuple(output.name for output in outputs)
    check_unique("outputs", names)
    return names


def _parameters_from_wire(path: str, parameters: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        which = parameter.WhichOneof("parameter_choice")
        if which is None:
            raise InvalidRequest(f"{path}[{name[:140]!r}] must have a value")
        found[name] = getattr(parameter, which)
    return found


def _parameter_to_wire(value: Parameter) -> pb.InferParameter:
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        return pb.InferParameter(uint64_param=value) if value > _MAX_INT64 else pb.InferParameter(int64_param=value)
    if isinstance(value, float):
        return pb.InferParameter(double_param=value)
    return pb.InferParameter(string_param=value)


def response_to_wire(response: InferenceResponse) -> pb.ModelInferResponse:
    """Return the message of an answer, its tensors raw."""
    message = pb.ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    for name, array in response.outputs.items():
        message.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        message.raw_output_contents.append(encode_raw(array))
    for name, value in response.parameters.items():
        message.parameters[name].CopyFrom(_parameter_to_wire(value))
    return message


def encode_response(response: InferenceResponse) -> bytes:
    """Return the bytes of an answer's ModelInferResponse."""
    return response_to_wire(response).SerializeToString()


def encode_request(request: InferenceRequest) -> bytes:
    """Return the bytes of a request's ModelInferRequest, its tensors raw."""
    message = pb.ModelInferRequest(model_name=request.model, model_version=request.version, id=request.id)
    for name, array in request.inputs.items():
        message.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        message.raw_input_contents.append(encode_raw(array))
    for name in request.outputs:
        message.outputs.add(name=name)
    for name, value in request.parameters.items():
        message.parameters[name].CopyFrom(_parameter_to_wire(value))
    return message.SerializeToString()


def response_from_wire(data: bytes) -> InferenceResponse:
    """Return the answer that the bytes of a ModelInferResponse stand for; raises as `response_from_message`."""
    return response_from_message(parse(pb.ModelInferResponse, data))


def response_from_message(message: pb.ModelInferResponse) -> InferenceResponse:
    """Return the answer of a message, whose tensors are raw or typed: what others send to a raw request may be either.

    Raises:
        InvalidRequest: malformed (INVALID_ARGUMENT, retry: no).
    """
    raw = message.raw_output_contents
    if not raw and any(tensor.HasField("contents") for tensor in message.outputs):
        outputs = _typed_tensors("outputs", message.outputs)
    elif len(raw) == len(message.outputs):
        outputs = {
            tensor.name: decode_raw(tensor.name, tensor.datatype, tensor.shape, raw[index])
            for index, tensor in enumerate(message.outputs)
        }
    else:
        raise InvalidRequest(f"raw_output_contents must have one entry for each output, got {len(raw)}")
    return InferenceResponse(
        model=message.model_name,
        version=message.model_version,
        outputs=outputs,
        id=message.id,
        parameters=_parameters_from_wire("parameters", message.parameters) if message.parameters else {},
    )


def metadata_to_wire(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    """Return a tensor's metadata; named and open dimensions are -1."""
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=shape)
