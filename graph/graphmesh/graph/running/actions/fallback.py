"""The next branch when one fails."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from graphmesh.core.errors import Code, GraphmeshError
from graphmesh.graph.running.actions.asides import adopt, aside, mark
from graphmesh.graph.running.actions.blame import WRONG_REQUEST, code_of, with_others
from graphmesh.graph.running.actions.complete import check_complete, complete
from graphmesh.graph.running.actions.once import answers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame

__all__ = ["FallbackAction"]

_DEFAULT = frozenset(Code) - WRONG_REQUEST


class FallbackAction:
    """Runs branches in order until one answers. Notes `chosen`; any but the first is marked degraded.

    A branch that ran out of time, or that would, always lets the next try, as long as the step has time left.

    Args:
        branches: At least two.
        on: Codes on which the next is tried; empty: all but those that say that the request is wrong.
    """

    def __init__(self, *, branches: Sequence[Inner], on: frozenset[Code]) -> None:
        self._branches = tuple(branches)
        self._on = (on or _DEFAULT) | {Code.DEADLINE_EXCEEDED}
        self._streams = any(branch.streams for branch in branches)

    @property
    def streams(self) -> bool:
        """Whether a branch does."""
        return self._streams

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Return the answer of the first branch that gives one.

        Raises:
            GraphmeshError: that of the last branch that was tried, with those before it in its message.
        """
        errors: list[GraphmeshError] = []
        for branch in self._branches:
            inner = aside(frame)
            try:
                outputs = await complete(branch, inputs, inner)
            except GraphmeshError as error:
                self._go_on(error, errors, frame)
            else:
                self._settle(branch, inner, frame)
                return outputs
        raise AssertionError  # the last branch answers or ends the step

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Yield every answer of the first branch that gives one; after its first answer its errors are the step's."""
        errors: list[GraphmeshError] = []
        for branch in self._branches:
            inner = aside(frame)
            async with aclosing(answers(branch, inputs, inner)) as stream:
                try:
                    first = await anext(stream, None)
                    if first is not None:
                        check_complete(branch, first, inner)
                except GraphmeshError as error:
                    self._go_on(error, errors, frame)
                    continue
                self._settle(branch, inner, frame)
                if first is not None:
                    yield first
                async for outputs in stream:
                    yield outputs
                return

    def _go_on(self, error: GraphmeshError, errors: list[GraphmeshError], frame: Frame) -> None:
        """Remember an error if the next branch may be tried, else raise it."""
        is_last = len(errors) + 1 == len(self._branches)
        if is_last or code_of(error) not in self._on or frame.run.host.now() >= frame.deadline.at:
            raise with_others(error, errors, relation="before that") from error
        errors.append(error)

    def _settle(self, branch: Inner, inner: Frame, frame: Frame) -> None:
        adopt(frame, inner)
        frame.note(chosen=branch.name)
        if branch is not self._branches[0]:
            mark(frame)
