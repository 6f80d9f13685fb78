"""Where work on tensors is done, and when others go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest

from graphmesh.graph.running.actions.offload import INLINE_BYTES, spare, worked
from tests.graph.host import FakeHost, VirtualLoop, virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphmesh.core.tensor import Tensor

_T = TypeVar("_T")


class _Counting(FakeHost):
    """Counts what it is asked to compute, and the turns that it gives."""

    __slots__ = ("computed", "turns")

    def __init__(self) -> None:
        super().__init__({})
        self.computed = self.turns = 0

    async def turn(self) -> None:
        """Count it."""
        self.turns += 1

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Compute it."""
        self.computed += 1
        return await super().compute(work)


def _texts(count: int, length: int) -> Tensor:
    array = np.empty(count, dtype=object)
    array[:] = [b"a" * length] * count
    return array


@pytest.mark.parametrize(
    ("tensor", "computed"),
    [
        (np.zeros(INLINE_BYTES, np.uint8), 0),
        (np.zeros(INLINE_BYTES + 1, np.uint8), 1),
        (_texts(2_000, 1), 0),
        (_texts(2_100, 1), 1),
        (_texts(2, INLINE_BYTES // 2 - 8), 0),
        (_texts(2, INLINE_BYTES // 2), 1),
    ],
    ids=["bytes", "more bytes", "texts", "more texts", "long texts", "longer texts"],
)
def test_what_takes_more_than_a_millisecond_is_done_elsewhere(tensor: Tensor, computed: int) -> None:
    """By the bytes that it reads and how many texts they are."""

    async def work() -> None:
        host = _Counting()
        assert await worked(host, iter([tensor]), lambda: 7) == 7
        assert host.computed == computed

    virtual(work())


@pytest.mark.parametrize(("seconds", "turns"), [(0.0002, 0), (0.0003, 1)])
def test_others_go_on_after_work_here(seconds: float, turns: int) -> None:
    """If it took long enough that many in a row would hold them up."""

    async def work() -> None:
        host = _Counting()
        since, loop = host.now(), host._loop
        assert isinstance(loop, VirtualLoop)
        loop.skip(seconds)
        await spare(host, since)
        assert host.turns == turns

    virtual(work())
