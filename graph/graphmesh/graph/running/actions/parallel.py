"""All branches at once, and one answer made of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from graphmesh.graph.running.actions.aggregates import aggregate
from graphmesh.graph.running.actions.asides import adopt, aside, mark
from graphmesh.graph.running.actions.blame import with_others
from graphmesh.graph.running.actions.complete import complete
from graphmesh.graph.running.actions.offload import worked
from graphmesh.graph.running.actions.once import Once
from graphmesh.graph.running.budget import size_of
from graphmesh.graph.spec import Aggregate, Join

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.budget import Budget
    from graphmesh.graph.running.frame import Frame

__all__ = ["ParallelAction"]

_Answering: TypeAlias = "Coroutine[Any, Any, Mapping[str, Tensor]]"


class ParallelAction(Once):
    """Runs all branches and joins their answers; whatever is not needed any more is cancelled and awaited.

    ======== ============================== ======================== ==================================
    join     ends when                      fails when               degraded when
    ======== ============================== ======================== ==================================
    ALL      all have answered              one fails                never
    ANY      all have answered or failed    all have failed          one failed
    QUORUM   ``quorum`` have answered       so many no longer can    one failed before
    FIRST    one has answered               all have failed          never: no more was asked for
    ======== ============================== ======================== ==================================

    Notes `answered`, and `failed` if any did.

    Args:
        branches: At least two.
        join: Which of them must answer.
        quorum: How many, for `Join.QUORUM`.
        aggregate: How answers become one, in the order in which branches are written.
    """

    def __init__(self, *, branches: Sequence[Inner], join: Join, quorum: int, aggregate: Aggregate) -> None:
        self._branches = tuple(branches)
        self._aggregate = aggregate
        needed = {Join.ALL: len(branches), Join.ANY: 1, Join.QUORUM: quorum, Join.FIRST: 1}[join]
        self._may_fail = len(branches) - needed
        self._enough = len(branches) if join is Join.ANY else needed
        self._tells = join in {Join.ANY, Join.QUORUM}

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Return the joined answer.

        Raises:
            GraphmeshError: of a branch, the one written first of those that failed; it tells of the others.
            ModelFailed: answers that do not go together; names the branches (INTERNAL, retry: no).
            Overloaded: more bytes of answers than the request may hold (RESOURCE_EXHAUSTED, retry: no).
        """
        frames = [aside(frame) for _ in self._branches]
        held = _Held(frame.run.budget)
        try:
            answers, errors = await self._gather(inputs, frames, frame, held)
            for index in sorted(answers):
                adopt(frame, frames[index])
            self._report(answers, errors, frame)
            return await self._join(answers, frame)
        finally:
            held.release()

    async def _gather(
        self, inputs: Mapping[str, Tensor], frames: Sequence[Frame], frame: Frame, held: _Held
    ) -> tuple[dict[int, Mapping[str, Tensor]], dict[int, GraphmeshError]]:
        """Return the answers that count, and the errors before them, by branch."""
        answers: dict[int, Mapping[str, Tensor]] = {}
        errors: dict[int, GraphmeshError] = {}
        async with frame.run.host.tasks() as tasks:
            for index, branch in enumerate(self._branches):
                tasks.start(index, self._run(branch, inputs, frames[index]))
            while len(answers) < self._enough and (ended := await tasks.next()) is not None:
                if ended.result is not None:
                    answers[ended.key] = ended.result
                    held.add(ended.result)
                    continue
                assert ended.error is not None, "a task that ended must have a result or an error"  # noqa: S101
                errors[ended.key] = ended.error
                if len(errors) > self._may_fail:
                    raise _first_written(errors)
        return answers, errors

    def _run(self, branch: Inner, inputs: Mapping[str, Tensor], frame: Frame) -> _Answering:
        # Merged branches give a part of the outputs each.
        merges = self._aggregate is Aggregate.MERGE
        return branch.run(inputs, frame) if merges else complete(branch, inputs, frame)

    async def _join(self, answers: Mapping[int, Mapping[str, Tensor]], frame: Frame) -> Mapping[str, Tensor]:
        named = [(self._branches[index].name, answers[index]) for index in sorted(answers)]
        if self._aggregate in {Aggregate.MERGE, Aggregate.ONE}:  # nothing is computed
            return aggregate(self._aggregate, named, frame.outputs)
        tensors = [tensor for outputs in answers.values() for tensor in outputs.values()]
        return await worked(frame.run.host, tensors, lambda: aggregate(self._aggregate, named, frame.outputs))

    def _report(self, answers: Mapping[int, object], errors: Mapping[int, GraphmeshError], frame: Frame) -> None:
        frame.note(answered=self._names(answers))
        if errors:
            frame.note(failed=self._names(errors))
            if self._tells:
                mark(frame)

    def _names(self, indices: Mapping[int, object]) -> str:
        return ", ".join(self._branches[index].name for index in sorted(indices))


class _Held:
    """The bytes of answers that wait for others, counted in the request's budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def add(self, outputs: Mapping[str, Tensor]) -> None:
        """Count an answer; raises Overloaded."""
        size = size_of(outputs.values())
        self._budget.hold(size)
        self._bytes += size

    def release(self) -> None:
        """Count them no more: the step's own answer is counted by who keeps it."""
        self._budget.release(self._bytes)


def _first_written(errors: Mapping[int, GraphmeshError]) -> GraphmeshError:
    first, *others = (errors[index] for index in sorted(errors))
    return with_others(first, others, relation="other branches failed, too")
