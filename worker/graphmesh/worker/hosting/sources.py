"""What a source holds: each model version in it, its backend, and what its author declared.

A source is a Python class (``file.py:Class``), a model file, whose ending says which backend loads it, a folder in one
of the layouts of `graphmesh.worker.layouts`, or the address of a model at another server. Resolved again at each load,
so that a version that was added to a folder is found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest, LoadFailed
from graphmesh.core.names import check_version
from graphmesh.worker.backends.python import import_declared
from graphmesh.worker.backends.remote_address import is_address, parse_address
from graphmesh.worker.hosting.declare import declared_model
from graphmesh.worker.layouts import read_folder

if TYPE_CHECKING:
    from graphmesh.worker.config import ModelConfig

__all__ = ["ENDINGS", "read_source", "resolve"]

logger = logging.getLogger(__name__)

_DEFAULT_VERSION = "1"

ENDINGS = {
    ".onnx": "onnx",
    ".pt2": "torch",
    ".safetensors": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".skops": "sklearn",
    ".joblib": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".py": "python",
}
"""The backend that loads a file, by the file's ending."""


def resolve(config: ModelConfig) -> tuple[ModelConfig, ...]:
    """Return what to load: configurations whose version, backend and instances are known.

    What the configuration says wins over what the source says. Reads files and imports Python classes, so call it off
    the event loop. A source that cannot be read is returned as it is: loading it fails and says why.
    """
    try:
        return read_source(config)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module can raise anything; loading it will say so
        logger.debug("source cannot be read yet model=%s error=%s", config.name, error)
        return (_completed(config),)


def read_source(config: ModelConfig) -> tuple[ModelConfig, ...]:
    """Return what `resolve` does.

    Raises:
        LoadFailed: the source is no file, class or folder that can be understood.
        Exception: what importing a Python class raises.
    """
    if is_address(config.source):
        return (_completed(_external(config)),)
    path = Path(config.source)
    if path.is_dir() and config.backend != "mlflow":
        # A version that cannot be read does not take the others with it.
        return tuple(version for found in read_folder(config, path) for version in resolve(found))
    backend = config.backend or _backend_of(config.source, path)
    config = dataclasses.replace(config, backend=backend)
    if backend == "python":
        declared = declared_model(import_declared(config))
        config = dataclasses.replace(
            config, version=config.version or declared.version, instances=config.instances or declared.instances
        )
    return (_completed(config),)


def _external(config: ModelConfig) -> ModelConfig:
    """Return the configuration of a model at another server: of the version there, if that is one of ours, too."""
    version = config.version
    if not version:
        with contextlib.suppress(InvalidRequest):
            version = check_version(parse_address(config.source).version)
    return dataclasses.replace(config, backend="remote", version=version)


def _completed(config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(config, version=config.version or _DEFAULT_VERSION, instances=config.instances or 1)


def _backend_of(source: str, path: Path) -> str:
    backend = ENDINGS.get(path.suffix)
    if backend is not None:
        return backend
    if path.exists():
        raise LoadFailed(f"a model file must end in {', '.join(ENDINGS)}; or name its backend")
    if ":" in source:
        return "python"
    raise LoadFailed("there is no such file")
