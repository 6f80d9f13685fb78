"""Weights for a module class of the user's, and TorchScript.

``parameters``:

- ``module``: the class, ``file.py:Class`` (relative to the weights' folder) or ``package.module:Class``;
- ``arguments``: keyword arguments of its constructor;
- ``inputs`` and ``outputs``: ``{name: "FP32 (N, 4)"}``. Without them the annotations of `forward` say so, as those of
  `predict` do: ``x: Annotated[torch.Tensor, "FP32 (N, 4)"]``;
- ``writes_inputs``: ``false`` says that `forward` never writes to its inputs. Then they are lent to it even if others
  read them too: what the request brought, what another model kept on the GPU. Otherwise it gets copies of those.

`forward` is called with the inputs by name. It returns a tensor, a tuple in the order of the outputs, or a dict.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from graphmesh.core.errors import InvalidRequest, LoadFailed
from graphmesh.core.signature import Signature, TensorSpec, parse_type
from graphmesh.core.tensor import BYTES
from graphmesh.worker.backends import needs
from graphmesh.worker.backends.options import option
from graphmesh.worker.backends.python import import_class
from graphmesh.worker.backends.torch import Program
from graphmesh.worker.hosting.contract import read_contract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.worker.config import ModelConfig

__all__ = ["KNOWN", "from_checkpoint", "from_safetensors", "from_script"]

KNOWN = ("module", "arguments", "inputs", "outputs", "writes_inputs")


def from_safetensors(data: bytes, config: ModelConfig, device: str) -> Program:
    """Return the module with the weights of a `.safetensors` file."""
    with needs("torch"):
        import safetensors.torch
    return _with_weights(safetensors.torch.load(data), config, device)


def from_checkpoint(data: bytes, config: ModelConfig, device: str) -> Program:
    """Return the module with the weights of a file of `torch.save`.

    Raises:
        LoadFailed: it holds anything but tensors by name.
    """
    try:
        weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it is damaged, or holds more than tensors, which is never loaded; save model.state_dict()"
        raise LoadFailed(f"not a file of weights: {reason}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise LoadFailed("must hold tensors by name; save model.state_dict()")
    return _with_weights(weights, config, device)


def from_script(data: bytes, config: ModelConfig, device: str) -> Program:
    """Return a TorchScript program; its bytes are trusted. `inputs` and `outputs` must say what it takes and gives."""
    signature = _declared(config.parameters)
    if signature is None:
        raise LoadFailed("TorchScript does not say what it takes; parameters must give inputs and outputs")
    module = torch.jit.load(io.BytesIO(data), map_location=device)
    return _program(module, signature, config)


def _with_weights(weights: Mapping[str, Any], config: ModelConfig, device: str) -> Program:
    source = option(config.parameters, "module", str, "a class, file.py:Class")
    if not isinstance(source, str):
        raise LoadFailed("holds weights only; parameters must name the class they are for: module: file.py:Class")
    if source.partition(":")[0].endswith(".py"):
        source = str(Path(config.source).parent / source)
    kind = import_class(source, method="forward")
    arguments = option(config.parameters, "arguments", dict, "keyword arguments by name")
    module = kind(**(arguments if isinstance(arguments, dict) else {}))
    if not isinstance(module, torch.nn.Module):
        raise LoadFailed(f"{kind.__name__} must be a torch.nn.Module")
    module.load_state_dict(weights)
    return _program(module.to(device), _declared(config.parameters) or _annotated(module), config)


def _program(module: Any, signature: Signature, config: ModelConfig) -> Program:
    for spec in (*signature.inputs, *signature.outputs):
        if spec.datatype == BYTES:
            raise LoadFailed(f"{spec.name!r} must be of numbers: torch has no tensors of {spec.type}")
    writes = option(config.parameters, "writes_inputs", bool, "true or false") is not False
    module.eval()
    names = [spec.name for spec in signature.outputs]

    def call(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        result = module(**tensors)
        if isinstance(result, dict):
            return {name: result[name] for name in names}
        values = result if isinstance(result, tuple | list) else (result,)
        if len(values) != len(names):
            raise ValueError(f"forward must return {len(names)} outputs, got {len(values)}")
        return dict(zip(names, values, strict=True))

    return Program(call=call, signature=signature, writes_inputs=writes)


def _declared(parameters: Mapping[str, object]) -> Signature | None:
    """Return the signature of `inputs` and `outputs`; None if neither is given."""
    if "inputs" not in parameters and "outputs" not in parameters:
        return None
    return Signature(_specs(parameters, "inputs"), _specs(parameters, "outputs"))


def _specs(parameters: Mapping[str, object], which: str) -> tuple[TensorSpec, ...]:
    entries = option(parameters, which, dict, "types by name, such as {x: 'FP32 (N, 4)'}")
    if not isinstance(entries, dict) or not entries:
        raise LoadFailed(f"parameters must give both inputs and outputs; {which} is missing")
    specs = []
    for name, text in entries.items():
        datatype, shape, is_text = parse_type(str(text))
        specs.append(TensorSpec(name=str(name), datatype=datatype, shape=shape, text=is_text))
    return tuple(specs)


def _annotated(module: torch.nn.Module) -> Signature:
    try:
        return read_contract(module.forward).signature
    except InvalidRequest as error:
        reason = error.message.replace("predict", "forward").replace("np.ndarray", "torch.Tensor")
        raise LoadFailed(f"{reason}; or give inputs and outputs in parameters") from error
