"""Tensors changed without any model: a transform step's operations, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import DeadlinePassed
from graphmesh.graph.running.actions.offload import INLINE_BYTES, spare
from graphmesh.graph.running.actions.once import Once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Frame
    from graphmesh.graph.transforms.apply import Changes

__all__ = ["TransformAction"]


class TransformAction(Once):
    """Runs operations over tensors.

    Args:
        changes: What is done.
    """

    def __init__(self, *, changes: Changes) -> None:
        self._changes = changes

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Change the tensors; from the first operation on that would take long, off the event loop.

        Raises:
            DeadlinePassed: before it began (DEADLINE_EXCEEDED, retry: no).
            InvalidRequest: values that an operation does not fit (INVALID_ARGUMENT, retry: no).
        """
        host = frame.run.host
        start = host.now()
        if start >= frame.deadline.at:
            raise DeadlinePassed("the deadline passed before the tensors were changed")
        work = self._changes.begin(inputs)
        if work.go(INLINE_BYTES):
            await spare(host, start)
        else:
            await host.compute(work.go)
        return work.outputs()
