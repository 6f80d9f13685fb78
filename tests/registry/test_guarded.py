"""Writes whose answer never came: the outcome is found out, not guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import Conflict, NotFound, RegistryUnavailable
from graphmesh.registry import MemoryKV, ModelSpec, Registry
from graphmesh.registry.kv import Put
from tests.registry.fakes import SIGNATURE, document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.registry.kv import Compare, Op, Outcome


class _MuteKV(MemoryKV):
    """A store that leaves the next writes unanswered, done or not done."""

    def __init__(self) -> None:
        super().__init__()
        self.unanswered: list[bool] = []
        """For each write to come: whether it is done."""

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float = 1.8) -> Outcome:
        """Write as told, and answer unless told otherwise."""
        if not self.unanswered:
            return await super().txn(compares, ops, timeout_s=timeout_s)
        if self.unanswered.pop(0):
            await super().txn(compares, ops, timeout_s=timeout_s)
        raise RegistryUnavailable("no answer")


@pytest.mark.parametrize("done", [True, False])
async def test_an_unanswered_write_happens_once(*, done: bool) -> None:
    """Whether an unanswered write was done or not, the graph ends with one new revision."""
    kv = _MuteKV()
    registry = Registry(kv)
    first = await registry.put_graph("g", document("g"), SIGNATURE)
    kv.unanswered = [done]
    second = await registry.put_graph("g", document("g", "changed"), SIGNATURE, etag=first.etag)
    assert second.revision == 2
    assert await registry.get_graph("g") == second
    assert len(await registry.list_graph_revisions("g")) == 2


@pytest.mark.parametrize("done", [True, False])
async def test_an_unanswered_move_of_the_pointer_happens_once(*, done: bool) -> None:
    """Making a revision live that may be live already is no Conflict, although the etag is the one before."""
    kv = _MuteKV()
    registry = Registry(kv)
    await registry.put_graph("g", document("g"), SIGNATURE)
    second = await registry.put_graph("g", document("g", "changed"), SIGNATURE)
    kv.unanswered = [done]
    back = await registry.set_live("g", 1, etag=second.etag)
    assert (back.revision, back.live) == (1, True)
    assert await registry.get_graph("g") == back


@pytest.mark.parametrize("done", [True, False])
async def test_an_unanswered_deletion_succeeds(*, done: bool) -> None:
    """A deletion that was done but not answered is no NotFound; the same for models."""
    kv = _MuteKV()
    registry = Registry(kv)
    await registry.put_graph("g", document("g"), SIGNATURE)
    await registry.put_model_spec(ModelSpec(name="m"))
    for delete in (registry.delete_graph("g"), registry.delete_model("m")):
        kv.unanswered = [done]
        await delete
    with pytest.raises(NotFound):
        await registry.get_graph("g")
    assert (await registry.read()).models == {}


async def test_two_unanswered_writes_are_an_outage() -> None:
    """A store that goes on not answering is reported instead of tried for ever."""
    kv = _MuteKV()
    kv.unanswered = [False, False]
    with pytest.raises(RegistryUnavailable):
        await Registry(kv).put_graph("g", document("g"), SIGNATURE)
    assert kv.unanswered == []


class _BusyKV(MemoryKV):
    """A store in which someone else changes the model just before each guarded write."""

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op], *, timeout_s: float = 1.8) -> Outcome:
        """Be overtaken, then write."""
        await super().txn([], [Put(compares[0].key, b"")])
        return await super().txn(compares, ops, timeout_s=timeout_s)


async def test_being_overtaken_each_time_is_a_conflict() -> None:
    """A change that others overtake again and again ends as Conflict."""
    with pytest.raises(Conflict, match="specs of m"):
        await Registry(_BusyKV()).put_model_spec(ModelSpec(name="m"))
