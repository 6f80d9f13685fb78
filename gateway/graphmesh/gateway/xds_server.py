"""The discovery service: delta ADS over gRPC, one Envoy at its other end.

Nothing is answered before the first content is published: a control plane that has not listed the registry yet must
not tell an Envoy, which may be serving with what it has, that there is nothing.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envoy.service.discovery.v3 import ads_pb2_grpc

from graphmesh.gateway.xds_stream import DeltaStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc
    from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

    from graphmesh.gateway.xds_resources import ResourceSet

__all__ = ["DiscoveryServer", "DiscoveryStatistics"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryStatistics:
    """The discovery service at one moment."""

    streams: int
    """Streams that are open: one when Envoy is connected."""
    published_revision: int
    """Registry revision of the content."""
    synced_revision: int
    """Registry revision that every connected Envoy has acknowledged; 0 while none is connected."""
    responses: int
    """Responses sent."""
    rejections: int
    """Responses that Envoy refused."""


class DiscoveryServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Publishes resource sets to whoever holds a discovery stream."""

    def __init__(self) -> None:
        self._content: ResourceSet | None = None
        self._published = asyncio.Event()
        self._progress = asyncio.Event()
        self._streams: dict[DeltaStream, asyncio.Queue[_Item]] = {}
        self._responses = 0
        self._rejections = 0

    @property
    def statistics(self) -> DiscoveryStatistics:
        """What the service is doing."""
        return DiscoveryStatistics(
            streams=len(self._streams),
            published_revision=self._content.revision if self._content else 0,
            synced_revision=min((stream.synced_revision for stream in self._streams), default=0),
            responses=self._responses,
            rejections=self._rejections + sum(stream.rejections for stream in self._streams),
        )

    @property
    def synced(self) -> ResourceSet | None:
        """What is published, once every connected Envoy has all of it; None until then."""
        content = self._content
        done = content is not None and self._streams and all(stream.has(content) for stream in self._streams)
        return content if done else None

    def publish(self, content: ResourceSet) -> None:
        """Make ``content`` what every stream is to have."""
        self._content = content
        self._published.set()
        for inbox in self._streams.values():
            inbox.put_nowait(_CHANGED)

    async def published(self) -> None:
        """Return once there is content."""
        await self._published.wait()

    async def progress(self) -> None:
        """Return after the next acknowledgement, or when a stream opens or ends."""
        self._progress.clear()
        await self._progress.wait()

    async def DeltaAggregatedResources(  # noqa: N802 - the name of the RPC
        self,
        requests: AsyncIterator[DeltaDiscoveryRequest],
        context: grpc.aio.ServicerContext[DeltaDiscoveryRequest, DeltaDiscoveryResponse],
    ) -> None:
        """Answer one Envoy for as long as it stays."""
        inbox: asyncio.Queue[_Item] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(_read(requests, inbox))
            try:
                await self._serve(inbox, context)
            finally:
                reader.cancel()

    async def _serve(
        self,
        inbox: asyncio.Queue[_Item],
        context: grpc.aio.ServicerContext[DeltaDiscoveryRequest, DeltaDiscoveryResponse],
    ) -> None:
        await self._published.wait()
        assert self._content is not None  # noqa: S101 - published, and never taken back
        stream = DeltaStream(self._content)
        self._streams[stream] = inbox
        logger.info("envoy connected revision=%d", self._content.revision)
        try:
            while (item := await inbox.get()) is not _END:
                answers = stream.update(self._content) if item is _CHANGED else stream.request(item)
                for response in answers:
                    await context.write(response)
                    self._responses += 1
                self._progress.set()
        finally:
            del self._streams[stream]
            self._rejections += stream.rejections
            self._progress.set()
            logger.info("envoy disconnected")


class _Mark:
    """What else than a request a stream's inbox holds."""


_Item = _Mark | object
_CHANGED = _Mark()
"""There is new content. Several in a row are as good as one: the second finds nothing changed."""
_END = _Mark()
"""Envoy closed the stream."""


async def _read(requests: AsyncIterator[DeltaDiscoveryRequest], inbox: asyncio.Queue[_Item]) -> None:
    async for request in requests:
        inbox.put_nowait(request)
    inbox.put_nowait(_END)
