"""Watches: short calls cost nothing, callers that leave and deadlines end the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import Cancelled, DeadlinePassed
from graphmesh.worker.http.watch import Watches


class Connection:
    """A caller that can leave."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[Any] | None = None
        self.asked = asyncio.Event()

    def client_disconnect(self) -> asyncio.Future[Any]:
        """Return the future of its leaving."""
        self.gone = asyncio.get_running_loop().create_future()
        self.asked.set()
        return self.gone


async def test_short_call() -> None:
    """A call that is over soon never listens to the connection."""
    watches, connection = Watches(), Connection()
    with watches.watch(connection, NO_DEADLINE):
        pass
    assert connection.gone is None
    assert not watches._young


async def test_caller_leaves() -> None:
    """When the caller leaves, the work is cancelled and the watch raises Cancelled; the task itself goes on."""
    connection = Connection()

    async def work() -> str:
        try:
            with Watches().watch(connection, NO_DEADLINE):
                await asyncio.Event().wait()
        except Cancelled:
            await asyncio.sleep(0)
            return "told"
        return "not told"

    task = asyncio.create_task(work())
    await connection.asked.wait()
    assert connection.gone is not None
    connection.gone.set_result(None)
    assert await task == "told"
    assert task.cancelling() == 0


async def test_deadline() -> None:
    """When the deadline passes, the work is cancelled and the watch raises DeadlinePassed, and soon."""
    loop = asyncio.get_running_loop()
    connection = Connection()
    started = loop.time()
    with pytest.raises(DeadlinePassed), Watches().watch(connection, Deadline.after(0.02)):
        await asyncio.Event().wait()
    assert 0.02 <= loop.time() - started < 0.2
    assert connection.gone is not None
    assert connection.gone.cancelled()


async def test_deadline_in_the_past() -> None:
    """A deadline that has passed already ends a call that waits."""
    with pytest.raises(DeadlinePassed), Watches().watch(Connection(), Deadline.after(-1)):
        await asyncio.Event().wait()


async def test_work_that_finishes_in_spite() -> None:
    """Work that swallows the cancellation and finishes has finished."""
    with Watches().watch(Connection(), Deadline.after(0.001)):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done = True
    assert done
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_errors_pass() -> None:
    """An error of the work passes unchanged."""
    with pytest.raises(KeyError), Watches().watch(Connection(), NO_DEADLINE):
        raise KeyError


async def test_cancellation_from_outside_passes() -> None:
    """A cancellation that the watch did not cause is left alone."""
    connection = Connection()

    async def work() -> None:
        with Watches().watch(connection, Deadline.after(60)):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await connection.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_sweeps_end_when_nobody_is_young() -> None:
    """The sweep goes on only while there are calls to sweep."""
    watches, connection = Watches(), Connection()
    with watches.watch(connection, NO_DEADLINE):
        await connection.asked.wait()
        assert not watches._sweeping
    with watches.watch(Connection(), NO_DEADLINE):
        assert watches._sweeping
