"""The ports of a gateway that is to start: whether they are free, who has them otherwise, and which are.

Checked before anything is started. A gateway finds a taken port, too, but only once etcd runs and the workers start.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

from graphmesh.cli.http import get
from graphmesh.core.errors import StartFailed

if TYPE_CHECKING:
    from graphmesh.cli.mesh_file import GatewayEntry

__all__ = ["check_ports", "free_port", "is_free", "local_address"]


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(bind: str, port: int) -> bool:
    """Return whether nothing listens on a port; an address that cannot be bound at all is for the gateway to refuse."""
    with socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True


def local_address(bind: str, port: int) -> str:
    """Return `host:port` by which this machine reaches what listens: loopback if every address is bound."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104 - read, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_ports(gateway: GatewayEntry) -> None:
    """Refuse to start a gateway whose ports others have.

    Raises:
        StartFailed: names the ports, who may have them and the flags that choose others (FAILED_PRECONDITION).
    """
    flags = {"--port": gateway.port, "--grpc-port": gateway.grpc_port, "--metrics-port": gateway.metrics_port}
    taken = {flag: port for flag, port in flags.items() if port and not is_free(gateway.bind, port)}
    if not taken:
        return
    ports = f"port{'s' * (len(taken) > 1)} {', '.join(map(str, taken.values()))}"
    others = " ".join(f"{flag} 0" for flag in taken)
    fields = " and ".join(f"gateway.{flag[2:].replace('-', '_')}" for flag in taken)
    raise StartFailed(
        f"{ports} on {gateway.bind} must be free, but {_holder(gateway)}; stop it (another mesh: `graphmesh down` in "
        f"its folder), or let this one take others: {others}, or {fields} in mesh.yaml"
    )


def _holder(gateway: GatewayEntry) -> str:
    address = local_address(gateway.bind, gateway.port)
    with contextlib.suppress(ValueError):  # an address that no URL can have
        answer = get(f"http://{address}/v1/status", timeout_s=1)
        if answer.status == HTTPStatus.OK and b'"mesh"' in answer.body:
            return f"another mesh answers at {address}"
    return "something else listens there"
