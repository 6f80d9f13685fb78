"""An action in its place: a step of a graph, or a branch of a composed step.

The place decides what the action is given, under what names its outputs come back, how long it may take, and how its
errors and times are named.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import DeadlinePassed, GraphmeshError, ModelNotReady, SignatureMismatch
from graphmesh.graph.running.call import locate
from graphmesh.graph.running.ending import OK, ending_of
from graphmesh.graph.running.frame import Frame
from graphmesh.graph.running.limits import limit_of, reached

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Action
    from graphmesh.graph.spec import Node, Target

__all__ = ["Branch"]

_NEVER = float("inf")


class Branch:
    """A step or a branch, compiled; an `action.Inner`.

    Args:
        node: What its author wrote.
        action: What it does.
        takes: Without bindings: the inputs that it takes by name; None for all.
        gives: Its outputs' names, after renaming; None if they are not known.
        unknown: The target whose signature would have to be known to say what it takes; empty if nothing is missing.
    """

    __slots__ = (
        "_action",
        "_is_call",
        "_reads",
        "_renames",
        "_timeout_s",
        "_unknown",
        "_wanted",
        "gives",
        "name",
        "run_step",
        "streams",
        "takes",
        "targets",
    )

    def __init__(
        self,
        node: Node,
        action: Action,
        *,
        takes: frozenset[str] | None = None,
        gives: frozenset[str] | None = None,
        unknown: str = "",
    ) -> None:
        self.name = node.name
        """The step's name."""
        self.targets: tuple[Target, ...] = tuple(dict.fromkeys(node.targets()))
        """Every model and graph that it may call."""
        self.streams = action.streams
        """Whether it gives many answers."""
        self.takes = takes
        self.gives = gives
        self._unknown = unknown
        self._action = action
        self._timeout_s = node.timeout_s
        self._reads = tuple((binding.name, binding.source) for binding in node.inputs)
        self._renames = tuple((binding.name, binding.source) for binding in node.outputs)
        self._wanted: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._is_call = node.target is not None
        self.run_step = action.run if self._is_call and not node.timeout_s else self._run
        """Runs it as a step of its graph: with inputs by its own names, in a frame of its own; errors are not led by
        its path."""

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Run it as a branch; see `graphmesh.graph.running.action.Inner`."""
        inner = self._inner(frame)
        try:
            if not self.targets:  # counts as a call, or loops inside loops would be bounded by nothing
                frame.run.budget.spend()
            return self._rename(await self.run_step(self._take(inputs, inner), inner))
        except GraphmeshError as error:
            raise locate(error, graph=frame.run.graph, path=inner.path) from error

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Run it as a branch and yield each of its answers: one if it does not stream; raises as `run`."""
        if not self.streams:
            yield await self.run(inputs, frame)
            return
        inner = self._inner(frame)
        try:
            async with contextlib.aclosing(self.stream_step(self._take(inputs, inner), inner)) as answers:
                async for outputs in answers:
                    yield self._rename(outputs)
        except GraphmeshError as error:
            raise locate(error, graph=frame.run.graph, path=inner.path) from error

    async def stream_step(
        self, inputs: Mapping[str, Tensor], frame: Frame
    ) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Run it as a step of its graph and yield each of its answers."""
        inner = self._limited(frame)
        with self._noted(frame):
            async with contextlib.aclosing(self._action.stream(inputs, inner)) as answers:
                while True:
                    async with self._limit(frame, inner):
                        outputs = await anext(answers, None)
                    if outputs is None:
                        return
                    yield outputs

    async def _run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        inner = self._limited(frame)
        with self._noted(frame):
            async with self._limit(frame, inner):
                outputs = await self._action.run(inputs, inner)
            # A limit is heard of only where something waits: an action that works here may have ended after it.
            if frame.run.host.now() > inner.deadline.at:
                raise DeadlinePassed(reached(inner.limit) if inner.limit else "the deadline passed before it had ended")
            return outputs

    @contextlib.contextmanager
    def _noted(self, frame: Frame) -> Iterator[None]:
        """Record when it ran, if times are recorded; whoever makes a call records it."""
        timeline = frame.run.timeline
        if timeline is None or self._is_call:
            yield
            return
        now = frame.run.host.now
        start, ending = now(), OK
        try:
            yield
        except BaseException as error:
            ending = ending_of(error)
            raise
        finally:
            timeline.ran(frame.path, start=start, end=now(), ending=ending)

    def _limited(self, frame: Frame) -> Frame:
        """Return the frame with the step's own limit, if that comes before what is left."""
        if not self._timeout_s:
            return frame
        at = frame.run.host.now() + self._timeout_s
        if at >= frame.deadline.at:
            return frame
        limit = limit_of(frame.path, self._timeout_s)
        return Frame(frame.run, frame.path, Deadline(at), frame.outputs, limit)

    def _limit(self, frame: Frame, inner: Frame) -> AbstractAsyncContextManager[object]:
        """Return the block that ends at the step's own limit; what is left of the call's is watched further out."""
        if inner is frame:
            return frame.run.host.limit(_NEVER, "")
        cut = f"cut off after {self._timeout_s * 1000:g} ms by the limit of {frame.path}"
        return frame.run.host.limit(inner.deadline.at, reached(inner.limit), cut=cut)

    def _inner(self, frame: Frame) -> Frame:
        wanted = self._wanted.get(frame.outputs)
        if wanted is None:
            wanted = self._wanted[frame.outputs] = self._select(frame.outputs)
        return frame.at(self.name, outputs=wanted)

    def _select(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        """Return what is read of the outputs of the action itself."""
        if self._renames:
            sources = dict(self._renames)
            return tuple(dict.fromkeys(sources[name] for name in outputs if name in sources))
        return () if self.gives is None else tuple(name for name in outputs if name in self.gives)

    def _take(self, inputs: Mapping[str, Tensor], inner: Frame) -> Mapping[str, Tensor]:
        try:
            return self._taken(inputs)
        except GraphmeshError as error:
            inner.refused(error)
            raise

    def _taken(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self._reads:
            try:
                return {name: inputs[source] for name, source in self._reads}
            except KeyError as error:
                raise SignatureMismatch(f"input {error.args[0]!r} is missing; there are {list(inputs)}") from error
        if self._unknown:
            raise ModelNotReady(
                f"no worker serves {self._unknown} now, so that its inputs are not known; see: graphmesh models"
            )
        takes = self.takes
        return inputs if takes is None else {name: tensor for name, tensor in inputs.items() if name in takes}

    def _rename(self, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return (
            {name: outputs[source] for name, source in self._renames if source in outputs} if self._renames else outputs
        )
