"""What a request says about its own place in the queue: the protocol's parameters `priority` and `timeout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest
from graphmesh.worker.batching.call import DEFAULT_PRIORITY, NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.inference import Parameter

__all__ = ["read_priority", "read_timeout_s"]

_LOWEST = 9


def read_priority(parameters: Mapping[str, Parameter]) -> int:
    """Return the level of a request, 1 the first to 9 the last; 0 or nothing is the default, 5.

    Raises:
        InvalidRequest: it is no such number (INVALID_ARGUMENT, retry: no).
    """
    priority = _whole("priority", parameters.get("priority", 0))
    if priority > _LOWEST:
        raise InvalidRequest(f"parameter priority must be 1, which goes first, to {_LOWEST}, got {priority}")
    return priority or DEFAULT_PRIORITY


def read_timeout_s(parameters: Mapping[str, Parameter]) -> float:
    """Return how long a request is willing to wait in the queue, seconds; infinity if it says nothing or 0.

    Raises:
        InvalidRequest: it is not a whole number of microseconds (INVALID_ARGUMENT, retry: no).
    """
    microseconds = _whole("timeout", parameters.get("timeout", 0))
    return microseconds / 1e6 if microseconds else NEVER


def _whole(name: str, value: Parameter) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"parameter {name} must be a whole number that is not negative, got {str(value)[:40]!r}")
    return value
