"""The control plane's own health check of a worker, for the registry's mass-loss guard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphmesh.registry.records import WorkerRecord

__all__ = ["is_ready"]


async def is_ready(worker: WorkerRecord) -> bool:
    """Return whether a worker says that it is ready; raises OSError when it does not answer. Give it a timeout."""
    reader, writer = await asyncio.open_connection(worker.host, worker.http_port)
    try:
        writer.write(b"GET /healthz/ready HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n")
        status = await reader.readline()
    finally:
        writer.close()
    return status.split(b" ")[1:2] == [b"200"]
