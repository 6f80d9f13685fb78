"""What a model is loaded with. A backend is a module with ``load(config) -> LoadedModel``, imported when first needed.

A backend knows files and frameworks; it knows nothing of requests, registries or threads.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from graphmesh.core.errors import GraphmeshError, LoadFailed
from graphmesh.worker.backends.expected import check_expected
from graphmesh.worker.backends.remote_address import is_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from graphmesh.core.signature import Signature
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.config import ModelConfig

__all__ = ["Backend", "LoadedModel", "Run", "load_model", "needs", "public_text"]

logger = logging.getLogger(__name__)

_BACKENDS = ("lightgbm", "mlflow", "onnx", "python", "remote", "sklearn", "torch", "xgboost")
_PATH = re.compile(r"(?<![\w.])~?/(?:[^\s'\":;,()\[\]]*/)?([^\s'\":;,()\[\]/]+)")


Run: TypeAlias = Callable[..., Any]


class LoadedModel(Protocol):
    """A model that is ready to run."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives, and whether it streams."""
        ...

    @property
    def platform(self) -> str:
        """The backend and its version, for people."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether `run` belongs on the event loop; otherwise it is called on a thread."""
        ...

    @property
    def wants_context(self) -> bool:
        """Whether `run` is to be given contexts; making them costs."""
        ...

    @property
    def batching(self) -> Batching | None:
        """How the model itself says it can be batched; None if it says nothing."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Memory that it is known to take now, bytes; 0 while that is unknown."""
        ...

    @property
    def run(self) -> Run:
        """Return what runs inputs that fit the signature: ``run(inputs, contexts)``; it may raise anything.

        ``inputs`` are arrays by name, perhaps read-only; ``contexts`` one `Context` for each call in them, in the order
        of their rows, and only if `wants_context`. What it returns, by `is_async` and `signature.streaming`:

            not async, not streaming    outputs by name
            async, not streaming        an awaitable of them
            not async, streaming        a generator of them; closed when the caller leaves
            async, streaming            an async generator of them

        Sync ones are called from several threads at once when the model has several instances.

        A model may say by an attribute `device`, such as ``cuda:0``, that it takes and keeps tensors there; no such
        attribute, or an empty one, is the host. Then it is called as ``run(inputs, contexts, keep)``: any of the inputs
        may be a `DeviceTensor` of that device, of whatever framework, and the outputs named in ``keep`` may be.
        """
        ...

    def unload(self) -> None:
        """Give back what the model holds; `run` is not called afterwards."""
        ...


class Backend:
    """What most backends answer."""

    is_async = False
    wants_context = False
    batching: Batching | None = None
    memory_bytes = 0
    device = ""

    def unload(self) -> None:
        """Leave it to the garbage collector."""


def load_model(config: ModelConfig) -> LoadedModel:
    """Load a model; takes as long as it takes, so call it off the event loop.

    Raises:
        LoadFailed: with the file's name and the reason, fit for clients; the log has the whole story.
    """
    what = config.source if is_address(config.source) else config.source.rstrip("/").rsplit("/", 1)[-1]
    try:
        while _is_unread(config):
            config = _read(config)  # of what is in a folder, if it is one: ever deeper, until it is a file
        loaded: LoadedModel = _backend(config.backend).load(config)
        if config.expects is not None:
            check_expected(config.expects, loaded.signature)
    except GraphmeshError as error:
        raise LoadFailed(f"{what}: {public_text(error.message)}") from error
    except (Exception, SystemExit) as error:
        logger.exception("model cannot be loaded model=%s source=%s", config.name, config.source)
        raise LoadFailed(f"{what}: {type(error).__name__}: {public_text(str(error))}") from error
    return loaded


def _backend(name: str) -> ModuleType:
    if name not in _BACKENDS:
        raise LoadFailed(f"backend must be one of {', '.join(_BACKENDS)}, got {name!r}")
    return importlib.import_module(f"graphmesh.worker.backends.{name}")


def _is_unread(config: ModelConfig) -> bool:
    """Return whether a source could not be read so far: it has no backend, or is a folder that is none itself."""
    return not config.backend or (config.backend != "mlflow" and Path(config.source).is_dir())


def _read(config: ModelConfig) -> ModelConfig:
    """Read a source again that could not be read before, now with the reason if it still cannot."""
    from graphmesh.worker.hosting.sources import read_source  # at the top it would be a circle

    found = read_source(config)
    if len(found) > 1:
        raise LoadFailed(f"holds versions {', '.join(one.version for one in found)}; name one")
    return found[0]


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Say which extra of graphmesh has the framework whose import fails inside.

    Raises:
        LoadFailed: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise LoadFailed(f"{error.name} is not installed; pip install 'graphmesh[{extra}]'") from error


def public_text(text: str) -> str:
    """Return one line of an error's text without the folders of the paths in it."""
    return _PATH.sub(r"\1", " ".join(text.split()))[:500]
