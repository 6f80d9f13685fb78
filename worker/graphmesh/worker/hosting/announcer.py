"""Keeps the worker's record in the registry like the models it hosts.

Changes are written one after the other; those that come while one is written go together in the next. A signature is
in the registry before a record names it. While etcd is away the last state waits, and is written when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError
from graphmesh.registry import ModelSpec

if TYPE_CHECKING:
    from graphmesh.core.clock import Clock
    from graphmesh.core.signature import Signature
    from graphmesh.registry import Registry, Session, WorkerRecord
    from graphmesh.worker.hosting.catalog import Catalog

__all__ = ["Announcer"]

logger = logging.getLogger(__name__)

_AGAIN_S = 1.0
_PATIENCE_S = 3.0


class Announcer:
    """Writes a catalogue's states into a worker's record for as long as `run` runs."""

    def __init__(self, registry: Registry, catalog: Catalog, clock: Clock) -> None:
        self._registry = registry
        self._catalog = catalog
        self._clock = clock
        self._signatures: dict[str, Signature] = {}
        self._specs: dict[str, ModelSpec] = {}
        self._running = False
        self._asked = 0
        self._written = 0
        self._news = asyncio.Event()
        self._progress = asyncio.Condition()
        self.signatures = self._signatures.values()
        """Every signature that the record has named: a live view."""
        self.specs = self._specs.values()
        """A spec for every model that the record has named: a live view."""

    def collect(self) -> bool:
        """Note the signatures and specs of what is hosted now; return whether any is new."""
        before = len(self._signatures), sum(len(spec.versions) for spec in self._specs.values())
        for model in self._catalog:
            known = self._specs.get(model.name)
            versions = known.versions if known is not None else ()
            if model.version not in versions:
                ordered = tuple(sorted((*versions, model.version), key=int))
                config = model.config
                self._specs[model.name] = ModelSpec(
                    name=model.name, backend=config.backend, source=config.source, versions=ordered
                )
            if model.ready:
                self._signatures.setdefault(model.signature.digest, model.signature)
        return before != (len(self._signatures), sum(len(spec.versions) for spec in self._specs.values()))

    def changed(self) -> None:
        """Have the record written again, soon."""
        self._asked += 1
        self._news.set()

    async def published(self) -> None:
        """Return once the registry has what is hosted now; while etcd is away, after a moment."""
        self.changed()
        if not self._running:
            return
        target = self._asked
        try:
            async with asyncio.timeout(_PATIENCE_S), self._progress:
                await self._progress.wait_for(lambda: self._written >= target)
        except TimeoutError:
            logger.warning("a change of the models waits for etcd")

    async def run(self, session: Session[WorkerRecord]) -> None:
        """Write until cancelled."""
        self._running = True
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._write(session)
        finally:
            self._running = False

    async def _write(self, session: Session[WorkerRecord]) -> None:
        asked, new = self._asked, self.collect()
        while True:
            try:
                if new:
                    await self._registry.announce(signatures=self.signatures, specs=self.specs)
                    new = False
                models = tuple(model.hosted for model in self._catalog)
                await session.update(replace(session.record, models=models))
            except GraphmeshError as error:
                logger.info("a change of the models is not announced yet error=%s", error.message)
                await self._clock.sleep(_AGAIN_S)
                new = self.collect() or new
            else:
                async with self._progress:
                    self._written = asked
                    self._progress.notify_all()
                return
