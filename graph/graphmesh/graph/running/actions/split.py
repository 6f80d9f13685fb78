"""One branch, chosen by weight: at random, or the same for the same key.

Keys are placed by weighted rendezvous hashing. Every branch draws, from the key and its own name, a number that is
exponentially distributed with its weight as the rate; the smallest wins, which each branch does in proportion to its
weight. The number of a branch depends on no other, so that keys move only to branches whose weight grows, and only from
branches whose weight shrinks: no more of them than the shares themselves change when one weight is changed.
Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6(1),
1998; the weights: Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005, the logarithmic method.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from contextlib import aclosing
from itertools import accumulate
from typing import TYPE_CHECKING

from graphmesh.graph.conditions import Scope
from graphmesh.graph.running.actions.once import answers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.conditions import Key
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame

__all__ = ["SplitAction"]


class SplitAction:
    """Runs one branch. Notes `chosen`.

    Args:
        shares: Weights and branches; at least one weight is positive, those of 0 are left out.
        key: Calls with equal values take the same branch; None chooses for each call anew.
        draw: Returns a random number from 0 to just below 1.
    """

    def __init__(self, *, shares: Sequence[tuple[int, Inner]], key: Key | None, draw: Callable[[], float]) -> None:
        live = [(weight, branch) for weight, branch in shares if weight]
        self._branches = [branch for _, branch in live]
        self._weights = [weight for weight, _ in live]
        self._ends = list(accumulate(self._weights))
        self._key = key
        self._draw = draw
        self._streams = any(branch.streams for _, branch in shares)

    @property
    def streams(self) -> bool:
        """Whether a branch does."""
        return self._streams

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Run the chosen branch.

        Raises:
            FailedPrecondition: the key cannot be told, as of a header that is missing (FAILED_PRECONDITION, retry: no).
        """
        return await self._choose(inputs, frame).run(inputs, frame)

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Yield every answer of the chosen branch; raises as `run`."""
        async with aclosing(answers(self._choose(inputs, frame), inputs, frame)) as stream:
            async for outputs in stream:
                yield outputs

    def _choose(self, inputs: Mapping[str, Tensor], frame: Frame) -> Inner:
        index = self._random() if self._key is None else self._place(self._key, inputs, frame)
        branch = self._branches[index]
        frame.note(chosen=branch.name)
        return branch

    def _random(self) -> int:
        return bisect_right(self._ends, self._draw() * self._ends[-1])

    def _place(self, key: Key, inputs: Mapping[str, Tensor], frame: Frame) -> int:
        """Return the branch of this call's key."""
        value = key.value(Scope(inputs=inputs, params=frame.run.parameters, headers=frame.run.headers)).encode()
        # Where the split is goes in, so that one inside another, by the same key, still divides; where its graph runs
        # and which item this is do not, so that they change nothing.
        place = f"{frame.run.graph}/{frame.path.rpartition('/')[2].partition('[')[0]}".encode()
        return min(
            range(len(self._branches)),
            key=lambda index: _exponential(place, self._branches[index].name.encode(), value) / self._weights[index],
        )


def _exponential(*parts: bytes) -> float:
    """Return a number for these parts that is distributed exponentially with rate 1 over all of them."""
    hashed = hashlib.blake2b(digest_size=8)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    uniform = ((int.from_bytes(hashed.digest(), "little") >> 11) + 0.5) / (1 << 53)
    return -math.log(uniform)
