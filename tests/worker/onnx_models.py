"""Small ONNX models for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["external", "identity", "model", "scale"]


def model(nodes: Sequence[Any], *, kind: int = TensorProto.FLOAT, opset: int = 17, **options: Any) -> Any:  # noqa: ANN401
    """Return a model from ``x (N, 4)`` to ``y (N, 4)``."""
    x, y = (helper.make_tensor_value_info(name, kind, ["N", 4]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], **options)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def identity(path: Path, **options: Any) -> Path:  # noqa: ANN401
    """Write a model that gives its input back."""
    onnx.save(model([helper.make_node("Identity", ["x"], ["y"])], **options), str(path))
    return path


def scale(path: Path, factors: Sequence[float] = (1, 2, 3, 4)) -> Path:
    """Write a model that multiplies by constants, in more nodes than it takes."""
    w = numpy_helper.from_array(np.array(factors, np.float32), "w")
    nodes = [helper.make_node("Identity", ["x"], ["z"]), helper.make_node("Mul", ["z", "w"], ["y"])]
    onnx.save(model(nodes, initializer=[w]), str(path))
    return path


def external(
    name: str, location: str, *, offset: int | None = None, length: int | None = None, dims: Sequence[int] = (4,)
) -> Any:  # noqa: ANN401
    """Return a tensor whose bytes are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return tensor
