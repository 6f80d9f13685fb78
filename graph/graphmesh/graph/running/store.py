"""The tensors of one run: each in its slot until its last reader has ended, and counted in the budget as long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import ModelFailed, SignatureMismatch
from graphmesh.graph.running.budget import size_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.budget import Budget
    from graphmesh.graph.running.plan import Plan, Step

__all__ = ["Store"]


class Store:
    """The tensors of one run.

    Args:
        plan: The plan.
        inputs: The request's tensors. They belong to the caller, who has counted them.
        budget: What the run may hold.

    Raises:
        SignatureMismatch: a graph input is missing (INVALID_ARGUMENT, retry: no).
    """

    __slots__ = ("_budget", "_held", "_sizes", "_uses", "_values")

    def __init__(self, plan: Plan, inputs: Mapping[str, Tensor], budget: Budget) -> None:
        values: list[Tensor | None] = [None] * len(plan.uses)
        try:
            for slot, name in enumerate(plan.inputs):
                values[slot] = inputs[name]
        except KeyError as error:
            raise SignatureMismatch(
                f"input {error.args[0]!r} is missing; required are {', '.join(plan.inputs)}"
            ) from error
        self._values = values
        self._uses = list(plan.uses)
        self._sizes = [0] * len(values)
        self._held = 0
        self._budget = budget

    def position(self) -> Store:
        """Return a store for one position of streams: it sees what is here, and keeps what comes into it apart."""
        inner: Store = object.__new__(Store)
        inner._values = list(self._values)
        inner._uses = list(self._uses)
        inner._sizes = [0] * len(self._sizes)
        inner._held = 0
        inner._budget = self._budget
        return inner

    def take(self, step: Step) -> dict[str, Tensor]:
        """Return a step's inputs."""
        values = self._values
        return {name: values[slot] for name, slot in step.reads}  # type: ignore[misc]  # there: it starts after them

    def put(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        """Keep what a step gave, and let go of what it was the last to read.

        Raises:
            ModelFailed: an output that is read is not there (INTERNAL, retry: no).
            Overloaded: more bytes than one request may hold (RESOURCE_EXHAUSTED, retry: no).
        """
        for name, slot in step.writes:
            tensor = outputs.get(name)
            if tensor is None:
                raise ModelFailed(f"the answer has no output {name!r}, but {list(outputs)}")
            size = size_of((tensor,)) if tensor.dtype.hasobject else tensor.nbytes
            self._budget.hold(size)
            self._held += size
            self._values[slot] = tensor
            self._sizes[slot] = size
        uses = self._uses
        for _, slot in step.reads:
            uses[slot] -= 1
            if not uses[slot]:
                self._let_go(slot)

    def _let_go(self, slot: int) -> None:
        self._values[slot] = None
        size = self._sizes[slot]
        if size:
            self._sizes[slot] = 0
            self._held -= size
            self._budget.release(size)

    def outputs(self, plan: Plan) -> dict[str, Tensor]:
        """Return the graph's outputs."""
        values = self._values
        return {name: values[slot] for name, slot in plan.outputs}  # type: ignore[misc]  # all steps have ended

    def close(self) -> None:
        """Stop counting what is left."""
        self._budget.release(self._held)
        self._held = 0
        self._values = []
