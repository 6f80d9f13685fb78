"""One run of a graph, without any I/O: it says which calls to make, and is told what came of them.

    ready() -> calls to start now        complete(call, outputs)  or  fail(call, error)
                 |                                   |
                 +---- driver makes them ------------+        until `done`; then `outputs` or `error`

A driver starts every call that `ready` returns, once, and reports each exactly once, in any order; calls are
independent of each other, so that all of them may run at the same time. The first failure ends the run: `done` is true
at once, no further calls are given out, and what is still reported is ignored; cancelling calls in flight is the
driver's. Tensors are passed by reference and let go once their last reader has started.

Not thread-safe: a run belongs to one task or thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError, ModelFailed, SignatureMismatch
from graphmesh.graph.call import Call, locate
from graphmesh.graph.expand import Expansion
from graphmesh.graph.limits import MAX_CALLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.plan import MapStep, Plan, Step

__all__ = ["GraphRun"]


class GraphRun:
    """One request's way through a graph.

    Args:
        plan: The revision's plan.
        inputs: The request's tensors, already checked against the graph's signature. Not converted.

    Raises:
        SignatureMismatch: a graph input is missing (INVALID_ARGUMENT, retry: no).
    """

    __slots__ = ("_budget", "_expansions", "_left", "_plan", "_ready", "_uses", "_values", "_waits", "error", "outputs")

    error: GraphmeshError | None
    """What ended the run early, its message led by the node's path; None while there is none."""
    outputs: dict[str, Tensor] | None
    """The graph's outputs in its own order; None until they are all there."""

    def __init__(self, plan: Plan, inputs: Mapping[str, Tensor]) -> None:
        missing = [name for name in plan.inputs if name not in inputs]
        if missing:
            raise SignatureMismatch(f"input {missing[0]!r} is missing; required are {list(plan.inputs)}")
        self._plan = plan
        self._values: list[Tensor | None] = [inputs[name] for name in plan.inputs]
        self._values.extend([None] * (len(plan.uses) - len(plan.inputs)))
        self._uses = list(plan.uses)
        self._waits = list(plan.waits)
        self._left = len(plan.steps)
        self._budget = MAX_CALLS
        self._ready: list[Call] = []
        self._expansions: dict[int, Expansion] = {}
        self.error = None
        self.outputs = None
        self._start(list(plan.first))

    @property
    def done(self) -> bool:
        """Whether the run has ended: `outputs` or `error` is there."""
        return self.outputs is not None or self.error is not None

    def ready(self) -> list[Call]:
        """Return the calls that became ready since the last time, each exactly once."""
        calls, self._ready = self._ready, []
        return calls

    def complete(self, call: Call, outputs: Mapping[str, Tensor]) -> None:
        """Take the answer to a call; at least the outputs that `Call.outputs` names."""
        if self.done:
            return
        step = call.step
        try:
            joined = outputs if step.map is None else self._gather(call, outputs)
            starting = [] if joined is None else self._store(step, joined)
        except GraphmeshError as error:
            self._end(error, path=step.node)
        else:
            self._start(starting)

    def fail(self, call: Call, error: GraphmeshError) -> None:
        """End the run because a call failed; class, code and reason of the error are kept."""
        if not self.done:
            self._end(error, path=call.path)

    def _gather(self, call: Call, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """Return a map's joined outputs once its last call is answered, None before."""
        expansion = self._expansions[call.step.index]
        expansion.complete(call.index, outputs)
        if not expansion.done:
            self._ready.extend(expansion.calls())
            return None
        del self._expansions[call.step.index]
        return expansion.outputs()

    def _store(self, step: Step, outputs: Mapping[str, Tensor]) -> list[Step]:
        """Keep what a step gave and return the steps that waited only for it."""
        for name, slot in step.writes:
            if name not in outputs:
                raise ModelFailed(f"the answer of {step.target} has no output {name!r}")
            self._values[slot] = outputs[name]
        self._left -= 1
        waits, starting = self._waits, []
        for index in step.readers:
            waits[index] -= 1
            if not waits[index]:
                starting.append(self._plan.steps[index])
        return starting

    def _start(self, steps: list[Step]) -> None:
        """Turn steps into calls. ``steps`` grows on the way: a map over zero items is finished as soon as it starts."""
        for step in steps:
            inputs = self._take(step)
            if step.map is None:
                self._ready.append(Call(step, 0, inputs))
                continue
            try:
                steps.extend(self._expand(step, step.map, inputs))
            except GraphmeshError as error:
                self._end(error, path=step.node)
                return
        if not self._left:
            self.outputs = {name: self._value(slot) for name, slot in self._plan.outputs}

    def _expand(self, step: Step, settings: MapStep, inputs: Mapping[str, Tensor]) -> list[Step]:
        expansion = Expansion(step, settings, inputs, budget=self._budget)
        self._budget -= expansion.total
        if expansion.done:
            return self._store(step, expansion.outputs())
        self._expansions[step.index] = expansion
        self._ready.extend(expansion.calls())
        return []

    def _take(self, step: Step) -> dict[str, Tensor]:
        """Return a step's inputs, and let go of tensors that it was the last to read."""
        uses, inputs = self._uses, {}
        for name, slot in step.reads:
            inputs[name] = self._value(slot)
            uses[slot] -= 1
            if not uses[slot]:
                self._values[slot] = None
        return inputs

    def _value(self, slot: int) -> Tensor:
        value = self._values[slot]
        assert value is not None, "a step must start after every step it reads from"  # noqa: S101
        return value

    def _end(self, error: GraphmeshError, *, path: str) -> None:
        self.error = locate(error, graph=self._plan.graph, path=path)
        self._ready = []
        self._values = []
        self._expansions = {}
