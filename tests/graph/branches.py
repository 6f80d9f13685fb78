"""Branches for tests of composed steps: each calls one model of a `FakeHost`, as the engine's own do."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import GraphmeshError
from graphmesh.graph.running.call import Call, locate
from graphmesh.graph.spec import ModelCall
from tests.graph.host import FakeHost, frame_of, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Action
    from graphmesh.graph.running.frame import Frame
    from graphmesh.graph.spec import Target
    from tests.graph.host import Script

__all__ = ["FakeBranch", "Notes", "Played", "branches", "floats", "play"]


@dataclass(slots=True)
class FakeBranch:
    """A branch that calls the model of its own name."""

    name: str
    """Its name and its model's."""
    streams: bool = False
    """Whether it gives many answers."""
    timeout_s: float = float("inf")
    """A limit of its own."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """The model."""
        return (ModelCall(name=self.name),)

    def _call(self, inputs: Mapping[str, Tensor], frame: Frame) -> Call:
        path = f"{frame.path}/{self.name}"
        return Call(self.targets[0], inputs, frame.outputs, path, frame.deadline, frame.run)

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Call it once."""
        host, call = frame.run.host, self._call(inputs, frame)
        try:
            async with host.limit(host.now() + self.timeout_s, "its own limit passed"):
                answer = await host.call(call)
        except GraphmeshError as error:
            raise locate(error, graph=frame.run.graph, path=call.path) from error
        frame.run.degraded.extend(f"{call.path}/{path}" for path in answer.degraded)
        return answer.outputs

    async def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Call it and yield its answers."""
        call = self._call(inputs, frame)
        try:
            async with aclosing(frame.run.host.stream(call)) as stream:
                async for answer in stream:
                    yield answer.outputs
        except GraphmeshError as error:
            raise locate(error, graph=frame.run.graph, path=call.path) from error


@dataclass(slots=True)
class Notes:
    """A timeline that keeps nothing but notes."""

    facts: dict[str, object] = field(default_factory=dict)
    """What was noted of the step."""

    def note(self, path: str, facts: Mapping[str, object]) -> None:
        """Take facts about the step, and about no other."""
        assert path == "step"
        self.facts.update(facts)


@dataclass(slots=True)
class Played:
    """What came of one call of an action."""

    host: FakeHost
    """What was called."""
    outputs: Mapping[str, Tensor] | None = None
    """Its answer."""
    error: GraphmeshError | None = None
    """Or its error."""
    seconds: float = 0.0
    """Virtual time that it took."""
    degraded: list[str] = field(default_factory=list)
    """What it said was degraded."""
    notes: dict[str, object] = field(default_factory=dict)
    """What it noted."""

    def values(self, name: str = "y") -> Any:  # noqa: ANN401 - nested lists
        """Return the values of an output."""
        assert self.outputs is not None, self.error
        return self.outputs[name].tolist()

    @property
    def how(self) -> dict[str, str]:
        """How the last call of each model ended."""
        return {made.name: made.how for made in self.host.made}


def branches(names: str) -> list[FakeBranch]:
    """Return a branch for each letter."""
    return [FakeBranch(name) for name in names]


def floats(*values: float) -> Mapping[str, Tensor]:
    """Return an answer whose output ``y`` is an FP32 vector."""
    return {"y": np.array(values, dtype=np.float32)}


def play(
    action: Action,
    answers: Mapping[str, Script],
    *,
    inputs: Mapping[str, Tensor] | None = None,
    outputs: tuple[str, ...] = ("y",),
    deadline_s: float = float("inf"),
    **more: Any,  # noqa: ANN401 - any field of a run
) -> Played:
    """Run an action once in virtual time, on models that answer by script; check that nothing of it goes on."""

    async def work() -> Played:
        played = Played(FakeHost(answers))
        notes = Notes()
        run = run_of(played.host, timeline=notes, **more)
        start = played.host.now()
        frame = frame_of(run, "step", *outputs, deadline=Deadline(start + deadline_s))
        try:
            played.outputs = await action.run(inputs or {}, frame)
        except GraphmeshError as error:
            played.error = error
        played.seconds = round(played.host.now() - start, 6)
        played.degraded, played.notes = run.degraded, notes.facts
        assert not played.host.running, "every call must have ended before the step does"
        return played

    return virtual(work())
