"""Driving a graph run: in place, side by side, failures, cancellation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from graphmesh.core.errors import Code, GraphmeshError, InvalidRequest
from graphmesh.graph.builder import GraphBuilder
from graphmesh.graph.plan import make_plan
from graphmesh.graph.run import GraphRun
from graphmesh.worker.drive import drive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.call import Call


def _run(*, wide: bool) -> GraphRun:
    """Return a run of two nodes, one after the other or side by side."""
    builder = GraphBuilder("g")
    x = builder.input("x", "FP32 (N,)")
    first = builder.model("first", "m", x=x)["y"]
    second = builder.model("second", "m", x=x if wide else first)["y"]
    builder.output("a", first)
    builder.output("b", second)
    return GraphRun(make_plan(builder.build(), lambda _: None), {"x": np.zeros(1, dtype=np.float32)})


class Calls:
    """Makes calls: notes the task each ran in, and fails or hangs where it is told."""

    def __init__(self, *, fail: str = "", hang: str = "", error: BaseException | None = None) -> None:
        self.fail, self.hang = fail, hang
        self.error = error or InvalidRequest("no")
        self.tasks: dict[str, object] = {}
        self.cancelled: list[str] = []

    async def __call__(self, call: Call) -> Mapping[str, Tensor]:
        """Make one call."""
        self.tasks[call.node] = asyncio.current_task()
        if call.node == self.hang:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(call.node)
                raise
        if call.node == self.fail:
            raise self.error
        await asyncio.sleep(0)
        return {"y": call.inputs["x"] + 1}


async def test_chain_needs_no_tasks() -> None:
    """Calls one after the other are made in the caller's own task."""
    calls = Calls()
    outputs = await drive(_run(wide=False), calls)
    assert {name: array.tolist() for name, array in outputs.items()} == {"a": [1.0], "b": [2.0]}
    assert set(calls.tasks.values()) == {asyncio.current_task()}


async def test_side_by_side() -> None:
    """Calls that are ready together run together."""
    calls = Calls()
    outputs = await drive(_run(wide=True), calls)
    assert {name: array.tolist() for name, array in outputs.items()} == {"a": [1.0], "b": [1.0]}
    assert len(set(calls.tasks.values())) == 2


@pytest.mark.parametrize("wide", [True, False])
async def test_failure_names_the_node(wide: bool) -> None:  # noqa: FBT001
    """The first failure ends the run with the node in front."""
    with pytest.raises(InvalidRequest, match="graph g, node first: no"):
        await drive(_run(wide=wide), Calls(fail="first"))


async def test_siblings_are_cancelled_and_awaited() -> None:
    """When one call fails, the others have been cancelled before the error is raised."""
    calls = Calls(fail="first", hang="second")
    with pytest.raises(InvalidRequest):
        await drive(_run(wide=True), calls)
    assert calls.cancelled == ["second"]


@pytest.mark.parametrize("wide", [True, False])
async def test_unexpected_failure(wide: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001
    """An error that is not ours becomes INTERNAL with an id, its text only in the log."""
    with pytest.raises(GraphmeshError, match="node first: internal error") as caught:
        await drive(_run(wide=wide), Calls(fail="first", error=KeyError("secret")))
    assert caught.value.code is Code.INTERNAL
    assert "secret" in caplog.text


async def test_call_that_cancels_itself() -> None:
    """A call that ends as cancelled by its own doing fails the run instead of hanging it."""
    with pytest.raises(GraphmeshError) as caught:
        await drive(_run(wide=True), Calls(fail="first", error=asyncio.CancelledError()))
    assert caught.value.code is Code.CANCELLED


@pytest.mark.parametrize("wide", [True, False])
async def test_cancellation(wide: bool) -> None:  # noqa: FBT001
    """Cancelling the run cancels the calls in flight."""
    calls = Calls(hang="first")
    task = asyncio.create_task(drive(_run(wide=wide), calls))
    while "first" not in calls.tasks:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls.cancelled == ["first"]
