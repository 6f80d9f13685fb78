"""Publishing what the registry holds, also while the contract gate still looks for versions that fit a graph.

Mostly the gate remembers, and what it says is published with the change. A search can take longer, up to a minute where
hundreds of versions clash; the mesh must not wait for one graph to learn that a worker is gone. Then the change is
published at once with how graphs stood before, which only places them and refuses calls of broken ones (workers decide
for themselves what they call), and once more when it is decided.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from graphmesh.gateway.standing import Watch
from graphmesh.gateway.xds_resources import build

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from graphmesh.gateway.config import Sockets
    from graphmesh.gateway.view import View
    from graphmesh.gateway.xds_server import DiscoveryServer
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Publisher"]

_PATIENCE_S = 0.5
"""How long a change waits for how its graphs stand."""


class Publisher:
    """Has Envoy told of every change.

    Args:
        view: Gets how graphs stand.
        discovery: Tells Envoy.
        sockets: Of the gateway.
        watch: Decides how graphs stand.
    """

    def __init__(self, view: View, discovery: DiscoveryServer, sockets: Sockets, *, watch: Watch | None = None) -> None:
        self._view = view
        self._discovery = discovery
        self._sockets = sockets
        self._watch = watch or Watch()
        self._latest: Snapshot | None = None
        self._publishing = asyncio.Lock()

    async def follow(self, changes: AsyncIterable[Snapshot]) -> None:
        """Publish every snapshot, or the latest of several that come at once, until there are no more."""
        deciding: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            async for snapshot in changes:
                self._latest = snapshot
                if deciding is None or deciding.done():
                    deciding = tasks.create_task(self._decide())
                    await asyncio.wait({deciding}, timeout=_PATIENCE_S)
                if not deciding.done():
                    await self._publish(snapshot)

    async def _decide(self) -> None:
        """Find out how graphs stand in the latest snapshot, until there is no later one, and publish it."""
        decided: Snapshot | None = None
        while self._latest is not None and decided is not self._latest:
            decided = self._latest
            self._view.standings = await asyncio.to_thread(self._watch.update, decided)
            await self._publish(self._latest)

    async def _publish(self, snapshot: Snapshot) -> None:
        async with self._publishing:
            if snapshot is self._latest:
                resources = await asyncio.to_thread(build, snapshot, self._view.standings, self._sockets)
                self._discovery.publish(resources)
