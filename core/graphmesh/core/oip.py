"""What the Open Inference Protocol asks of a server beside inference: Triton's extensions, free of any transport.

A worker answers them for itself, the gateway for the mesh; both are a `Management`. `RPCS` is the one place where a
request is checked and turned into a question, for gRPC and REST alike (`graphmesh.core.oip_rest` has the paths).
Specification: Triton's `model_repository`, `model_configuration`, `statistics`, `trace` and `logging` extensions.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from graphmesh.core.errors import InvalidRequest, NotFound, Unsupported
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

__all__ = ["EXTENSIONS", "READY", "RPCS", "SERVICE", "Management"]

SERVICE = "inference.GRPCInferenceService"
"""The protocol's gRPC service."""

EXTENSIONS = (
    "binary_tensor_data",
    "generate",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""What is supported beyond the protocol's core, by Triton's names. Settings that can only be read are not listed."""

READY = "READY"
"""The state of an index entry that takes calls."""

_UNLOAD_DEPENDENTS = "unload_dependents"


class Management(Protocol):
    """Answers for what is hosted."""

    async def index(self) -> Sequence[pb.RepositoryIndexResponse.ModelIndex]:
        """Return every version of every model and every graph."""
        ...

    async def load(self, name: str) -> None:
        """Load a model, or load it again.

        Raises:
            NotFound: there is no such model (NOT_FOUND, retry: no).
            LoadFailed: it could not be loaded; an old version keeps serving (FAILED_PRECONDITION, retry: no).
        """
        ...

    async def unload(self, name: str) -> None:
        """Unload a model; raises NotFound."""
        ...

    async def statistics(self, name: str, version: str) -> Sequence[pb.ModelStatistics]:
        """Return the statistics of a version, of all versions (no version), or of everything (no name).

        Raises:
            NotFound: there is no such model or version (NOT_FOUND, retry: no).
        """
        ...

    async def config(self, name: str, version: str) -> pb.ModelConfig:
        """Return how a model or graph is served.

        Raises:
            NotFound: there is no such model or version (NOT_FOUND, retry: no).
            ModelNotReady: it is not loaded (UNAVAILABLE, retry: other endpoint).
        """
        ...


async def _index(management: Management, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
    _only_repository(request.repository_name)
    found = sorted(await management.index(), key=lambda entry: (entry.name, int(entry.version)))
    models = [entry for entry in found if entry.state == READY] if request.ready else found
    return pb.RepositoryIndexResponse(models=models)


async def _load(management: Management, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
    _only_repository(request.repository_name)
    for name in request.parameters:
        raise Unsupported(
            f"parameters[{name[:140]!r}] is not offered: a model's files and configuration stay where its worker is"
        )
    await management.load(_named("model_name", request.model_name))
    return pb.RepositoryModelLoadResponse()


async def _unload(management: Management, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
    _only_repository(request.repository_name)
    for name, parameter in request.parameters.items():
        if name != _UNLOAD_DEPENDENTS or parameter != pb.ModelRepositoryParameter(bool_param=False):
            raise Unsupported(f"parameters[{name[:140]!r}] is not offered")
    await management.unload(_named("model_name", request.model_name))
    return pb.RepositoryModelUnloadResponse()


def _only_repository(name: str) -> None:
    if name:
        raise NotFound(f"there is one repository and it has no name, got repository_name {name[:140]!r}")


def _named(field: str, name: str) -> str:
    if not name:
        raise InvalidRequest(f"{field} must name a model, got nothing")
    return name


async def _statistics(management: Management, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
    if request.version and not request.name:
        raise InvalidRequest(f"version needs a name beside it, got version {request.version[:20]!r} alone")
    return pb.ModelStatisticsResponse(model_stats=await management.statistics(request.name, request.version))


async def _config(management: Management, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
    config = await management.config(_named("name", request.name), request.version)
    return pb.ModelConfigResponse(config=config)


async def _trace(_management: Management, request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
    if request.settings:
        raise Unsupported("trace settings cannot be changed: requests are not traced by this protocol's means")
    off = pb.TraceSettingResponse.SettingValue(value=["OFF"])
    return pb.TraceSettingResponse(settings={"trace_level": off})


async def _log(_management: Management, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
    if request.settings:
        raise Unsupported("log settings are given when a process starts, and cannot be changed while it runs")
    logger = logging.getLogger("graphmesh")
    levels = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
    value = pb.LogSettingsResponse.SettingValue
    settings = {name: value(bool_param=logger.isEnabledFor(level)) for name, level in levels.items()}
    settings["log_verbose_level"] = value(uint32_param=int(logger.isEnabledFor(logging.DEBUG)))
    return pb.LogSettingsResponse(settings=settings)


async def _shared_memory(_management: Management, _request: Message) -> Message:
    raise Unsupported(
        "shared memory is not offered: clients and workers of a mesh need not be on one machine, and a name from a "
        "client must not open this one's memory; send tensors in the message"
    )


_Answer: TypeAlias = Callable[[Management, Any], Awaitable["Message"]]

RPCS: Mapping[str, tuple[type[Message], _Answer]] = {
    "RepositoryIndex": (pb.RepositoryIndexRequest, _index),
    "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, _load),
    "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, _unload),
    "ModelStatistics": (pb.ModelStatisticsRequest, _statistics),
    "ModelConfig": (pb.ModelConfigRequest, _config),
    "TraceSetting": (pb.TraceSettingRequest, _trace),
    "LogSettings": (pb.LogSettingsRequest, _log),
    "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, _shared_memory),
    "SystemSharedMemoryRegister": (pb.SystemSharedMemoryRegisterRequest, _shared_memory),
    "SystemSharedMemoryUnregister": (pb.SystemSharedMemoryUnregisterRequest, _shared_memory),
    "CudaSharedMemoryStatus": (pb.CudaSharedMemoryStatusRequest, _shared_memory),
    "CudaSharedMemoryRegister": (pb.CudaSharedMemoryRegisterRequest, _shared_memory),
    "CudaSharedMemoryUnregister": (pb.CudaSharedMemoryUnregisterRequest, _shared_memory),
}
"""Every method but health, metadata and inference: its request, and how it is answered."""
