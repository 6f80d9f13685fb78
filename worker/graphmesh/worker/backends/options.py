"""What a configuration asks of a backend: options by name, a device, its share of the cores."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed
from graphmesh.core.names import close_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from graphmesh.worker.config import ModelConfig

__all__ = ["Device", "check_options", "only_cpu", "option", "pool_size", "read_device", "text_list", "thread_count"]

_DEVICE = re.compile(r"(cpu|cuda)(?::([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs."""

    kind: str
    """`cpu` or `cuda`."""
    index: int = 0
    """Which of several."""

    def __str__(self) -> str:
        """Return `cpu` or `cuda:1`."""
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def read_device(config: ModelConfig) -> Device | None:
    """Return the device that was asked for; None if the choice is the backend's.

    Raises:
        LoadFailed: it is not of that form.
    """
    if not config.device:
        return None
    match = _DEVICE.fullmatch(config.device)
    if match is None or (match[1] == "cpu" and match[2]):
        raise LoadFailed(f"device must be cpu, cuda or cuda:1, got {config.device!r}")
    return Device(match[1], int(match[2] or 0))


def only_cpu(config: ModelConfig) -> None:
    """Refuse a GPU for a backend that uses none.

    Raises:
        LoadFailed: the device is not the CPU.
    """
    device = read_device(config)
    if device is not None and device.kind != "cpu":
        raise LoadFailed(f"backend {config.backend} runs on the cpu only, got device {config.device!r}")


def _core_count() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no such call
        return os.cpu_count() or 1


def thread_count(config: ModelConfig) -> int:
    """Return how many threads one call may use where each has its own: an equal share of the cores, at least 1.

    Only a limit: no thread is pinned to a core, and models do not know of each other.
    """
    return max(1, _core_count() // max(1, config.instances))


def pool_size(config: ModelConfig) -> int:
    """Return how many threads a pool may have that all instances share, where a call's own thread is one of them.

    The calls bring one thread each, the pool the rest: together as many as there are cores, and a call alone has all
    that its instance's fellows leave idle. Only a limit, as `thread_count`.
    """
    return max(1, _core_count() - max(1, config.instances) + 1)


def check_options(parameters: Mapping[str, object], known: Collection[str]) -> None:
    """Refuse parameters that a backend does not know.

    Raises:
        LoadFailed: naming the parameter, close names, and all that are known.
    """
    for name in parameters:
        if name not in known:
            near = close_names(name, known)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise LoadFailed(f"parameters must be of {', '.join(known) or 'none'}, got {name!r}{hint}")


def option(parameters: Mapping[str, object], name: str, kind: type, expected: str) -> object:
    """Return a parameter of a type, or None if it is not there.

    Raises:
        LoadFailed: it is of another type.
    """
    value = parameters.get(name)
    if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        raise LoadFailed(f"parameter {name!r} must be {expected}, got {value!r}")
    return value


def text_list(parameters: Mapping[str, object], name: str) -> list[str]:
    """Return a parameter that lists texts; empty if it is not there.

    Raises:
        LoadFailed: it is something else.
    """
    value = option(parameters, name, list, "a list of texts")
    entries = value if isinstance(value, list) else []
    if not all(isinstance(entry, str) for entry in entries):
        raise LoadFailed(f"parameter {name!r} must be a list of texts, got {value!r}")
    return entries
