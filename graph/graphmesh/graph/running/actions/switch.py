"""The first branch whose condition holds."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from graphmesh.core.errors import DeadlinePassed, FailedPrecondition
from graphmesh.graph.conditions import Scope
from graphmesh.graph.running.actions.offload import spare
from graphmesh.graph.running.actions.once import answers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.conditions import Condition
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame

__all__ = ["SwitchAction"]


class SwitchAction:
    """Runs one branch: that of the first condition that holds, else the default. Notes `chosen`.

    Args:
        cases: Conditions and branches in order of precedence.
        default: What is run if none holds; None refuses the request.
    """

    def __init__(self, *, cases: Sequence[tuple[Condition, Inner]], default: Inner | None) -> None:
        self._cases = tuple(cases)
        self._default = default
        branches = [*(branch for _, branch in cases), *(() if default is None else (default,))]
        self._streams = any(branch.streams for branch in branches)

    @property
    def streams(self) -> bool:
        """Whether a branch does."""
        return self._streams

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Run the chosen branch; see `_first` for what is raised beside its errors."""
        return await (await self._choose(inputs, frame)).run(inputs, frame)

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Yield every answer of the chosen branch."""
        branch = await self._choose(inputs, frame)
        async with aclosing(answers(branch, inputs, frame)) as stream:
            async for outputs in stream:
                yield outputs

    async def _choose(self, inputs: Mapping[str, Tensor], frame: Frame) -> Inner:
        """Return the branch to run, having let others go on if that took a while; raises as `_first`."""
        host = frame.run.host
        start = host.now()
        branch = self._first(inputs, frame)
        await spare(host, start)
        frame.note(chosen=branch.name)
        return branch

    def _first(self, inputs: Mapping[str, Tensor], frame: Frame) -> Inner:
        """Return the branch of the first condition that holds; one that has no answer is not taken for false.

        Raises:
            DeadlinePassed: before a condition is asked (DEADLINE_EXCEEDED, retry: no).
            FailedPrecondition: no condition holds and there is no default, or one cannot be answered; says which
                (FAILED_PRECONDITION, retry: no).
        """
        scope = Scope(inputs=inputs, params=frame.run.parameters, headers=frame.run.headers)
        host, at = frame.run.host, frame.deadline.at
        for condition, branch in self._cases:
            if host.now() >= at:
                raise DeadlinePassed("the deadline passed before it was known which branch to run")
            if condition.holds(scope):
                return branch
        if self._default is None:
            asked = ", ".join(f"`{condition}`" for condition, _ in self._cases)
            raise FailedPrecondition(
                f"none of the conditions holds, and there is no default: {asked}; send what one of them asks for"
            )
        return self._default
