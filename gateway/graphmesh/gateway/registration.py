"""The gateway's own record: where workers reach it, and how far its Envoy has come."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING

from graphmesh.core.address import advertised_address
from graphmesh.core.errors import AlreadyExists, GraphmeshError, RegistryUnavailable
from graphmesh.core.version import software_version
from graphmesh.registry.records import GatewayRecord

if TYPE_CHECKING:
    from graphmesh.gateway.config import GatewayConfig
    from graphmesh.gateway.xds_server import DiscoveryServer
    from graphmesh.registry.registry import Registry
    from graphmesh.registry.session import Session

__all__ = ["stay_registered"]

logger = logging.getLogger(__name__)

_RETRY_S = 0.5


async def stay_registered(config: GatewayConfig, registry: Registry, discovery: DiscoveryServer) -> None:
    """Keep this gateway registered until cancelled, its record telling which revision its Envoy has.

    The record is written when what Envoy has changed, not for every revision: each write is itself a revision.

    Cancellation: the record is taken away.
    """
    host, port = advertised_address(config.bind, config.advertise, config.etcd), config.port
    record = GatewayRecord(gateway_id=config.gateway_id, host=host, port=port, software_version=software_version())
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
