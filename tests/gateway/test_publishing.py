"""What Envoy is told, and when, while the contract gate takes its time."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

from graphmesh.gateway import publishing
from graphmesh.gateway.config import Sockets
from graphmesh.gateway.publishing import Publisher
from graphmesh.gateway.standing import Standing
from tests.gateway.meshes import signature, snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from graphmesh.gateway.standing import Standings
    from graphmesh.registry.snapshot import Snapshot

_SOCKETS = Sockets(control="c", http="h", admin="a")


class SlowWatch:
    """Decides a snapshot when it is let; a graph of it then stands as its revision says."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked: list[int] = []

    def update(self, now: Snapshot) -> Standings:
        """Wait, and tell which snapshot it was."""
        self.asked.append(now.revision)
        assert self.go_on.wait(10)
        return {"g": Standing(problem=str(now.revision))}


def _at(revision: int) -> Snapshot:
    return replace(snapshot({"w-1": {"m": signature()}}), revision=revision)


async def _until(done: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await done.wait()
    done.clear()


async def test_changes_are_published_while_a_graph_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at once, with how graphs stood before; and the latest again when that is known."""
    monkeypatch.setattr(publishing, "_PATIENCE_S", 0.01)
    view, discovery, watch = Mock(standings={}), Mock(), SlowWatch()
    changes: asyncio.Queue[Snapshot | None] = asyncio.Queue()
    told: list[tuple[int, str]] = []
    published = asyncio.Event()

    def note(resources: Mock) -> None:
        told.append((resources.revision, view.standings["g"].problem if view.standings else ""))
        published.set()

    async def snapshots() -> AsyncIterator[Snapshot]:
        while (change := await changes.get()) is not None:
            yield change

    discovery.publish.side_effect = note
    publisher = Publisher(view, discovery, _SOCKETS, watch=watch)  # type: ignore[arg-type]
    following = asyncio.create_task(publisher.follow(snapshots()))
    for revision in (1, 2, 3):
        changes.put_nowait(_at(revision))
        await _until(published)
    assert told == [(1, ""), (2, ""), (3, "")]
    watch.go_on.set()
    changes.put_nowait(None)
    async with asyncio.timeout(10):
        await following
    assert watch.asked == [1, 3], "what was overtaken is not decided"
    assert told[3:] == [(3, "1"), (3, "3")]


async def test_what_is_decided_soon_is_published_once() -> None:
    """With what the gate said of it."""
    view, discovery, watch = Mock(standings={}), Mock(), SlowWatch()
    watch.go_on.set()

    async def snapshots() -> AsyncIterator[Snapshot]:
        yield _at(1)
        yield _at(2)

    publisher = Publisher(view, discovery, _SOCKETS, watch=watch)  # type: ignore[arg-type]
    await publisher.follow(snapshots())
    assert [call.args[0].revision for call in discovery.publish.call_args_list] == [1, 2]
    assert view.standings["g"].problem == "2"
