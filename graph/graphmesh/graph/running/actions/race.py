"""The next branch beside one that is slow, and the first answer of all.

After Dean and Barroso, "The tail at scale", Communications of the ACM 56(2), 2013: hedged requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.running.actions.asides import adopt, aside
from graphmesh.graph.running.actions.blame import WRONG_REQUEST, code_of, with_others
from graphmesh.graph.running.actions.complete import complete
from graphmesh.graph.running.actions.once import Once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame
    from graphmesh.graph.running.host import Tasks

__all__ = ["RaceAction"]


class RaceAction(Once):
    """Starts branches one after the other until one answers; the others are cancelled, and gone before the answer is.

    One that fails starts the next at once, unless its error says that the request is wrong: that ends the step. Notes
    `winner`, `hedged` (whether more than one was started), and `attempt` (which of those started won, from 1).

    Args:
        branches: At least one; a single one is started a second time.
        delay_s: Seconds between two starts.
    """

    def __init__(self, *, branches: Sequence[Inner], delay_s: float) -> None:
        self._line_up = tuple(branches) if len(branches) > 1 else (*branches, *branches)
        self._delay_s = delay_s

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Return the first answer.

        Raises:
            GraphmeshError: one that says that the request is wrong; else, if all fail, the first, which tells of the
                others.
        """
        heat = _Heat(self._line_up, inputs, frame)
        async with frame.run.host.tasks() as tasks:
            winner, outputs = await heat.run(tasks, self._delay_s)
        adopt(frame, heat.frames[winner])
        frame.note(winner=self._line_up[winner].name, hedged=len(heat.frames) > 1, attempt=winner + 1)
        return outputs


class _Heat:
    """One race while it runs."""

    def __init__(self, line_up: Sequence[Inner], inputs: Mapping[str, Tensor], frame: Frame) -> None:
        self._line_up = line_up
        self._inputs = inputs
        self._frame = frame
        self._errors: list[GraphmeshError] = []
        self.frames: list[Frame] = []

    async def run(self, tasks: Tasks[Mapping[str, Tensor]], delay_s: float) -> tuple[int, Mapping[str, Tensor]]:
        """Return which branch answered first, and its answer."""
        now = self._frame.run.host.now
        due = now()
        while True:
            while due <= now() and self._waiting:
                self._start(tasks)
                due += delay_s
            ended = await tasks.next(due - now() if self._waiting else float("inf"))
            if ended is None:
                continue
            if ended.result is not None:
                return ended.key, ended.result
            assert ended.error is not None, "a task that ended must have a result or an error"  # noqa: S101
            self._take(ended.error)
            due = now()

    @property
    def _waiting(self) -> bool:
        return len(self.frames) < len(self._line_up)

    def _start(self, tasks: Tasks[Mapping[str, Tensor]]) -> None:
        index = len(self.frames)
        self.frames.append(aside(self._frame))
        tasks.start(index, complete(self._line_up[index], self._inputs, self.frames[index]))

    def _take(self, error: GraphmeshError) -> None:
        """Remember an error, or raise what ends the race."""
        if code_of(error) in WRONG_REQUEST:
            raise with_others(error, self._errors, relation="before that")
        self._errors.append(error)
        if len(self._errors) == len(self._line_up):
            raise with_others(self._errors[0], self._errors[1:], relation="after that")
