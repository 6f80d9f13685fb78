"""Session options and execution providers of ONNX Runtime, from a model's `parameters` and `device`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.backends.options import Device, check_options, option, pool_size, read_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.worker.config import ModelConfig

__all__ = ["KEEP_GRAPH", "Providers", "apply_options", "choose_providers", "used_device"]

KEEP_GRAPH = "keep_optimized_graph"
_THREADS = ("intra_op_num_threads", "inter_op_num_threads")
_SWITCHES = ("enable_mem_pattern", "enable_cpu_mem_arena")
_ENUMS = {
    "graph_optimization_level": (
        "GraphOptimizationLevel",
        {
            "disable": "ORT_DISABLE_ALL",
            "basic": "ORT_ENABLE_BASIC",
            "extended": "ORT_ENABLE_EXTENDED",
            "all": "ORT_ENABLE_ALL",
        },
    ),
    "execution_mode": ("ExecutionMode", {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}),
}
_SPINNING = "allow_spinning"
_KNOWN = (*_THREADS, *_ENUMS, *_SWITCHES, _SPINNING, KEEP_GRAPH)
_ERRORS_ONLY = 3
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """What executes a graph's nodes."""

    device: Device
    """Where that is."""
    arguments: list[Any]
    """The same in the runtime's terms; the first that can execute a node does."""


def choose_providers(config: ModelConfig, available: Sequence[str]) -> Providers:
    """Return the providers of the device that was asked for, or of the best there is.

    Raises:
        LoadFailed: a GPU was asked for, and this installation of the runtime cannot use one; says what to install.
    """
    device = read_device(config) or Device("cuda" if _CUDA in available else "cpu")
    if device.kind == "cpu":
        return Providers(device=device, arguments=[_CPU])
    if _CUDA not in available:
        raise LoadFailed(
            f"device {config.device!r} needs ONNX Runtime with CUDA, which is not installed here: pip uninstall "
            "onnxruntime, then pip install 'graphmesh[gpu]'"
        )
    return Providers(device=device, arguments=[(_CUDA, {"device_id": str(device.index)}), _CPU])


def used_device(config: ModelConfig, providers: Providers, used: Sequence[str]) -> Device:
    """Return where a session really runs: the runtime goes on without a GPU that it cannot initialise.

    Raises:
        LoadFailed: a GPU was asked for, and the session does not use it.
    """
    if providers.device.kind == "cpu" or _CUDA in used:
        return providers.device
    if config.device:
        raise LoadFailed(
            f"device {config.device!r} cannot be used: ONNX Runtime finds no such GPU, or not the CUDA and cuDNN it "
            "was built for; its own log says which"
        )
    return Device("cpu")


def apply_options(options: Any, config: ModelConfig) -> None:
    """Set what the configuration says, and what suits a server.

    Raises:
        LoadFailed: an unknown option, or a value that it cannot have.
    """
    import onnxruntime

    parameters = config.parameters
    check_options(parameters, _KNOWN)
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = pool_size(config)
    for name in _THREADS:
        count = option(parameters, name, int, "a number of threads, at least 1")
        if isinstance(count, int):
            if count < 1:
                raise LoadFailed(f"parameter {name!r} must be at least 1, got {count}")
            setattr(options, name, count)
    for name in _SWITCHES:
        switch = option(parameters, name, bool, "true or false")
        if switch is not None:
            setattr(options, name, switch)
    for name, (enum, members) in _ENUMS.items():
        if name in parameters:
            member = members.get(str(parameters[name]))
            if member is None:
                raise LoadFailed(f"parameter {name!r} must be one of {', '.join(members)}, got {parameters[name]!r}")
            setattr(options, name, getattr(getattr(onnxruntime, enum), member))
    spinning = "1" if option(parameters, _SPINNING, bool, "true or false") else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    options.add_session_config_entry("session.inter_op.allow_spinning", spinning)
