"""Python classes as models: `load`, `predict` and `unload`, of which only `predict` is required.

A class comes from a file (``path/file.py:Class``) or an importable module (``package.module:Class``). The file's
folder, or the current one for a module, is appended to the import path, so that a model can import its neighbours.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import platform
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.contract import read_contract

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from types import ModuleType

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.config import ModelConfig

__all__ = ["PythonModel", "load"]

_importing = threading.Lock()


class PythonModel:
    """An instance of a user's class, behind the contract of its `predict`."""

    def __init__(self, instance: Any) -> None:  # noqa: ANN401 - any class with `predict` is a model
        self._instance = instance
        self._predict = instance.predict
        self._contract = read_contract(instance.predict)
        self.is_async = inspect.iscoroutinefunction(instance.predict)
        self.platform = f"python {platform.python_version()}"
        self.run = self._run_async if self.is_async else self._run_sync

    @property
    def signature(self) -> Signature:
        """What the annotations of `predict` say."""
        return self._contract.signature

    def _run_sync(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor] | Awaitable[Mapping[str, Tensor]]:
        return self._contract.outputs(self._predict(**self._contract.arguments(inputs)))

    async def _run_async(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self._contract.outputs(await self._predict(**self._contract.arguments(inputs)))

    def unload(self) -> None:
        """Call the class's own `unload`, if it has one."""
        _call(self._instance, "unload")


def load(config: ModelConfig) -> PythonModel:
    """Import, construct and load a class.

    Raises:
        LoadFailed: the source names no class with a `predict` that can be understood; anything the class raises.
    """
    location, _, name = config.source.rpartition(":")
    if not location or not name:
        raise LoadFailed(f"source must be file.py:Class or package.module:Class, got {config.source!r}")
    module = _import_file(Path(location)) if location.endswith(".py") else _import_module(location)
    kind = getattr(module, name, None)
    if not inspect.isclass(kind) or not callable(getattr(kind, "predict", None)):
        raise LoadFailed(f"{name!r} must be a class with a predict method")
    instance = kind(**config.parameters)
    _call(instance, "load")
    return PythonModel(instance)


def _call(instance: object, method: str) -> None:
    function = getattr(instance, method, None)
    if function is not None:
        function()


def _import_module(name: str) -> ModuleType:
    _append_path(Path.cwd())
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    """Import a file once, under a name that no other file has."""
    path = path.resolve()
    if not path.is_file():
        raise LoadFailed(f"there is no file {path.name}")
    name = f"_graphmesh_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    with _importing:
        if name in sys.modules:
            return sys.modules[name]
        _append_path(path.parent)
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise LoadFailed(f"{path.name} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def _append_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
