"""The next, more costly branch while one is not sure enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import ModelFailed
from graphmesh.core.tensor import BYTES, datatype_of
from graphmesh.graph.running.actions.asides import adopt, aside, asking
from graphmesh.graph.running.actions.once import Once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame

__all__ = ["CascadeAction"]


class CascadeAction(Once):
    """Runs branches in order until one is sure enough; the last is not asked how sure it is.

    A branch that fails fails the step: it did not say that it is unsure. Notes `chosen` and `confidence`: how sure each
    branch before it was.

    Args:
        branches: Cheapest first; at least two.
        confidence: The output that says how sure an answer is: its smallest element counts.
        threshold: Sure enough: at least this.
    """

    def __init__(self, *, branches: Sequence[Inner], confidence: str, threshold: float) -> None:
        self._branches = tuple(branches)
        self._confidence = confidence
        self._threshold = threshold

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Return the first answer that is sure enough, or the last.

        Raises:
            ModelFailed: a branch gives no numbers for `confidence` (INTERNAL, retry: no).
        """
        wider = asking(frame, (self._confidence,))
        sure: list[str] = []
        for branch in self._branches[:-1]:
            inner = aside(wider)
            outputs = await branch.run(inputs, inner)
            confidence = self._measure(branch, outputs)
            sure.append(f"{branch.name} {confidence:.4g}")
            if confidence >= self._threshold:  # never true of NaN
                adopt(frame, inner)
                frame.note(chosen=branch.name, confidence=", ".join(sure))
                return outputs
        last = self._branches[-1]
        frame.note(chosen=last.name, confidence=", ".join(sure))
        return await last.run(inputs, frame)

    def _measure(self, branch: Inner, outputs: Mapping[str, Tensor]) -> float:
        """Return how sure an answer is: NaN, which is never enough, if an element is or if there are none."""
        tensor = outputs.get(self._confidence)
        if tensor is None or datatype_of(tensor) == BYTES:
            found = "has none" if tensor is None else "has text"
            raise ModelFailed(
                f"output {self._confidence!r} must say in numbers how sure an answer is; that of {branch.name} {found}"
            )
        return float(tensor.astype(np.float64).min()) if tensor.size else float("nan")
