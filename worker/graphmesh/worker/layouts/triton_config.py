"""What is read of Triton's `config.pbtxt`, and what it means here.

    name                                     for people: the mesh's configuration names the model
    platform, backend                        which backend; the file's ending if absent
    default_model_filename                   the file in each version's folder
    max_batch_size                           above 0: dims leave the batch out, and it bounds the batches
    input, output: name, data_type, dims     compared with the file's own
    dynamic_batching                         calls are gathered into batches; max_queue_delay_microseconds bounds the
                                             wait; preferred_batch_size is not needed: batches are sized by what they
                                             are measured to cost
    instance_group: count, kind, gpus        instances and device
    version_policy: latest, all, specific    which versions are served
    model_transaction_policy: decoupled      must be false: a model file gives one answer a call

Specification: `triton-inference-server/common:protobuf/model_config.proto`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from graphmesh.core.errors import LoadFailed
from graphmesh.core.signature import Dimension, Signature, TensorSpec
from graphmesh.core.tensor import BYTES, DTYPES
from graphmesh.worker.batching import Batching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.textproto import Message

__all__ = ["TritonConfig", "read_config"]

_Kind = TypeVar("_Kind")

_BACKENDS = {
    "onnxruntime_onnx": "onnx",
    "onnxruntime": "onnx",
    "pytorch_libtorch": "torch",
    "pytorch": "torch",
}
_READ = frozenset(
    {
        "name",
        "platform",
        "backend",
        "default_model_filename",
        "max_batch_size",
        "input",
        "output",
        "dynamic_batching",
        "instance_group",
        "version_policy",
        "model_transaction_policy",
    }
)
_READ_INSIDE = {
    "input": {"name", "data_type", "dims"},
    "output": {"name", "data_type", "dims"},
    "dynamic_batching": {"preferred_batch_size", "max_queue_delay_microseconds"},
    "instance_group": {"name", "count", "kind", "gpus"},
}
_MICROSECONDS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonConfig:
    """The file, in our terms."""

    found: Mapping[str, object] = field(default_factory=dict)
    """Fields of `ModelConfig`."""
    file_name: str = ""
    """The file in each version's folder; empty: `model.*`."""
    latest: int | None = None
    """How many of the highest versions are served; 0: all; None: the one that is wanted, else the highest."""
    specific: Sequence[int] = ()
    """Exactly these, if there are any."""
    ignored: Sequence[str] = ()
    """Fields that mean nothing here."""

    def choose(self, there: Sequence[int], wanted: str) -> list[int]:
        """Return the versions to serve of those there are, ascending; only the wanted one if one is."""
        if self.specific:
            chosen = [version for version in there if version in self.specific]
        else:
            count = self.latest if self.latest is not None else (0 if wanted else 1)
            chosen = list(there[-count:])
        return [version for version in chosen if wanted in {"", str(version)}]


def read_config(message: Message) -> TritonConfig:
    """Return what a `config.pbtxt` says.

    Raises:
        LoadFailed: a field has a value of the wrong kind, or asks for something that is not done here.
    """
    if _one(_one(message, "model_transaction_policy", dict, {}), "decoupled", str, "false") != "false":
        raise LoadFailed("model_transaction_policy: decoupled is not supported: a model file gives one answer a call")
    size = _one(message, "max_batch_size", int, 0)
    found: dict[str, object] = {"backend": _backend(message)}
    if "dynamic_batching" in message and size > 0:
        delay = _one(_one(message, "dynamic_batching", dict, {}), "max_queue_delay_microseconds", int, 0)
        found["batching"] = Batching(max_batch_size=size, max_delay_ms=delay / _MICROSECONDS)
    if "input" in message or "output" in message:
        found["expects"] = Signature(_specs(message, "input", size), _specs(message, "output", size))
    found.update(_instances(message))
    latest, specific = _policy(message)
    return TritonConfig(
        found=found,
        file_name=_one(message, "default_model_filename", str, ""),
        latest=latest,
        specific=specific,
        ignored=_ignored(message),
    )


def _backend(message: Message) -> str:
    named = _one(message, "backend", str, "") or _one(message, "platform", str, "")
    if named and named not in _BACKENDS:
        raise LoadFailed(f"backend or platform must be one of {', '.join(_BACKENDS)}, got {named!r}")
    return _BACKENDS.get(named, "")


def _specs(message: Message, kind: str, max_batch_size: int) -> tuple[TensorSpec, ...]:
    specs = []
    for entry in _all(message, kind, dict):
        name = _one(entry, "name", str, "")
        datatype = _one(entry, "data_type", str, "").removeprefix("TYPE_")
        datatype = BYTES if datatype == "STRING" else datatype
        if not name or datatype not in DTYPES:
            raise LoadFailed(f"{kind} {name!r}: name and data_type must be given, got {entry.get('data_type')}")
        dims = tuple(_dimension(size) for size in _all(entry, "dims", int))
        specs.append(TensorSpec(name=name, datatype=datatype, shape=(None, *dims) if max_batch_size > 0 else dims))
    return tuple(specs)


def _dimension(size: int) -> Dimension:
    return None if size < 0 else size


def _instances(message: Message) -> dict[str, object]:
    groups = _all(message, "instance_group", dict)
    if not groups:
        return {}
    devices = {_device(group) for group in groups} - {""}
    if len(devices) > 1:
        raise LoadFailed(f"instance_group: all instances must be on one device, got {', '.join(sorted(devices))}")
    return {
        "instances": sum(_one(group, "count", int, 1) for group in groups),
        "device": devices.pop() if devices else "",
    }


def _device(group: Message) -> str:
    kind = _one(group, "kind", str, "KIND_AUTO")
    gpus = _all(group, "gpus", int)
    if kind == "KIND_CPU":
        return "cpu"
    if len(gpus) > 1:
        raise LoadFailed(f"instance_group: all instances must be on one device, got gpus {gpus}")
    if gpus:
        return f"cuda:{gpus[0]}"
    return "cuda" if kind == "KIND_GPU" else ""


def _policy(message: Message) -> tuple[int | None, list[int]]:
    policy = _one(message, "version_policy", dict, {})
    if "specific" in policy:
        return None, _all(_one(policy, "specific", dict, {}), "versions", int)
    if "latest" in policy:
        return max(1, _one(_one(policy, "latest", dict, {}), "num_versions", int, 1)), []
    return (0 if "all" in policy else None), []


def _ignored(message: Message) -> list[str]:
    ignored = [name for name in message if name not in _READ]
    for name, known in _READ_INSIDE.items():
        for inner in _all(message, name, dict) if name in message else ():
            ignored += [f"{name}.{inside}" for inside in inner if inside not in known]
    return sorted(set(ignored))


def _all(message: Message, name: str, kind: type[_Kind]) -> list[_Kind]:
    values = message.get(name, [])
    wrong = [value for value in values if not isinstance(value, kind)]
    if wrong:
        raise LoadFailed(f"{name} must be of kind {kind.__name__}, got {wrong[0]!r}")
    return [value for value in values if isinstance(value, kind)]


def _one(message: Message, name: str, kind: type[_Kind], otherwise: _Kind) -> _Kind:
    """Return a field's last value, as protobuf does when a field that is not repeated occurs twice."""
    values = _all(message, name, kind)
    return values[-1] if values else otherwise
