"""Which address a process tells others to reach it at.

given (``advertise``) ──► else the bound address ──► else, bound to all, the one from which etcd is reached
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from graphmesh.core.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["advertised_address"]


def advertised_address(bind: str, advertise: str, etcd: Sequence[str]) -> str:
    """Return the address, an IP literal, that others reach this process at.

    Args:
        bind: The address that is bound: an IP literal.
        advertise: The address to tell, as configured; empty derives it.
        etcd: etcd's endpoints, `host:port`; the first one's name is looked up when every address is bound.

    Raises:
        StartFailed: every address is bound and there is no way to etcd (FAILED_PRECONDITION, retry: no).
    """
    if advertise:
        return advertise
    if not ipaddress.ip_address(bind).is_unspecified:
        return bind
    try:
        return _source_address(etcd[0])
    except (OSError, ValueError) as error:
        raise StartFailed(
            f"--advertise must be given: no way to etcd at {etcd[0]!r} tells this machine's address ({error})"
        ) from None


def _source_address(endpoint: str) -> str:
    """Return this machine's address on the way to an endpoint."""
    host, _, port = endpoint.rpartition(":")
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)  # of a datagram socket: asks the routing table, sends nothing
        return str(probe.getsockname()[0])
