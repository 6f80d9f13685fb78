"""Python classes as models: `load`, `warmup`, `predict` and `unload`, of which only `predict` is required.

A class comes from a file (``path/file.py:Class``) or an importable module (``package.module:Class``). The file's
folder, or the current one for a module, is appended to the import path, so that a model can import its neighbours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import platform
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import LoadFailed
from graphmesh.core.names import close_names
from graphmesh.worker.backends import Backend, Run
from graphmesh.worker.backends.files import read_model
from graphmesh.worker.hosting.contract import Contract, read_contract
from graphmesh.worker.hosting.declare import declared_batching

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
    from types import CodeType, ModuleType

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context

__all__ = ["PythonModel", "import_class", "import_declared", "load"]

_importing = threading.Lock()


class PythonModel(Backend):
    """An instance of a user's class, behind the contract of its `predict`."""

    def __init__(self, instance: Any, batching: Batching | None = None) -> None:
        predict = instance.predict
        self._instance = instance
        self._predict = predict
        self._contract = read_contract(predict)
        self.signature = self._contract.signature
        self.wants_context = bool(self._contract.context)
        self.batching = batching or declared_batching(predict)
        self.is_async = inspect.iscoroutinefunction(predict) or inspect.isasyncgenfunction(predict)
        self.platform = f"python {platform.python_version()}"
        ways = {
            (False, False): self._run,
            (True, False): self._run_async,
            (False, True): self._stream,
            (True, True): self._stream_async,
        }
        self.run: Run = ways[self.is_async, self.signature.streaming]
        _check_contexts(self._contract, batched=self.batching is not None)

    def _run(self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()) -> Mapping[str, Tensor]:
        return self._contract.outputs(self._predict(**self._contract.arguments(inputs, contexts)))

    async def _run_async(self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()) -> Mapping[str, Tensor]:
        return self._contract.outputs(await self._predict(**self._contract.arguments(inputs, contexts)))

    def _stream(
        self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()
    ) -> Generator[Mapping[str, Tensor], None, None]:
        with contextlib.closing(self._predict(**self._contract.arguments(inputs, contexts))) as answers:
            for answer in answers:
                yield self._contract.outputs(answer)

    async def _stream_async(
        self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()
    ) -> AsyncGenerator[Mapping[str, Tensor], None]:
        async with contextlib.aclosing(self._predict(**self._contract.arguments(inputs, contexts))) as answers:
            async for answer in answers:
                yield self._contract.outputs(answer)

    def unload(self) -> None:
        """Call the class's own `unload`, if it has one."""
        _call(self._instance, "unload")


def _check_contexts(contract: Contract, *, batched: bool) -> None:
    if contract.context and contract.contexts is not batched:
        expected = "list[Context], since it is batched" if batched else "Context, since it is not batched"
        raise LoadFailed(f"{contract.context!r} of predict must be annotated as {expected}")
    if batched and contract.signature.streaming:
        raise LoadFailed("predict cannot both be batched and stream")


def load(config: ModelConfig) -> PythonModel:
    """Import, construct and load a class.

    Raises:
        LoadFailed: the source names no class with a `predict` that can be understood; anything the class raises.
    """
    instance = import_declared(config)(**config.parameters)
    _call(instance, "load")
    loaded = PythonModel(instance, config.batching)
    _call(instance, "warmup")
    return loaded


def import_declared(config: ModelConfig) -> type[Any]:
    """Return the class that a configuration names, if its file is the one that is meant.

    Raises:
        LoadFailed: no such class, its file has another digest, or none is named although a folder chose the file;
            anything the import raises.
    """
    if not config.sha256 and not config.in_folder:
        return import_class(config.source)
    file = config.source.rpartition(":")[0]
    if not file.endswith(".py"):
        raise LoadFailed(f"sha256 is of a file; source must be file.py:Class, got {config.source!r}")
    data = read_model(dataclasses.replace(config, source=file), code="a Python file")
    return import_class(config.source, data=data)


def import_class(source: str, *, method: str = "predict", data: bytes | None = None) -> type[Any]:
    """Return the class that a source names; ``data`` is what its file was found to hold.

    Raises:
        LoadFailed: it names none that has this method; anything the import raises.
    """
    location, _, name = source.rpartition(":")
    if not location or not name:
        raise LoadFailed(f"source must be file.py:Class or package.module:Class, got {source!r}")
    module = _import_file(Path(location), data) if location.endswith(".py") else _import_module(location)
    kind = getattr(module, name, None)
    if not inspect.isclass(kind) or not callable(getattr(kind, method, None)):
        known = [n for n, k in vars(module).items() if inspect.isclass(k) and callable(getattr(k, method, None))]
        near = close_names(name, known)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise LoadFailed(f"{name!r} must be a class with a {method} method{hint}")
    return kind


def _call(instance: object, method: str) -> None:
    function = getattr(instance, method, None)
    if inspect.iscoroutinefunction(function):
        raise LoadFailed(f"{method} must not be async: it runs on a thread of its own")
    if function is not None:
        function()


def _import_module(name: str) -> ModuleType:
    _append_path(Path.cwd())
    return importlib.import_module(name)


def _import_file(path: Path, data: bytes | None = None) -> ModuleType:
    """Import a file under a name that no other file has: once, and again when it has changed.

    Modules that it imports are not read again; a model in a process of its own begins anew.
    """
    path = path.resolve()
    if not path.is_file():
        raise LoadFailed(f"there is no file {path.name}")
    data = path.read_bytes() if data is None else data
    digest = hashlib.sha256(str(path).encode() + b"\0" + data)
    name = f"_graphmesh_{path.stem}_{digest.hexdigest()[:12]}"
    with _importing:
        if name in sys.modules:
            return sys.modules[name]
        _append_path(path.parent)
        spec = importlib.util.spec_from_file_location(name, path, loader=_AsItIs(name, path, data))
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


class _AsItIs(importlib.machinery.SourceFileLoader):
    """Compiles what was read: those bytes whose digest was checked, and no cached bytecode.

    That is told apart by second and size alone, which a quick edit may keep.
    """

    def __init__(self, name: str, path: Path, data: bytes) -> None:
        super().__init__(name, str(path))
        self._data = data

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the loader's signature
        """Compile the file."""
        code: CodeType = self.source_to_code(self._data, self.path)
        return code


def _append_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
