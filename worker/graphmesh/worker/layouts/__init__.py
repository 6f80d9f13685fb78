"""Folders as sources, in the layouts that people have already.

Each layout is a module with ``read(config, folder) -> configurations``: what is in the folder, one configuration for
each version, whose sources are files or folders inside it. What the worker's own configuration says wins. Nothing is
written, and nothing outside the folder is read.

What lies in a folder is not trusted, since whoever can write a model there can write a description as well. It cannot
allow that code is run: digests, `trusted` and `module` count only where the worker's own configuration says them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.layouts import mlserver, model_yaml, single, triton

if TYPE_CHECKING:
    from pathlib import Path

    from graphmesh.worker.config import ModelConfig

__all__ = ["read_folder"]


def read_folder(config: ModelConfig, folder: Path) -> tuple[ModelConfig, ...]:
    """Return what a folder holds; the first layout that it has the mark of is taken.

    Raises:
        LoadFailed: it has none, what describes it cannot be understood, or asks for what only the worker's own
            configuration can allow.
    """
    return _read(dataclasses.replace(config, in_folder=True), folder)


def _read(config: ModelConfig, folder: Path) -> tuple[ModelConfig, ...]:
    if (folder / model_yaml.FILE).is_file():
        return model_yaml.read(config, folder)
    if (folder / single.MLFLOW).is_file():
        return single.read_mlflow(config)
    if (folder / mlserver.FILE).is_file():
        return mlserver.read(config, folder)
    if (folder / triton.FILE).is_file() or triton.versions(folder):
        return triton.read(config, folder)
    if single.files(folder):
        return single.read(config, folder)
    raise LoadFailed(
        f"a model folder must have {model_yaml.FILE}, {single.MLFLOW}, {mlserver.FILE}, {triton.FILE}, version folders "
        "such as 1/, or one file model.*"
    )
