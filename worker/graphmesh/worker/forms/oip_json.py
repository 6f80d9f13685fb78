"""Requests and answers as the JSON of the Open Inference Protocol, with Triton's binary tensor extension.

A body is JSON, or JSON followed by the raw bytes of the tensors that say ``binary_data_size``, in their order; the
header ``Inference-Header-Content-Length`` then gives the length of the JSON. FP16 and BF16 have no JSON form in the
protocol: binary only. Where an answer to "which" is optional, null is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from graphmesh.core.errors import InvalidRequest, InvalidTensor, Unsupported
from graphmesh.core.inference import InferenceRequest, InferenceResponse, Parameter
from graphmesh.core.tensor import BYTES, RAW_ONLY, Tensor, check_shape, datatype_of, decode_raw, encode_raw, itemsize
from graphmesh.worker.forms.natural import array_from_elements, flatten, load_object
from graphmesh.worker.forms.wire import at, check_parameters, check_unique

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature, TensorSpec

__all__ = ["HEADER_LENGTH", "Answer", "Wanted", "decode_infer", "encode_infer", "metadata_json"]

HEADER_LENGTH = "inference-header-content-length"
"""The header that gives the length of the JSON in front of binary tensors."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An encoded answer."""

    body: bytes
    """JSON, then the raw bytes of binary outputs."""
    header_length: int | None = None
    """Length of the JSON if binary outputs follow."""


def decode_infer(body: bytes, header_length: str | None) -> tuple[InferenceRequest, Wanted]:
    """Return a request, its model left empty, and the form its outputs are wanted in.

    Raises:
        InvalidRequest: malformed; names the field (INVALID_ARGUMENT, retry: no).
        Unsupported: sequences, shared memory, classification (UNIMPLEMENTED, retry: no).
    """
    length = _header_length(header_length, len(body))
    head = load_object(memoryview(body)[:length])
    binary = _Binary(memoryview(body)[length:])
    inputs: dict[str, Tensor] = {}
    for index, tensor in enumerate(_objects(head, "inputs")):
        path = f"inputs[{index}]"
        name = _string(tensor, "name", path)
        if name in inputs:
            raise InvalidRequest(f"{path}.name must be unique, got {name[:140]!r} again")
        try:
            inputs[name] = _tensor(path, name, tensor, binary)
        except InvalidTensor as error:
            raise at(path, error) from None
    binary.check_end()
    parameters = _parameters(head, "parameters")
    default = _flag(parameters.pop("binary_data_output", False), "parameters.binary_data_output")
    check_parameters(parameters)
    asked = [(_string(one, "name", f"outputs[{index}]"), one) for index, one in enumerate(_objects(head, "outputs"))]
    check_unique("outputs", [name for name, _ in asked])
    wanted = {name: _binary_wanted(output, index) for index, (name, output) in enumerate(asked)}
    outputs = {name: default if choice is None else choice for name, choice in wanted.items()}
    request_id = head.get("id") or ""
    if not isinstance(request_id, str):
        raise InvalidRequest(f"id must be a string, got {type(request_id).__name__}")
    request = InferenceRequest(model="", inputs=inputs, id=request_id, parameters=parameters, outputs=tuple(wanted))
    return request, Wanted(binary=default, outputs=outputs)


def _header_length(text: str | None, total: int) -> int:
    if text is None:
        return total
    if not text.isascii() or not text.isdigit() or len(text) > len(str(total)) or int(text) > total:
        raise InvalidRequest(f"Inference-Header-Content-Length must be from 0 to {total}, got {text[:20]!r}")
    return int(text)


