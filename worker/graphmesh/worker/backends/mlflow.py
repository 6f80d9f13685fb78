"""MLflow's model folders: `MLmodel` says what is in them; it is read here, without mlflow.

Native flavours are loaded by the backend of their format. Pickles (scikit-learn's default, PyTorch's modules) need the
digest of the model file, as everywhere; `python_function` alone is somebody's code, and is not loaded.

The signature's inputs are what callers send: tensors as they are, columns as one tensor ``(N,)`` each, which become the
columns of the matrix that the model takes. Outputs are the backend's own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from graphmesh.core.errors import LoadFailed
from graphmesh.core.signature import Signature
from graphmesh.core.tensor import DTYPES
from graphmesh.worker.backends import Backend, load_model
from graphmesh.worker.backends.mlflow_signature import is_tabular, read_inputs
from graphmesh.worker.layouts.contained import contained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends import LoadedModel
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context

__all__ = ["MlflowModel", "load"]

# Flavour: the backend, the key of the model file, and the file's name where the key is missing.
_FLAVOURS = {
    "onnx": ("onnx", "data", "model.onnx"),
    "xgboost": ("xgboost", "data", "model.xgb"),
    "lightgbm": ("lightgbm", "data", "model.lgb"),
    "sklearn": ("sklearn", "pickled_model", "model.pkl"),
    "pytorch": ("torch", "model_data", "data"),
}
_TORCH_FILES = ("model.pt2", "model.safetensors", "model.pth", "model.pt")


class MlflowModel(Backend):
    """A model of another backend, called by the names and datatypes of MLflow's signature."""

    def __init__(self, inner: LoadedModel, document: Mapping[str, Any]) -> None:
        self._inner = inner
        self._tabular = is_tabular(document)
        self.platform = inner.platform
        self.signature = inner.signature
        inputs = read_inputs(document, inner.signature.inputs)
        if self._tabular and len(inner.signature.inputs) != 1:
            raise LoadFailed("MLmodel describes columns, but the model takes several tensors")
        if inputs:
            self.signature = Signature(inputs, inner.signature.outputs)
            self._check()

    def _check(self) -> None:
        taken = self._inner.signature.inputs
        if self._tabular:
            width = taken[0].shape[-1]
            if isinstance(width, int) and width != len(self.signature.inputs):
                raise LoadFailed(f"MLmodel describes {len(self.signature.inputs)} columns, but the model takes {width}")
        elif len(taken) > 1 and {spec.name for spec in taken} != {spec.name for spec in self.signature.inputs}:
            raise LoadFailed(
                f"MLmodel describes {[spec.name for spec in self.signature.inputs]}, but the model takes "
                f"{[spec.name for spec in taken]}"
            )

    def run(self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()) -> Mapping[str, Tensor]:
        """Return what the model gives for the tensors, or for the matrix of the columns."""
        taken = self._inner.signature.inputs
        if self._tabular:
            columns = [inputs[spec.name] for spec in self.signature.inputs]
            given: dict[str, Tensor] = {taken[0].name: np.column_stack(columns)}
        elif len(taken) == 1:
            given = {taken[0].name: next(iter(inputs.values()))}
        else:
            given = dict(inputs)
        cast = {spec.name: given[spec.name].astype(DTYPES[spec.datatype], copy=False) for spec in taken}
        outputs: Mapping[str, Tensor] = self._inner.run(cast, contexts)
        return outputs

    def unload(self) -> None:
        """Unload the other backend's model."""
        self._inner.unload()


def load(config: ModelConfig) -> MlflowModel:
    """Load a folder that has an `MLmodel`.

    Raises:
        LoadFailed: it has none that can be read, no native flavour that a backend loads, or that backend fails.
    """
    folder = Path(config.source)
    document = _read(folder)
    flavours = document.get("flavors")
    if not isinstance(flavours, dict):
        raise LoadFailed("MLmodel has no flavors")
    for flavour, (backend, key, default) in _FLAVOURS.items():
        if isinstance(flavours.get(flavour), dict):
            file = _file(folder, flavour, str(flavours[flavour].get(key) or default))
            inner = dataclasses.replace(config, source=str(file), backend=backend, expects=None)
            return MlflowModel(load_model(inner), document)
    raise LoadFailed(
        f"MLmodel has the flavors {', '.join(sorted(map(str, flavours)))}; loaded are {', '.join(_FLAVOURS)}. Log the "
        "model by one of them, or serve it by a Python class that calls mlflow itself"
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load((folder / "MLmodel").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LoadFailed(f"MLmodel cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise LoadFailed("MLmodel must be a YAML mapping")
    return document


def _file(folder: Path, flavour: str, name: str) -> Path:
    file = contained(folder, name)
    if flavour != "pytorch" or file.is_file():
        return file
    found = [file / one for one in _TORCH_FILES if (file / one).is_file()]
    if not found:
        raise LoadFailed(f"{name!r} must hold one of {', '.join(_TORCH_FILES)}")
    return contained(folder, str(found[0].relative_to(folder)))
