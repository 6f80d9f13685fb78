"""Programs of `torch.export`: names, datatypes, shapes and bounds of sizes come from the program itself.

Inputs are named as the exported `forward` names them. Outputs are the keys of the dict that it returns, else
``output``, or ``output_0``, ``output_1`` and so on; the parameter `outputs` lists other names. A size that was exported
as dynamic gets a name: ``N`` on axis 0, else the input's name and the axis.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from graphmesh.core.errors import LoadFailed
from graphmesh.core.signature import Dimension, Signature, TensorSpec
from graphmesh.worker.backends.options import text_list
from graphmesh.worker.backends.torch import Program
from graphmesh.worker.backends.torch_types import datatype

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KNOWN", "read_program"]

KNOWN = ("outputs",)
_UNBOUNDED = 1 << 40


def read_program(data: bytes, parameters: Mapping[str, object], device: str) -> Program:
    """Return a program from the bytes of a `.pt2` file; they are trusted.

    Raises:
        LoadFailed: it takes or gives something other than tensors; what torch raises for what is no program.
    """
    exported = torch.export.load(io.BytesIO(data))
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        exported = move_to_device_pass(exported, device)
    metas = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    inputs = [_tensor_name(name, metas) for name in exported.graph_signature.user_inputs]
    given = [metas.get(name) for name in exported.graph_signature.user_outputs]
    outputs = text_list(parameters, "outputs") or _output_names(exported.call_spec.out_spec, len(given))
    if len(outputs) != len(given):
        raise LoadFailed(f"parameter 'outputs' must name {len(given)} outputs, got {len(outputs)}")
    names: dict[str, str] = {}
    signature = Signature(
        tuple(_spec(name, metas[name], names, new=True) for name in inputs),
        tuple(_spec(name, value, names, new=False) for name, value in zip(outputs, given, strict=True)),
    )
    module = exported.module()
    in_spec = exported.call_spec.in_spec

    def call(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        arguments, keywords = pytree.tree_unflatten([tensors[name] for name in inputs], in_spec)
        leaves, _ = pytree.tree_flatten(module(*arguments, **keywords))
        return dict(zip(outputs, leaves, strict=True))

    return Program(
        call=call,
        signature=signature,
        writes_inputs=bool(exported.graph_signature.user_inputs_to_mutate),
        bounds=_bounds(inputs, metas, exported.range_constraints),
    )


def _tensor_name(name: object, metas: Mapping[str, Any]) -> str:
    if not isinstance(name, str) or not isinstance(metas.get(name), torch.Tensor):
        raise LoadFailed(f"every input must be a tensor, got {name!r}; export the program without it")
    return name


def _output_names(spec: Any, count: int) -> list[str]:
    if spec.type is dict and len(spec.context) == count:
        return [str(key) for key in spec.context]
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _spec(name: str, value: Any, names: dict[str, str], *, new: bool) -> TensorSpec:
    kind = datatype(name, value)
    return TensorSpec(
        name=name,
        datatype=kind,
        shape=tuple(_dimension(size, name, axis, names, new=new) for axis, size in enumerate(value.shape)),
    )


def _dimension(size: Any, tensor: str, axis: int, names: dict[str, str], *, new: bool) -> Dimension:
    """Return a number, the name of a symbol, or None for an expression of symbols."""
    if isinstance(size, int):
        return size
    expression = str(size)
    if not new or not expression.isidentifier():
        return names.get(expression)
    name = "N" if axis == 0 and "N" not in names.values() else f"{tensor}_{axis}"
    return names.setdefault(expression, name)


def _bounds(inputs: list[str], metas: Mapping[str, Any], ranges: Mapping[Any, Any]) -> list[tuple[str, int, int, int]]:
    known = {str(symbol): bound for symbol, bound in ranges.items()}
    bounds = []
    for name in inputs:
        for axis, size in enumerate(metas[name].shape):
            bound = None if isinstance(size, int) else known.get(str(size))
            if bound is not None:
                bounds.append((name, axis, _number(bound.lower, 0), _number(bound.upper, _UNBOUNDED)))
    return [bound for bound in bounds if bound[2:] != (0, _UNBOUNDED)]


def _number(value: Any, otherwise: int) -> int:
    """Return a bound as a number; infinity is none."""
    return int(value) if value.is_Integer and abs(int(value)) < _UNBOUNDED else otherwise
