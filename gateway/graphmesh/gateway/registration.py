"""The gateway's own record: where workers reach it, and how far its Envoy has come."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

from graphmesh.core.errors import AlreadyExists, GraphmeshError, RegistryUnavailable, StartFailed
from graphmesh.registry.records import GatewayRecord

if TYPE_CHECKING:
    from graphmesh.gateway.config import GatewayConfig
    from graphmesh.gateway.xds_server import DiscoveryServer
    from graphmesh.registry.registry import Registry
    from graphmesh.registry.session import Session

__all__ = ["advertised_address", "stay_registered"]

logger = logging.getLogger(__name__)

_RETRY_S = 0.5


def advertised_address(config: GatewayConfig) -> str:
    """Return the address that workers reach this gateway at.

    ``advertise`` if given, else ``bind`` unless that is every address, else the one from which etcd is reached.

    Raises:
        StartFailed: none of these (FAILED_PRECONDITION, retry: no).
    """
    if config.advertise:
        return config.advertise
    if not ipaddress.ip_address(config.bind).is_unspecified:
        return config.bind
    host, _, port = config.etcd[0].rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as way:
            way.connect(address)  # of a datagram socket: finds the route, sends nothing
            return str(way.getsockname()[0])
    except (OSError, ValueError) as error:
        raise StartFailed(
            f"--advertise must be given: no way to etcd at {config.etcd[0]!r} tells this machine's address ({error})"
        ) from None


async def stay_registered(config: GatewayConfig, registry: Registry, discovery: DiscoveryServer) -> None:
    """Keep this gateway registered until cancelled, its record telling which revision its Envoy has.

    The record is written when what Envoy has changed, not for every revision: each write is itself a revision.

    Cancellation: the record is taken away.
    """
    host, port = advertised_address(config), config.port
    record = GatewayRecord(gateway_id=config.gateway_id, host=host, port=port, software_version=version("graphmesh"))
    session = await _registered(config, registry, record)
    written = ""
    try:
        while True:
            synced = discovery.synced
            if synced is not None and synced.version != written:
                with contextlib.suppress(RegistryUnavailable):  # the session writes it as soon as it can
                    await session.update(dataclasses.replace(record, synced_revision=synced.revision))
                written = synced.version
            else:
                await discovery.progress()
    finally:
        await session.close()


async def _registered(config: GatewayConfig, registry: Registry, record: GatewayRecord) -> Session[GatewayRecord]:
    """Register, however long it takes: a gateway serves without."""
    while True:
        try:
            return await registry.register_gateway(record, ttl_s=config.ttl_s)
        except AlreadyExists as error:
            if await _predecessor_forgotten(registry, record):
                continue
            logger.warning("another gateway has this id error=%s", error.message)
        except GraphmeshError as error:
            logger.warning("gateway not registered yet error=%s", error.message)
        await asyncio.sleep(_RETRY_S)


async def _predecessor_forgotten(registry: Registry, record: GatewayRecord) -> bool:
    """Take away the record of a control plane that was killed: of our id and at our address, which we hold."""
    with contextlib.suppress(RegistryUnavailable):
        found = (await registry.read()).gateways.get(record.gateway_id)
        if found is not None and (found.host, found.port) == (record.host, record.port):
            return await registry.forget(found)
    return False
