"""What a test writes and reads: plain values, turned into tensors by a signature and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.errors import InvalidTensor
from graphmesh.core.tensor import BYTES, DTYPES, Tensor, datatype_of
from graphmesh.worker.hosting.contract import decode_text, encode_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.inference import InferenceResponse
    from graphmesh.core.signature import Signature, TensorSpec

__all__ = ["Outputs", "to_outputs", "to_tensors"]


class Outputs(dict[str, Any]):
    """The outputs by name: arrays of numbers, numbers, `str`, `bytes`, or lists of the last two."""

    def __init__(self, values: Mapping[str, Any], response: InferenceResponse) -> None:
        super().__init__(values)
        self.model = response.model
        """The model or graph that answered."""
        self.version = response.version
        """Its version, or the revision of a graph."""
        self.headers = dict(response.headers)
        """Response headers that the model set."""
        self.parameters = dict(response.parameters)
        """The answer's parameters."""


def to_tensors(values: Mapping[str, object], signature: Signature) -> dict[str, Tensor]:
    """Return tensors by input name.

    Arrays keep their dtype, as on the wire, and are handed over read-only, as they arrive from there; everything else
    takes the dtype that the signature says.

    Raises:
        SignatureMismatch: no input has such a name (INVALID_ARGUMENT, retry: no).
        InvalidTensor: a value cannot be such a tensor (INVALID_ARGUMENT, retry: no).
    """
    return {name: _to_tensor(signature.input(name), value) for name, value in values.items()}


def _to_tensor(spec: TensorSpec, value: object) -> Tensor:
    if spec.datatype == BYTES:
        tensor = encode_text(value if isinstance(value, np.ndarray) else np.array(value, dtype=object))
        wrong = next((element for element in tensor.reshape(-1).tolist() if not isinstance(element, bytes)), None)
        if wrong is not None:
            raise InvalidTensor(f"input {spec.name!r} must hold str or bytes, got {type(wrong).__name__}")
    elif isinstance(value, np.ndarray | np.generic):
        tensor = np.array(value, order="C")
    else:
        tensor = _numbers(spec, value)
    tensor.flags.writeable = False
    return tensor


def _numbers(spec: TensorSpec, value: object) -> Tensor:
    try:
        return np.array(value, dtype=DTYPES[spec.datatype])
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidTensor(f"input {spec.name!r} cannot be an array of {spec.datatype}: {error}") from error


def to_outputs(response: InferenceResponse, signature: Signature) -> Outputs:
    """Return what a test reads."""
    text = {spec.name for spec in signature.outputs if spec.text}
    values = {name: _from_tensor(name, tensor, text=name in text) for name, tensor in response.outputs.items()}
    return Outputs(values, response)


def _from_tensor(name: str, tensor: Tensor, *, text: bool) -> object:
    if datatype_of(tensor) == BYTES:
        return (decode_text(name, tensor) if text else tensor).tolist()
    return tensor.item() if tensor.ndim == 0 else tensor
