"""Triton's layout: `<model>/<version>/model.onnx`, with an optional `config.pbtxt`.

Fields that are read are listed in `triton_config`. Versions are chosen as Triton does: by `version_policy`, else the
latest one, or the one that the worker's own configuration names.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError, LoadFailed
from graphmesh.core.textproto import parse
from graphmesh.worker.layouts import single
from graphmesh.worker.layouts.contained import contained
from graphmesh.worker.layouts.merge import merge
from graphmesh.worker.layouts.triton_config import TritonConfig, read_config

if TYPE_CHECKING:
    from pathlib import Path

    from graphmesh.worker.config import ModelConfig

__all__ = ["FILE", "read", "versions"]

logger = logging.getLogger(__name__)

FILE = "config.pbtxt"


def versions(folder: Path) -> list[int]:
    """Return the versions that have a folder, ascending."""
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and not name.startswith("0"))


def read(config: ModelConfig, folder: Path) -> tuple[ModelConfig, ...]:
    """Return the versions to serve.

    Raises:
        LoadFailed: `config.pbtxt` cannot be understood or asks for what is not done here, there is no such
            version, or the folder of one leads out of this one.
    """
    there = {version: contained(folder, str(version)) for version in versions(folder)}
    triton = TritonConfig()
    if (folder / FILE).is_file():
        try:
            triton = read_config(parse((folder / FILE).read_text()))
        except (OSError, UnicodeDecodeError) as error:
            raise LoadFailed(f"{FILE}: {error}") from error
        except GraphmeshError as error:
            raise LoadFailed(f"{FILE}: {error.message}") from error
    if triton.ignored:
        logger.warning("fields of %s are ignored model=%s fields=%s", FILE, config.name, ",".join(triton.ignored))
    chosen = triton.choose(list(there), config.version)
    if not chosen:
        wanted = f"version {config.version}" if config.version else "a version"
        raise LoadFailed(
            f"must have a folder of {wanted} that its version_policy chooses, there are {list(there) or 'none'}"
        )
    return tuple(_version(config, there[version], triton) for version in chosen)


def _version(config: ModelConfig, folder: Path, triton: TritonConfig) -> ModelConfig:
    found: dict[str, object] = {"version": folder.name, **triton.found}
    # A folder with one more description in it, such as MLmodel, is the source itself.
    found["source"] = str(folder)
    if triton.file_name:
        found["source"] = str(contained(folder, triton.file_name))
    elif triton.found.get("backend") == "onnx" and "model.onnx" in single.files(folder):
        found["source"] = str(contained(folder, "model.onnx"))
    return merge(config, found)
