"""Graphs that stream: one answer for each position of the streams inside them.

Streams are pulled together, once the client wants the next answer and never before: nothing is computed ahead, so that
a client that reads slowly slows the models down, and one that leaves has cost nothing beyond the answer it has.
(Pulling one position ahead would overlap a source with the steps after it, at the price of one computation too much for
every client that stops early, and of a model that runs although nobody reads.) Then the steps that the streams reach
are run for this position, whose tensors are let go before the next. What the streams do not reach is computed once,
before.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import GraphmeshError, ModelFailed
from graphmesh.graph.running.call import locate
from graphmesh.graph.running.frame import Frame
from graphmesh.graph.running.run import run_part
from graphmesh.graph.running.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.clock import Deadline
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Run
    from graphmesh.graph.running.plan import Plan, Step

__all__ = ["stream_plan"]

_Answers = dict["Step", "Mapping[str, Tensor] | None"]


async def stream_plan(
    plan: Plan, inputs: Mapping[str, Tensor], run: Run, deadline: Deadline
) -> AsyncGenerator[dict[str, Tensor], None]:
    """Run a graph that streams, and yield its outputs for each position.

    Each answer is begun when it is asked for, and has all of the graph's outputs. The deadline is that of the last one.

    Raises:
        ModelFailed: streams that are joined are of different lengths (INTERNAL, retry: no).
        DeadlinePassed: the deadline passed before the last answer (DEADLINE_EXCEEDED, retry: no).
        GraphmeshError: of the first step that failed, led by its path.

    Cancellation: everything that runs is cancelled and awaited; closing it closes all streams inside.
    """
    late = f"graph {plan.graph}: the deadline passed before the last answer"
    store = Store(plan, inputs, run.budget)
    try:
        async with run.host.limit(deadline.at, late):
            await run_part(plan.before, store, run, deadline)
        async with contextlib.AsyncExitStack() as closing:
            sources = {step: _source(step, store, run, deadline) for step in plan.sources}
            for source in sources.values():
                closing.push_async_callback(source.aclose)
            while True:
                async with run.host.limit(deadline.at, late):
                    outputs = await _position(plan, sources, store, run, deadline)
                if outputs is None:
                    return
                yield outputs
    finally:
        store.close()


async def _position(
    plan: Plan,
    sources: Mapping[Step, AsyncGenerator[Mapping[str, Tensor], None]],
    store: Store,
    run: Run,
    deadline: Deadline,
) -> dict[str, Tensor] | None:
    """Return the graph's outputs for the next position, None once all streams have ended."""
    answers = await _pull(sources, run)
    if all(answer is None for answer in answers.values()):
        return None
    position = store.position()
    try:
        for step, answer in answers.items():
            if answer is None:
                raise _uneven(run, step, answers)
            try:
                position.put(step, answer)
            except GraphmeshError as error:
                raise locate(error, graph=run.graph, path=step.node) from error
        await run_part(plan.after, position, run, deadline)
        return position.outputs(plan)
    finally:
        position.close()


async def _pull(sources: Mapping[Step, AsyncGenerator[Mapping[str, Tensor], None]], run: Run) -> _Answers:
    """Return the next answer of every stream, None for one that has ended."""
    if len(sources) == 1:
        ((step, source),) = sources.items()
        return {step: await _next(source)}
    steps, found = list(sources), dict[int, Any]()
    async with run.host.tasks() as tasks:
        for index, step in enumerate(steps):
            tasks.start(index, _next(sources[step]))
        while (ended := await tasks.next()) is not None:
            if ended.error is not None:
                raise locate(ended.error, graph=run.graph, path=steps[ended.key].node)
            found[ended.key] = ended.result
    return {step: found[index] for index, step in enumerate(steps)}


async def _next(source: AsyncGenerator[Mapping[str, Tensor], None]) -> Mapping[str, Tensor] | None:
    return await anext(source, None)


async def _source(step: Step, store: Store, run: Run, deadline: Deadline) -> AsyncGenerator[Mapping[str, Tensor], None]:
    """Yield a step's answers; nothing is called before the first is asked for."""
    frame = Frame(run, step.node, deadline, step.outputs)
    try:
        async with contextlib.aclosing(step.branch.stream_step(store.take(step), frame)) as answers:
            async for outputs in answers:
                yield outputs
    except GraphmeshError as error:
        raise locate(error, graph=run.graph, path=step.node) from error


def _uneven(run: Run, ended: Step, answers: _Answers) -> GraphmeshError:
    goes_on = next(step.node for step, answer in answers.items() if answer is not None)
    error = ModelFailed(
        f"its stream ended, and that of node {goes_on} goes on; streams are joined by position and must be equally long"
    )
    return locate(error, graph=run.graph, path=ended.node)
