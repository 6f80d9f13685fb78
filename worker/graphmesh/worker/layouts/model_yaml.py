"""Our own layout: `model.yaml` in the model's folder, with the fields of a model in `mesh.yaml`.

Classes of importable modules cannot be named: what is importable depends on where the worker runs, and can be a file in
this very folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import yaml

from graphmesh.core.errors import GraphmeshError, LoadFailed
from graphmesh.worker.layouts.contained import contained
from graphmesh.worker.layouts.entry import Entry
from graphmesh.worker.layouts.merge import merge

if TYPE_CHECKING:
    from pathlib import Path

    from graphmesh.worker.config import ModelConfig

__all__ = ["FILE", "ModelFile", "read"]

FILE = "model.yaml"
_IMPORTABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class ModelFile(Entry, frozen=True, kw_only=True):
    """The whole file."""

    source: str
    """A model file, a folder or `file.py:Class`, inside the folder."""
    name: str = ""
    """For people: the mesh's configuration names the model."""


def read(config: ModelConfig, folder: Path) -> tuple[ModelConfig, ...]:
    """Return what `model.yaml` says.

    Raises:
        LoadFailed: it cannot be read, has an unknown or wrong field, names what is not inside the folder, or allows
            code.
    """
    try:
        entry = msgspec.convert(yaml.safe_load((folder / FILE).read_text()), ModelFile)
        if isinstance(entry.warmup, str):
            entry = msgspec.structs.replace(entry, warmup=str(contained(folder, entry.warmup)))
        return (merge(config, {**entry.settings(), "source": _inside(folder, entry.source)}),)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise LoadFailed(f"{FILE}: {error}") from error
    except GraphmeshError as error:
        raise LoadFailed(f"{FILE}: {error.message}") from error


def _inside(folder: Path, source: str) -> str:
    file, _, name = source.rpartition(":")
    if file.endswith(".py"):
        return f"{contained(folder, file)}:{name}"
    if _IMPORTABLE.fullmatch(source):
        raise LoadFailed(f"only mesh.yaml can name a class outside the folder; write there: source: {source}")
    return str(contained(folder, source))
