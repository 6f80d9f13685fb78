"""MLServer's layout: `model-settings.json` beside the model file.

Read are `implementation`, `parameters.uri`, `parameters.version`, `max_batch_size` and `max_batch_time` (seconds).
`name` is for people: the mesh's configuration names the model. Other fields are ignored; a warning names them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.batching import Batching
from graphmesh.worker.layouts.contained import contained
from graphmesh.worker.layouts.merge import merge

if TYPE_CHECKING:
    from pathlib import Path

    from graphmesh.worker.config import ModelConfig

__all__ = ["FILE", "read"]

logger = logging.getLogger(__name__)

FILE = "model-settings.json"
_BACKENDS = {
    "mlserver_sklearn.SKLearnModel": "sklearn",
    "mlserver_xgboost.XGBoostModel": "xgboost",
    "mlserver_lightgbm.LightGBMModel": "lightgbm",
    "mlserver_mlflow.MLflowRuntime": "mlflow",
    "mlserver_onnx.OnnxModel": "onnx",
}
# Where each runtime looks when no uri is given.
_WELL_KNOWN = {
    "sklearn": ("model.skops", "model.joblib", "model.pickle", "model.pkl"),
    "xgboost": ("model.ubj", "model.json", "model.bst"),
    "lightgbm": ("model.txt", "model.bst"),
    "onnx": ("model.onnx",),
}


class Parameters(msgspec.Struct, frozen=True):
    """The part of `parameters` that is read."""

    uri: str = ""
    """The file, or a folder."""
    version: str = ""
    """Digits."""


class Settings(msgspec.Struct, frozen=True):
    """The part of the file that is read."""

    implementation: str
    """The runtime's class."""
    name: str = ""
    """What MLServer calls it."""
    parameters: Parameters | None = None
    """Where the model is."""
    max_batch_size: int = 0
    """Rows; 0 and 1 batch nothing."""
    max_batch_time: float = 0.0
    """Seconds."""


def read(config: ModelConfig, folder: Path) -> tuple[ModelConfig, ...]:
    """Return what `model-settings.json` says.

    Raises:
        LoadFailed: it cannot be read, or its runtime is none of those that a backend here stands for.
    """
    try:
        document = orjson.loads((folder / FILE).read_bytes())
        settings = msgspec.convert(document, Settings)
    except (OSError, orjson.JSONDecodeError, msgspec.ValidationError) as error:
        raise LoadFailed(f"{FILE}: {error}") from error
    backend = _BACKENDS.get(settings.implementation)
    if backend is None:
        raise LoadFailed(
            f"{FILE}: implementation must be one of {', '.join(_BACKENDS)}, got {settings.implementation!r}; a class "
            "of your own is served by source: file.py:Class with load and predict"
        )
    _warn_of_others(config.name, document)
    parameters = settings.parameters or Parameters()
    found: dict[str, object] = {
        "source": str(_model(folder, backend, parameters.uri)),
        "backend": backend,
        "version": parameters.version,
    }
    if settings.max_batch_size > 1:
        found["batching"] = Batching(
            max_batch_size=settings.max_batch_size, max_delay_ms=settings.max_batch_time * 1000
        )
    return (merge(config, found),)


def _model(folder: Path, backend: str, uri: str) -> Path:
    if backend == "mlflow":
        return folder if uri in {"", ".", "./"} else contained(folder, uri)
    path = contained(folder, uri) if uri not in {"", ".", "./"} else folder
    if path.is_file():
        return path
    for name in _WELL_KNOWN[backend]:
        if (path / name).is_file():
            return contained(folder, str((path / name).relative_to(folder)))
    raise LoadFailed(f"{FILE}: there is none of {', '.join(_WELL_KNOWN[backend])}; name the file in parameters.uri")


def _warn_of_others(model: str, document: dict[str, Any]) -> None:
    inner = document.get("parameters") or {}
    ignored = [name for name in document if name not in Settings.__struct_fields__]
    ignored += [f"parameters.{name}" for name in inner if name not in Parameters.__struct_fields__]
    if ignored:
        logger.warning("fields of %s are ignored model=%s fields=%s", FILE, model, ",".join(ignored))
