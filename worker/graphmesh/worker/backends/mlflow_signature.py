"""The inputs of MLflow's signatures: tensor specs and column specs, as JSON inside `MLmodel`.

Specification: `mlflow.types.Schema` (its `to_json`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from graphmesh.core.errors import LoadFailed
from graphmesh.core.signature import Dimension, TensorSpec
from graphmesh.core.tensor import BYTES, DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["is_tabular", "read_inputs"]

_COLUMNS = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}
_NUMPY = {str(dtype): name for name, dtype in DTYPES.items() if name != BYTES}


def is_tabular(document: Mapping[str, Any]) -> bool:
    """Return whether inputs are columns of a table."""
    return any(entry.get("type") != "tensor" for entry in _entries(document))


def read_inputs(document: Mapping[str, Any], taken: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the inputs that `MLmodel` describes; none if it has no signature.

    Args:
        document: The whole of `MLmodel`.
        taken: What the model takes; the only one lends its name to an input that has none.

    Raises:
        LoadFailed: something other than tensors of numbers and columns of numbers.
    """
    specs = []
    for index, entry in enumerate(_entries(document)):
        name = str(entry.get("name") or (taken[index].name if index < len(taken) else f"column_{index}"))
        if entry.get("type") == "tensor":
            specs.append(_tensor(name, entry.get("tensor-spec")))
            continue
        datatype = _COLUMNS.get(str(entry.get("type")))
        if datatype is None:
            raise LoadFailed(
                f"column {name!r} of MLmodel must be of {', '.join(_COLUMNS)}, got {entry.get('type')!r}; log the "
                "model with a tensor signature, or serve it by a Python class"
            )
        specs.append(TensorSpec(name=name, datatype=datatype, shape=("N",)))
    return tuple(specs)


def _tensor(name: str, spec: Any) -> TensorSpec:
    datatype = _NUMPY.get(str(spec.get("dtype"))) if isinstance(spec, dict) else None
    if datatype is None:
        raise LoadFailed(f"tensor {name!r} of MLmodel must be of {', '.join(_NUMPY)}, got {spec!r}")
    return TensorSpec(name=name, datatype=datatype, shape=tuple(_dimensions(spec.get("shape") or [])))


def _dimensions(shape: Sequence[Any]) -> list[Dimension]:
    sizes: list[Dimension] = [size if isinstance(size, int) and size >= 0 else None for size in shape]
    if sizes and sizes[0] is None:
        sizes[0] = "N"
    return sizes


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    signature = document.get("signature")
    text = signature.get("inputs") if isinstance(signature, dict) else None
    if not text:
        return []
    try:
        entries = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise LoadFailed(f"the signature in MLmodel is not JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise LoadFailed("the inputs in MLmodel must be a list of tensors or columns")
    return entries
