"""Plain calls: a step that calls one model or graph."""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING

from graphmesh.core.errors import DeadlinePassed, GraphmeshError
from graphmesh.graph.running.call import Call
from graphmesh.graph.running.limits import missed
from graphmesh.graph.spec import GraphCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Frame
    from graphmesh.graph.running.host import Answer
    from graphmesh.graph.spec import Target

__all__ = ["CallAction"]

_NEVER = float("inf")
_NOTHING_STAYS: Mapping[str, tuple[Target, ...]] = MappingProxyType({})


class CallAction:
    """Calls a model or graph.

    Args:
        target: What to call.
        streams: It gives many answers.
        stay: As `Call.stay`.
    """

    __slots__ = ("_is_graph", "_stay", "_target", "streams")

    def __init__(
        self,
        target: Target,
        *,
        streams: bool = False,
        stay: Mapping[str, tuple[Target, ...]] = _NOTHING_STAYS,
    ) -> None:
        self.streams = streams
        self._target = target
        self._is_graph = isinstance(target, GraphCall)
        self._stay = stay

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Make the call.

        Raises:
            DeadlinePassed: it is expected to take longer than what is left, or it missed, or would miss, the own limit
                of a step (DEADLINE_EXCEEDED, retry: no).
            Overloaded: the request has made all its calls (RESOURCE_EXHAUSTED, retry: no).
            GraphmeshError: of what was called, unchanged.
        """
        run = frame.run
        try:
            before = self._prepare(frame)
            call = Call(self._target, inputs, frame.outputs, frame.path, frame.deadline, run, self._stay)
            answer = await run.host.call(call)
        except GraphmeshError as error:
            if (late := missed(error, frame)) is None:
                raise
            frame.refused(late)
            raise late from error
        if self._is_graph:
            self._account(answer, frame, before)
        return answer.outputs

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Make the call and yield each of its answers; raises as `run`."""
        run = frame.run
        try:
            before = self._prepare(frame)
            call = Call(self._target, inputs, frame.outputs, frame.path, frame.deadline, run)
            async with contextlib.aclosing(run.host.stream(call)) as answers:
                async for answer in answers:
                    if self._is_graph:
                        self._account(answer, frame, before)
                        before = run.budget.calls_left
                    yield answer.outputs
        except GraphmeshError as error:
            if (late := missed(error, frame)) is None:
                raise
            frame.refused(late)
            raise late from error

    def _prepare(self, frame: Frame) -> int:
        """Refuse a call that cannot be made, and count one of a model; return how many are left."""
        budget = frame.run.budget
        try:
            if frame.deadline.at != _NEVER:
                self._check_time(frame)
            if not self._is_graph:
                budget.spend()
        except GraphmeshError as error:  # the host hears nothing of it
            frame.refused(error)
            raise
        return budget.calls_left

    def _check_time(self, frame: Frame) -> None:
        host = frame.run.host
        left_s = frame.deadline.at - host.now()
        if left_s <= 0:
            raise DeadlinePassed(f"the deadline passed before {self._target} was called")
        expected_s = host.expected_s(self._target)
        if expected_s > left_s:
            raise DeadlinePassed(
                f"{self._target} takes about {expected_s * 1000:.0f} ms, but only {left_s * 1000:.0f} ms are left"
            )

    def _account(self, answer: Answer, frame: Frame, before: int) -> None:
        """Take over what a graph's answer says of its steps, and count its call if none was counted meanwhile."""
        run = frame.run
        if run.budget.calls_left == before:
            run.budget.spend()
        for path in answer.degraded:
            run.degraded.append(f"{frame.path}/{path}")
