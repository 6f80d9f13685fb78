"""Runs a plan: each step as soon as what it reads is there.

A step that is alone is awaited in place, without a task of its own: a chain costs no more than its calls. Steps that
can run side by side are tasks; the first failure cancels and awaits the others before it is raised. Tensors are passed
by reference and let go with their last reader. Streams are in `positions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import DeadlinePassed, GraphmeshError
from graphmesh.graph.running.call import locate
from graphmesh.graph.running.estimates import critical_path_s
from graphmesh.graph.running.frame import Frame
from graphmesh.graph.running.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.clock import Deadline
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Run
    from graphmesh.graph.running.plan import Part, Plan, Step

__all__ = ["admit", "run_part", "run_plan"]

_NEVER = float("inf")


async def run_plan(plan: Plan, inputs: Mapping[str, Tensor], run: Run, deadline: Deadline) -> dict[str, Tensor]:
    """Run a graph that does not stream.

    Args:
        plan: The revision's plan.
        inputs: The request's tensors, already checked against the graph's signature. Not converted.
        run: The call.
        deadline: When it must have ended. Whoever made the run sees to it that it has (`Host.limit`); here it decides
            what is still begun.

    Returns:
        The graph's outputs, in its own order.

    Raises:
        SignatureMismatch: a graph input is missing (INVALID_ARGUMENT, retry: no).
        GraphmeshError: of the first step that failed, led by its path.

    Cancellation: everything that runs is cancelled and awaited; nothing more is begun.
    """
    store = Store(plan, inputs, run.budget)
    try:
        await run_part(plan.before, store, run, deadline)
        return store.outputs(plan)
    finally:
        store.close()


def admit(plan: Plan, run: Run, deadline: Deadline, *, expected_s: float | None = None) -> None:
    """Refuse a run that is not expected to end in time, before it begins.

    Args:
        plan: The plan.
        run: The call.
        deadline: When it must have ended.
        expected_s: What `critical_path_s` said a short time ago; None asks again.

    Raises:
        DeadlinePassed: the steps on the critical path take longer than what is left (DEADLINE_EXCEEDED, retry: no).
    """
    if deadline.at == _NEVER:
        return
    left_s = deadline.at - run.host.now()
    if expected_s is None:
        expected_s = critical_path_s(plan, run.host.expected_s)
    if left_s <= 0:
        raise DeadlinePassed(f"graph {plan.graph}: the deadline passed before it began")
    if expected_s > left_s:
        raise DeadlinePassed(
            f"graph {plan.graph}: its steps take about {expected_s * 1000:.0f} ms, "
            f"but only {left_s * 1000:.0f} ms are left"
        )


async def run_part(part: Part, store: Store, run: Run, deadline: Deadline) -> None:
    """Run some steps of a plan; what they read of others is in the store, and what they give comes there."""
    if part.chain:
        for step in part.steps:
            try:
                frame = Frame(run, step.node, deadline, step.outputs)
                store.put(step, await step.branch.run_step(store.take(step), frame))
            except GraphmeshError as error:
                raise locate(error, graph=run.graph, path=step.node) from error
        return
    await _Walk(part, store, run, deadline).go()


class _Walk:
    """The way through steps some of which can run side by side."""

    def __init__(self, part: Part, store: Store, run: Run, deadline: Deadline) -> None:
        self._part = part
        self._store = store
        self._run = run
        self._deadline = deadline
        self._waits = list(part.waits)
        self._ready = list(part.first)

    async def go(self) -> None:
        """Run all steps."""
        while self._ready:
            if len(self._ready) == 1:
                step = self._ready.pop()
                await self._do(step)
                self._done(step)
            else:
                await self._side_by_side()

    async def _side_by_side(self) -> None:
        """Run steps at once, and those that become ready beside them, until only one is left to run."""
        by_index = {step.index: step for step in self._part.steps}
        running = 0
        async with self._run.host.tasks() as tasks:
            while running or len(self._ready) > 1:
                for step in self._ready:
                    tasks.start(step.index, self._do(step))
                running += len(self._ready)
                self._ready.clear()
                ended = await tasks.next()
                assert ended is not None, "a task that runs must end"  # noqa: S101
                step = by_index[ended.key]
                if ended.error is not None:
                    raise locate(ended.error, graph=self._run.graph, path=step.node)
                running -= 1
                self._done(step)

    async def _do(self, step: Step) -> None:
        run, store = self._run, self._store
        try:
            frame = Frame(run, step.node, self._deadline, step.outputs)
            store.put(step, await step.branch.run_step(store.take(step), frame))
        except GraphmeshError as error:
            raise locate(error, graph=run.graph, path=step.node) from error

    def _done(self, step: Step) -> None:
        """Let the steps begin that waited only for this one."""
        for reader in self._part.readers[step.index]:
            self._waits[reader.index] -= 1
            if not self._waits[reader.index]:
                self._ready.append(reader)
