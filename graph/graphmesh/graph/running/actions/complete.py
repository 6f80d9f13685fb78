"""Answers that have all that is wanted of them.

Whoever could still ask another branch, or keeps an answer for others, looks before it takes one: an answer without an
output that somebody reads is the branch's failure. For all others the run of the graph looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import ModelFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame

__all__ = ["check_complete", "complete"]


async def complete(branch: Inner, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
    """Run a branch and return its answer; raises as `Inner.run`, and ModelFailed as `check_complete`."""
    outputs = await branch.run(inputs, frame)
    check_complete(branch, outputs, frame)
    return outputs


def check_complete(branch: Inner, outputs: Mapping[str, Tensor], frame: Frame) -> None:
    """Raise ModelFailed if a branch's answer lacks an output that is wanted (INTERNAL, retry: no)."""
    for name in frame.outputs:
        if name not in outputs:
            raise ModelFailed(
                f"the answer of {branch.name} has no output {name!r}, only {', '.join(outputs) or 'none'}"
            )
