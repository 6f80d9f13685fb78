"""Drives a graph run: makes the calls it says are ready, and tells it what came of them.

A call that is alone is awaited in place, without a task of its own: a chain of nodes costs no more than its calls. Side
by side, each call is a task; the first failure ends the run, and the others are cancelled and awaited before it is
reported, so that nothing of a request outlives it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from graphmesh.core.status import as_graphmesh_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.call import Call
    from graphmesh.graph.run import GraphRun

__all__ = ["drive"]


async def drive(run: GraphRun, make: Callable[[Call], Awaitable[Mapping[str, Tensor]]]) -> Mapping[str, Tensor]:
    """Run a graph to its end.

    Args:
        run: A fresh run.
        make: Makes one call and returns its outputs.

    Returns:
        The graph's outputs.

    Raises:
        GraphmeshError: of the first call that failed, with the node in front of its message.

    Cancellation: all calls in flight are cancelled and awaited.
    """
    running: dict[asyncio.Task[Mapping[str, Tensor]], Call] = {}
    try:
        while not run.done:
            ready = run.ready()
            if len(ready) == 1 and not running:
                call = ready[0]
                try:
                    outputs = await make(call)
                except Exception as error:  # noqa: BLE001 - every failure is the run's to report
                    run.fail(call, as_graphmesh_error(error))
                else:
                    run.complete(call, outputs)
                continue
            for call in ready:
                running[asyncio.ensure_future(make(call))] = call
            await _first(run, running)
    finally:
        if running:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    if run.error is not None:
        raise run.error
    assert run.outputs is not None, "a run without an error must have outputs"  # noqa: S101
    return run.outputs


async def _first(run: GraphRun, running: dict[asyncio.Task[Mapping[str, Tensor]], Call]) -> None:
    """Wait for one or more calls to end and report them."""
    ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        call = running.pop(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            run.fail(call, as_graphmesh_error(error))
        else:
            run.complete(call, task.result())
