"""A folder with one file `model.*`, and MLflow's folders, which their backend reads itself."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.layouts.contained import contained

if TYPE_CHECKING:
    from pathlib import Path

    from graphmesh.worker.config import ModelConfig

__all__ = ["MLFLOW", "files", "read", "read_mlflow"]

MLFLOW = "MLmodel"
_STEM = "model"
_BESIDE = (".data", ".onnx_data")
"""Files that belong to a model file of the same name: its external data."""


def files(folder: Path) -> list[str]:
    """Return the names of the model files in a folder."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_file() and path.stem == _STEM and path.suffix not in _BESIDE
    )


def read(config: ModelConfig, folder: Path) -> tuple[ModelConfig, ...]:
    """Return the only model file.

    Raises:
        LoadFailed: there are several.
    """
    found = files(folder)
    if len(found) > 1:
        raise LoadFailed(f"the folder holds {', '.join(found)}; name one of them as the source")
    return (dataclasses.replace(config, source=str(contained(folder, found[0]))),)


def read_mlflow(config: ModelConfig) -> tuple[ModelConfig, ...]:
    """Return the folder, for MLflow's backend."""
    return (dataclasses.replace(config, backend="mlflow"),)
