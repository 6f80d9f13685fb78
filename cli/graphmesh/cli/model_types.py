"""What models take and give as far as files tell: the models' own, or a saved answer of `graphmesh models -o json`.

Models' own files are read as a worker would read them, without starting one. Of a Python class only the annotations are
read: its module is imported, as `graphmesh up` does, but nothing is made of the class. Other files are opened by the
backend that would load them, on the CPU, and let go of at once; formats that can carry code are refused without the
digest or the trust that they need elsewhere, too. What cannot be opened here, such as a file whose weights are not
checked out, is taken at its description's word (`config.pbtxt`). A model at another server is not asked for.

A class that cannot be imported or understood, and a source where there is nothing, is a fault: no worker could load it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict, ParseError

from graphmesh.core.errors import GraphmeshError, InvalidRequest
from graphmesh.core.wire import signature_from_wire
from graphmesh.v1 import mesh_service_pb2
from graphmesh.worker.backends import load_model, public_text
from graphmesh.worker.backends.python import import_declared
from graphmesh.worker.hosting.contract import read_contract
from graphmesh.worker.hosting.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.core.signature import Signature
    from graphmesh.worker.config import ModelConfig

__all__ = ["ModelTypes", "read_types", "saved_types"]

_UNSAID_VERSION = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTypes:
    """One version of a model, or a graph, as far as files tell."""

    name: str
    """Its name."""
    version: str
    """Digits."""
    signature: Signature | None
    """What it takes and gives; None if that is not known."""
    remark: str = ""
    """Why it is not known, or known from its description only."""
    fault: bool = False
    """Whether no worker could load it, for what the remark says."""
    graph: bool = False
    """Whether it is a graph."""


def read_types(configs: Iterable[ModelConfig]) -> list[ModelTypes]:
    """Return the versions of models that configurations lead to; may import modules and take as long as loading does.

    Nothing is raised for a model that cannot be read: its types are not known then, and the remark says why.
    """
    return [types for config in configs for types in _versions(config)]


def _versions(config: ModelConfig) -> list[ModelTypes]:
    try:
        return [_read(version) for version in read_source(config)]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module can raise anything
        return [_unread(config, error)]


def _read(config: ModelConfig) -> ModelTypes:
    if config.backend == "remote":
        return _found(config, "it is at another server, which is not asked")
    try:
        signature = _signature(config)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return _unread(config, error)
    return ModelTypes(name=config.name, version=config.version, signature=signature)


def _unread(config: ModelConfig, error: BaseException) -> ModelTypes:
    """Return what is known of a model that could not be read."""
    reason = _reason(config, error)
    if _is_class(config):
        return _found(config, reason, fault=True)
    if config.expects is not None and config.expects.inputs and config.expects.outputs:
        found = _found(config, f"taken from its description: {reason}")
        return dataclasses.replace(found, signature=config.expects)
    return _found(config, reason, fault=not Path(config.source).exists())


def _is_class(config: ModelConfig) -> bool:
    """Return whether a source is a Python class, also where nothing has looked at it yet."""
    location, _, name = config.source.rpartition(":")
    return config.backend == "python" or (not config.backend and bool(location) and name.isidentifier())


def _reason(config: ModelConfig, error: BaseException) -> str:
    """Return why a model cannot be read; of what a module raised, where in the module."""
    name = config.source.rstrip("/").rpartition("/")[2]
    if isinstance(error, GraphmeshError):
        return error.message if error.message.startswith(name) else f"{name}: {error.message}"
    file = config.source.rpartition(":")[0]
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"{Path(file).name}, line {lines[-1]}" if lines else name
    return f"{where}: {type(error).__name__}: {public_text(str(error))}"


def _found(config: ModelConfig, remark: str, *, fault: bool = False) -> ModelTypes:
    return ModelTypes(
        name=config.name, version=config.version or _UNSAID_VERSION, signature=None, remark=remark, fault=fault
    )


def _signature(config: ModelConfig) -> Signature:
    if config.backend == "python":
        return _of_class(import_declared(config))
    loaded = load_model(dataclasses.replace(config, device="cpu"))
    try:
        return loaded.signature
    finally:
        loaded.unload()


def _of_class(kind: type[Any]) -> Signature:
    """Return the signature of a class without making an instance of it."""
    predict = kind.predict
    if inspect.isfunction(inspect.getattr_static(kind, "predict")):
        predict = types.MethodType(predict, kind)  # bound to something, so that `self` is no input
    return read_contract(predict).signature


def saved_types(path: Path) -> list[ModelTypes]:
    """Return what a file says that has an answer of `graphmesh models -o json`, of all models or of one.

    Raises:
        InvalidRequest: it cannot be read or is something else; names the file (INVALID_ARGUMENT).
    """
    try:
        document: Any = json.loads(path.read_bytes())
        listed = document["models"] if isinstance(document, dict) and "models" in document else [document]
        models = [ParseDict(model, mesh_service_pb2.Model(), ignore_unknown_fields=True) for model in listed]
        return [version for model in models for version in _saved(model)]
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, ParseError) as error:
        what = "must be what `graphmesh models -o json` prints"
        raise InvalidRequest(f"{path}: {what}: {' '.join(str(error).split())}") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.message}") from None


def _saved(model: mesh_service_pb2.Model) -> list[ModelTypes]:
    """Return the versions of a model: those with the types that are printed, which are of the one that answers calls.

    All versions that say nothing of their types have them too.
    """
    signature = signature_from_wire(model.signature) if model.HasField("signature") else None
    found: dict[str, ModelTypes] = {}
    for hosted in [replica.model for replica in model.replicas]:
        version = (not model.graph and hosted.version) or _UNSAID_VERSION
        same = signature is not None and hosted.signature_digest in {"", signature.digest}
        if version not in found or same:
            found[version] = ModelTypes(
                name=model.name,
                version=version,
                signature=signature if same or model.graph else None,
                remark="" if same else hosted.message or "its types were not printed",
                graph=model.graph,
            )
    said = ModelTypes(
        name=model.name,
        version=_UNSAID_VERSION,
        signature=signature,
        remark="" if signature else "no worker hosted it",
        graph=model.graph,
    )
    return list(found.values()) or [said]
