"""One answer or many: what actions that answer once have in common, and branches of either sort as streams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame

__all__ = ["Once", "answers"]


class Once(ABC):
    """An action that answers once; as a stream it gives that one answer."""

    @property
    def streams(self) -> bool:
        """False: a branch that streams is refused when the graph is validated."""
        return False

    @abstractmethod
    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Do it once; see `Action.run`."""

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Yield the one answer."""
        yield await self.run(inputs, frame)


async def answers(
    branch: Inner, inputs: Mapping[str, Tensor], frame: Frame
) -> AsyncGenerator[Mapping[str, Tensor], None]:
    """Yield every answer of a branch as it is wanted, or its only one."""
    if not branch.streams:
        yield await branch.run(inputs, frame)
        return
    async with aclosing(branch.stream(inputs, frame)) as stream:
        async for outputs in stream:
            yield outputs
