"""Triton's generate extension: JSON fields named like inputs become tensors, answers are flat JSON.

``{"text_input": "hello", "temperature": 0.5, "parameters": {...}, "id": "..."}``: a field that names an input is its
value, any other is a request parameter; so are the fields of `parameters`. What says less about its shape than the
signature does is given that shape: a single value is one element of any rank, and a flat list fills the fixed
dimensions and then the innermost free one. An answer is ``{"model_name": ..., "model_version": ..., output: value}``, a
tensor of one element being that element.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import orjson

from graphmesh.core.errors import FailedPrecondition, InvalidRequest, InvalidTensor
from graphmesh.core.inference import InferenceRequest, Parameter
from graphmesh.core.tensor import BYTES, Tensor, datatype_of
from graphmesh.worker.forms.natural import array_from_elements, flatten, load_object, to_json
from graphmesh.worker.forms.wire import check_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from graphmesh.core.inference import InferenceResponse
    from graphmesh.core.signature import Signature, TensorSpec

__all__ = ["decode_generate", "encode_generate", "one_answer"]

_PARAMETERS = "parameters"
_ID = "id"


def decode_generate(body: bytes, signature: Signature) -> InferenceRequest:
    """Return a request, its model left empty; its inputs are not checked against the signature here.

    Raises:
        InvalidRequest: not a JSON object, or a field that is neither an input nor a plain value (INVALID_ARGUMENT,
            retry: no).
        InvalidTensor: ragged lists, elements of another type, so many that no shape of the input has them; names the
            input (INVALID_ARGUMENT, retry: no).
        Unsupported: sequences (UNIMPLEMENTED, retry: no).
    """
    specs = {spec.name: spec for spec in signature.inputs}
    fields = load_object(body)
    nested = {} if _PARAMETERS in specs else fields.pop(_PARAMETERS, {})
    if not isinstance(nested, dict):
        raise InvalidRequest(f"{_PARAMETERS} must be an object, got {type(nested).__name__}")
    request_id = "" if _ID in specs else fields.pop(_ID, "")
    if not isinstance(request_id, str):
        raise InvalidRequest(f"{_ID} must be a string, got {type(request_id).__name__}")
    inputs: dict[str, Tensor] = {}
    parameters: dict[str, Parameter] = {}
    for name, value in (*fields.items(), *nested.items()):
        if name in inputs or name in parameters:
            raise InvalidRequest(f"{name[:140]!r} must be given once, it is also among the {_PARAMETERS}")
        if name in specs:
            inputs[name] = _tensor(specs[name], value)
        else:
            parameters[name] = _parameter(name, value, specs)
    check_parameters(parameters)
    return InferenceRequest(model="", inputs=inputs, id=request_id, parameters=parameters)


def _parameter(name: str, value: Any, inputs: Iterable[str]) -> Parameter:  # noqa: ANN401 - JSON
    if isinstance(value, bool | int | float | str):
        return value
    raise InvalidRequest(
        f"{name[:140]!r} is no input (these are {', '.join(inputs)}), and a parameter must be a boolean, number or "
        f"string, got {type(value).__name__}"
    )


def _tensor(spec: TensorSpec, value: object) -> Tensor:
    shape, elements = flatten(spec.name, value)
    if len(shape) <= 1 and len(shape) != len(spec.shape):
        shape = _shape(spec, len(elements))
    return array_from_elements(spec.name, spec.datatype, elements).reshape(shape)


def _shape(spec: TensorSpec, count: int) -> tuple[int, ...]:
    """Return the shape of so many elements: fixed dimensions as they are, the innermost free one takes the rest."""
    fixed = math.prod(size for size in spec.shape if isinstance(size, int))
    free = [index for index, size in enumerate(spec.shape) if not isinstance(size, int)]
    rest = count // fixed if fixed else 0
    if rest * fixed != count or (rest != 1 and not free):
        raise InvalidTensor(f"input {spec.name!r}: {count} elements do not fit {spec.type}")
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    if free:
        shape[free[-1]] = rest
    return tuple(shape)


def encode_generate(response: InferenceResponse, signature: Signature) -> bytes:  # noqa: ARG001 - natural JSON's needs it
    """Return the JSON of an answer."""
    body: dict[str, Any] = {_ID: response.id} if response.id else {}
    body |= {"model_name": response.model, "model_version": response.version}
    body |= {name: _value(array) for name, array in response.outputs.items()}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _value(array: Tensor) -> object:
    if array.size == 1:
        array = array.reshape(())
    if datatype_of(array) == BYTES:
        return _texts(array.tolist())
    return to_json(array, text=False)


def _texts(value: Any) -> object:  # noqa: ANN401 - bytes or nested lists of them
    if isinstance(value, list):
        return [_texts(item) for item in value]
    try:
        text: str = value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
    return text


def one_answer(answers: Sequence[InferenceResponse]) -> InferenceResponse:
    """Return the only answer.

    Raises:
        FailedPrecondition: there is none, or another one (FAILED_PRECONDITION, retry: no).
    """
    if len(answers) != 1:
        got = "none" if not answers else "more than one"
        raise FailedPrecondition(
            f"generate expects model to produce exactly 1 response, it produced {got}; use generate_stream"
        )
    return answers[0]
