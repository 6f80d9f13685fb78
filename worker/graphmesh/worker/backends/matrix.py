"""The signature of models that take one matrix, a row for each item: found by what they give for one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.core.tensor import datatype_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.core.tensor import Tensor

__all__ = ["feature_text", "matrix_signature", "output_spec"]


def matrix_signature(row: Tensor, output: Tensor, features: Sequence[str] | None) -> Signature:
    """Return ``input (N, features)`` and ``output``, whose first axis is N too."""
    return Signature(
        (
            TensorSpec(
                name="input",
                datatype=datatype_of(row),
                shape=("N", *row.shape[1:]),
                description=feature_text(features),
            ),
        ),
        (output_spec("output", output),),
    )


def output_spec(name: str, array: Tensor) -> TensorSpec:
    """Return the description of an output by what a model gave for one row."""
    datatype = datatype_of(array)
    return TensorSpec(name=name, datatype=datatype, shape=("N", *array.shape[1:]), text=array.dtype.kind == "U")


def feature_text(features: Sequence[str] | None) -> str:
    """Return the columns' names for people; empty if they have none."""
    return f"columns: {', '.join(map(str, features))}" if features is not None and len(features) else ""
