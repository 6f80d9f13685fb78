"""Background tasks that have an owner: started by it, ended by it, and never dying quietly."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["start", "stop"]

_log = logging.getLogger(__name__)


def start(work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
    """Begin work that lasts until its owner stops it; if it fails before, that is a fault here, and logged."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report)
    return task


async def stop(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("background work failed, please report this fault task=%s", task.get_name(), exc_info=error)