class _Binary:
    """The bytes after the JSON, taken from the front."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def take(self, path: str, size: object) -> memoryview:
        left = len(self._data) - self._taken
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= left:
            raise InvalidTensor(f"{path}.parameters.binary_data_size must be from 0 to {left}, got {str(size)[:20]}")
        self._taken += size
        return self._data[self._taken - size : self._taken]

    def check_end(self) -> None:
        if self._taken != len(self._data):
            raise InvalidRequest(f"{len(self._data) - self._taken} bytes are left over after the binary tensors")


def _tensor(path: str, name: str, tensor: dict[str, Any], binary: _Binary) -> Tensor:
    datatype = _string(tensor, "datatype", path)
    size = itemsize(datatype)
    shape = tensor.get("shape")
    if not isinstance(shape, list) or any(type(dimension) is not int for dimension in shape):
        raise InvalidTensor(f"{path}.shape must be a list of whole numbers")
    parameters = _parameters(tensor, f"{path}.parameters")
    if "shared_memory_region" in parameters:
        raise Unsupported(f"{path}.parameters: shared memory is not offered")
    if "binary_data_size" in parameters:
        if tensor.get("data"):  # kserve's client sends an empty one beside an empty tensor
            raise InvalidTensor(f"{path} must have either data or binary_data_size, got both")
        return decode_raw(name, datatype, shape, binary.take(path, parameters["binary_data_size"]))
    if "data" not in tensor:
        raise InvalidTensor(f"{path}.data is missing")
    if datatype in RAW_ONLY:
        raise InvalidTensor(f"{path}.datatype {datatype} has no JSON form; send binary_data")
    count = check_shape(name, shape)
    _, elements = flatten(name, tensor["data"])
    if len(elements) != count:
        kind = "" if size is None else f" of {size} bytes"
        raise InvalidTensor(f"{path}.data: shape {shape} takes {count} elements{kind}, got {len(elements)}")
    return array_from_elements(name, datatype, elements).reshape(shape)


def _objects(head: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = head.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or any(not isinstance(item, dict) for item in value):
        raise InvalidRequest(f"{key} must be a list of objects")
    return value


def _string(holder: dict[str, Any], key: str, path: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}.{key} must be a string, got {type(value).__name__}")
    return value


def _parameters(holder: dict[str, Any], path: str) -> dict[str, Parameter]:
    value = holder.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict) or any(not isinstance(item, bool | int | float | str) for item in value.values()):
        raise InvalidRequest(f"{path} must be an object of booleans, numbers and strings")
    return dict(value)


def _binary_wanted(output: dict[str, Any], index: int) -> bool | None:
    path = f"outputs[{index}].parameters"
    parameters = _parameters(output, path)
    for name in ("shared_memory_region", "classification"):
        if name in parameters:
            raise Unsupported(f"{path}[{name!r}] is not offered")
    return _flag(parameters["binary_data"], f"{path}.binary_data") if "binary_data" in parameters else None


def _flag(value: Parameter, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{path} must be true or false, got {str(value)[:20]}")
    return value


def encode_infer(response: InferenceResponse, wanted: Wanted) -> Answer:
    """Return the encoded answer.

    Raises:
        InvalidRequest: an output has no JSON form and was not asked for as binary data (INVALID_ARGUMENT, retry: no).
    """
    outputs, raw = [], []
    for name, array in response.outputs.items():
        output: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if wanted.is_binary(name):
            raw.append(encode_raw(array))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            output["data"] = _data(name, array)
        outputs.append(output)
    body: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        body["id"] = response.id
    if response.parameters:
        body["parameters"] = dict(response.parameters)
    body["outputs"] = outputs
    head = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return Answer(body=b"".join([head, *raw]), header_length=len(head)) if raw else Answer(body=head)


def _data(name: str, array: Tensor) -> object:
    datatype = datatype_of(array)
    if datatype in RAW_ONLY:
        raise InvalidRequest(f"output {name!r} is {datatype}, which has no JSON form; ask for binary_data")
    if datatype != BYTES:
        return np.ascontiguousarray(array).reshape(-1)
    try:
        return [element.decode() for element in array.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"output {name!r} is not UTF-8 text; ask for binary_data") from error


def metadata_json(name: str, versions: tuple[str, ...], platform: str, signature: Signature) -> bytes:
    """Return a model's metadata; named and open dimensions are -1."""
    body = {
        "name": name,
        "versions": versions,
        "platform": platform,
        "inputs": [_spec(spec) for spec in signature.inputs],
        "outputs": [_spec(spec) for spec in signature.outputs],
    }
    return orjson.dumps(body)


def _spec(spec: TensorSpec) -> dict[str, object]:
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}
