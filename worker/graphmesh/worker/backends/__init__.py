"""What a model is loaded with. A backend is a module with ``load(config) -> LoadedModel``, imported when first needed.

A backend knows files and frameworks; it knows nothing of requests, registries or threads.
"""

from __future__ import annotations

import importlib
import logging
import re
from typing import TYPE_CHECKING, Protocol

from graphmesh.core.errors import GraphmeshError, LoadFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.config import ModelConfig

__all__ = ["LoadedModel", "load_model", "public_text"]

logger = logging.getLogger(__name__)

_BACKENDS = {"onnx": "graphmesh.worker.backends.onnx", "python": "graphmesh.worker.backends.python"}
_PATH = re.compile(r"(?<![\w.])~?/(?:[^\s'\":;,()\[\]]*/)?([^\s'\":;,()\[\]/]+)")


class LoadedModel(Protocol):
    """A model that is ready to run."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        ...

    @property
    def platform(self) -> str:
        """The backend and its version, for people."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether `run` returns an awaitable, to be awaited on the event loop, instead of the outputs."""
        ...

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor] | Awaitable[Mapping[str, Tensor]]:
        """Return the outputs by name for inputs that fit the signature; may raise anything.

        Sync ones are called from several threads at once when the model has several instances.
        """
        ...

    def unload(self) -> None:
        """Give back what the model holds; `run` is not called afterwards."""
        ...


def load_model(config: ModelConfig) -> LoadedModel:
    """Load a model; takes as long as it takes, so call it off the event loop.

    Raises:
        LoadFailed: with the file's name and the reason, fit for clients; the log has the whole story.
    """
    what = config.source.rsplit("/", 1)[-1]
    module = _BACKENDS.get(config.kind)
    if module is None:
        raise LoadFailed(f"{what}: backend must be one of {', '.join(_BACKENDS)}, got {config.kind!r}")
    try:
        loaded: LoadedModel = importlib.import_module(module).load(config)
    except GraphmeshError as error:
        raise LoadFailed(f"{what}: {public_text(error.message)}") from error
    except (Exception, SystemExit) as error:
        logger.exception("model cannot be loaded model=%s source=%s", config.name, config.source)
        raise LoadFailed(f"{what}: {type(error).__name__}: {public_text(str(error))}") from error
    return loaded


def public_text(text: str) -> str:
    """Return one line of an error's text without the folders of the paths in it."""
    return _PATH.sub(r"\1", " ".join(text.split()))[:500]
