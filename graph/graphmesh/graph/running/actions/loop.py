"""A branch, run again and again on what it gave before.

A body that only changes tensors never waits for anything: the loop itself then lets the process go on with other calls,
every few milliseconds, and hears of its own deadline and cancellation there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import DeadlinePassed, ModelFailed
from graphmesh.graph.conditions import Scope
from graphmesh.graph.running.actions.asides import asking
from graphmesh.graph.running.actions.complete import check_complete
from graphmesh.graph.running.actions.once import Once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.conditions import Condition
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.frame import Frame

__all__ = ["LoopAction"]

_TURN_S = 0.005
"""The longest that a loop holds up others, beside one time of its body that does."""


class LoopAction(Once):
    """Runs its body until a condition holds, or to the limit; its last answer is the step's. Notes `iterations`.

    Args:
        body: What is run.
        until: Ends the loop once it holds, asked after each time; None repeats to the limit.
        max_iterations: The most times.
        carry: Inputs of the step and the outputs of the body that they are replaced by for the next time.
    """

    def __init__(
        self, *, body: Inner, until: Condition | None, max_iterations: int, carry: Sequence[tuple[str, str]]
    ) -> None:
        self._body = body
        self._until = until
        self._max_iterations = max_iterations
        self._carry = tuple(carry)
        self._needs = _needs(until, carry)

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Return the body's last answer.

        Raises:
            DeadlinePassed: between two times (DEADLINE_EXCEEDED, retry: no).
            FailedPrecondition: the condition cannot be answered (FAILED_PRECONDITION, retry: no).
            ModelFailed: an answer of the body lacks what is wanted, or what the next time needs (INTERNAL, retry: no).
        """
        inner, host = asking(frame, self._needs), frame.run.host
        iteration, turn_at = 0, host.now() + _TURN_S
        try:
            while True:
                outputs = await self._body.run(inputs, inner)
                check_complete(self._body, outputs, frame)
                iteration += 1
                if iteration == self._max_iterations or self._ends(inputs, outputs, iteration, frame):
                    return outputs
                inputs = self._carried(inputs, outputs)
                now = host.now()
                if now >= turn_at:
                    await host.turn()
                    now = host.now()
                    turn_at = now + _TURN_S
                if now >= frame.deadline.at:
                    raise DeadlinePassed(
                        f"the deadline passed after {iteration} of at most {self._max_iterations} times"
                    )
        finally:
            frame.note(iterations=iteration)

    def _ends(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], iteration: int, frame: Frame) -> bool:
        if self._until is None:
            return False
        run = frame.run
        scope = Scope(inputs=inputs, outputs=outputs, iteration=iteration, params=run.parameters, headers=run.headers)
        return self._until.holds(scope)

    def _carried(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        carried = dict(inputs)
        for name, source in self._carry:
            if source not in outputs:
                raise ModelFailed(f"the answer of {self._body.name} has no output {source!r} for the next time")
            carried[name] = outputs[source]
        return carried


def _needs(until: Condition | None, carry: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return the body's outputs that the loop itself reads; None for all, if the condition looks which there are."""
    needs = [source for _, source in carry]
    if until is None:
        return needs
    for variable in ("outputs", "shapes"):
        asked = until.expression.reading.get(variable)
        if asked is not None and asked.whole:
            return None
        needs.extend(until.reads(variable))
    return needs
