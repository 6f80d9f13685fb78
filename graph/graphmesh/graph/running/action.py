"""What a step does, compiled once for a revision and shared by all its calls.

An action is a coroutine over the host: it calls, waits, and starts tasks side by side, and whatever way it ends nothing
of it goes on. It keeps nothing of a call in itself (a cache keeps answers, not calls). What it is given must not be
written to; what it returns holds at least the outputs that `Frame.outputs` names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Frame
    from graphmesh.graph.spec import Target

__all__ = ["Action", "Inner"]


class Action(Protocol):
    """What a step does."""

    @property
    def streams(self) -> bool:
        """Whether it gives many answers: it has `stream`, and `run` is not called."""
        ...

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Do it once.

        Raises:
            GraphmeshError: it failed. Errors of calls come as they are; who catches them says where they were.

        Cancellation: everything that it started is cancelled and awaited.
        """
        ...

    def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Do it and yield each answer as it is wanted; raises as `run`."""
        ...


class Inner(Protocol):
    """A branch of a composed step: an action with its bindings, its time limit and its place. See `running.branch`."""

    @property
    def name(self) -> str:
        """The branch's name."""
        ...

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every model and graph that it may call."""
        ...

    @property
    def streams(self) -> bool:
        """Whether it gives many answers."""
        ...

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Run it with what it takes of the composed step's ``inputs``; ``frame`` is that step's.

        ``frame.outputs`` may name outputs that other branches give; those that this one has are in what it returns.

        Raises:
            GraphmeshError: led by the branch's path. A limit of its own that passed is DeadlinePassed.
        """
        ...

    def stream(self, inputs: Mapping[str, Tensor], frame: Frame) -> AsyncGenerator[Mapping[str, Tensor], None]:
        """Run it and yield each of its answers; raises as `run`."""
        ...
