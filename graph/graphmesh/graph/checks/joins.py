"""How the outputs of a composed step's branches become its own.

Of alternatives the step gives what all of them give, as only one of them answers; of branches that run side by side it
gives what their aggregate makes of them. An output on which the branches do not agree is a mistake only if it is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.tensor import BYTES
from graphmesh.graph.checks.flows import Clash, Flow, misfit
from graphmesh.graph.checks.hints import listed
from graphmesh.graph.checks.sizes import Unknown, resolve
from graphmesh.graph.spec import Aggregate, Join

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from graphmesh.graph.checks.derived import Derived
    from graphmesh.graph.checks.flows import Given, Place
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.spec import Parallel

__all__ = ["Answers", "aggregated", "common", "is_numeric"]

Answers: TypeAlias = "Sequence[tuple[str, Mapping[str, Given]]]"
"""The branches by name, and what each of them gives the step."""

_APART = "make it one type by a transform in one of them, or name it apart with `outputs`"


def is_numeric(flow: Flow) -> bool:
    """Return whether there are numbers in it that can be compared and averaged."""
    return flow.datatype not in {BYTES, "BOOL"}


def common(place: Place, answers: Answers, derived: Derived) -> dict[str, Given]:
    """Return what all alternatives give; sizes that are not the same in all of them are unknown.

    Raises:
        InvalidGraph: they have no output in common; names the step (INVALID_ARGUMENT, retry: no).
    """
    first, *others = (given for _, given in answers)
    names = [name for name in first if all(name in given for given in others)]
    if not names:
        each = "; ".join(f"{branch} gives {listed(given)}" for branch, given in answers)
        raise place.wrong(f"its branches have no output in common: {each}; name one alike in all with `outputs`")
    return {name: _one_of(place, name, answers, derived) for name in names}


def _one_of(place: Place, name: str, answers: Answers, derived: Derived) -> Given:
    flows = _agreed(place, name, answers)
    if isinstance(flows, Clash):
        return flows
    if len(flows) == 1:
        return flows[0]
    shape = [
        derived.one_of(place, f"axis {axis} of output {name!r}", sizes)
        for axis, sizes in enumerate(zip(*(flow.shape for flow in flows), strict=True))
    ]
    return Flow(flows[0].datatype, shape, all(flow.text for flow in flows), flows[0].description)


def _agreed(place: Place, name: str, answers: Answers) -> list[Flow] | Clash:
    """Return the flows of one name if their datatypes and numbers of dimensions are equal."""
    flows: list[Flow] = []
    for branch, given in answers:
        flow = given[name]
        if isinstance(flow, Clash):
            return flow
        flows.append(flow)
        if flow.datatype != flows[0].datatype or len(flow.shape) != len(flows[0].shape):
            return Clash(
                f"node {place.path}: output {name!r} is {flows[0].type} in {answers[0][0]} and {flow.type} in "
                f"{branch}; {_APART}"
            )
    return flows


def aggregated(
    place: Place, kind: Parallel, answers: Answers, derived: Derived, wanted: Collection[str]
) -> dict[str, Given]:
    """Return what a parallel step makes of its branches' answers.

    Args:
        place: The step.
        kind: Its kind.
        answers: What its branches give.
        derived: Where sizes that follow from others are kept.
        wanted: The outputs that somebody reads; others need not fit.

    Raises:
        InvalidGraph: outputs that must differ are alike, or the other way round (INVALID_ARGUMENT, retry: no).
    """
    if kind.aggregate is Aggregate.MERGE:
        return _merged(place, answers)
    if kind.aggregate is Aggregate.ONE:
        return common(place, answers, derived)
    _check_alike(place, kind, answers)
    together = _Together(place, kind, derived)
    return {
        name: together.give(name, answers) if name in wanted else Clash(f"node {place.path}: nobody reads {name!r}")
        for name in answers[0][1]
    }


def _merged(place: Place, answers: Answers) -> dict[str, Given]:
    merged: dict[str, Given] = {}
    by: dict[str, str] = {}
    for branch, given in answers:
        for name in given:
            if name in merged:
                raise place.wrong(
                    f"{by[name]} and {branch} both give {name!r}, but merged outputs must have different names; "
                    f"rename one with `outputs`, or say another `aggregate`"
                )
            merged[name] = given[name]
            by[name] = branch
    return merged


def _check_alike(place: Place, kind: Parallel, answers: Answers) -> None:
    (first, names), *others = answers
    for branch, given in others:
        for name in (*names, *given):
            if name not in names or name not in given:
                has, lacks, all_given = (first, branch, given) if name in names else (branch, first, names)
                raise place.wrong(
                    f"{has} gives {name!r}, but {lacks} gives {listed(all_given)}; for "
                    f"aggregate {kind.aggregate.value} all branches must give the same: rename with `outputs`"
                )


class _Together:
    """How answers of one parallel step become one, element by element or along axis 0."""

    def __init__(self, place: Place, kind: Parallel, derived: Derived) -> None:
        self._place = place
        self._kind = kind
        self._derived = derived

    def give(self, name: str, answers: Answers) -> Given:
        flows = _agreed(self._place, name, answers)
        if isinstance(flows, Clash):
            return flows
        first, text = flows[0], all(flow.text for flow in flows)
        wrong = self._unsuited(name, first)
        if wrong:
            return Clash(f"node {self._place.path}: {wrong}")
        along = 1 if self._kind.aggregate is Aggregate.CONCAT else 0  # axes that need not be equal
        for branch, flow in zip((branch for branch, _ in answers), flows, strict=True):
            have, want = (Flow(each.datatype, each.shape[along:], each.text) for each in (flow, first))
            why = misfit(have, want, edge=f"node {self._place.path}")
            if why:
                return Clash(
                    f"node {self._place.path}: output {name!r} is {first.type} in {answers[0][0]} and {flow.type} in "
                    f"{branch}, but {self._kind.aggregate.value} needs equal shapes{' after axis 0' * along}; "
                    "change one in a transform, or say another `aggregate`"
                )
        if along:
            sizes = tuple(flow.shape[0] for flow in flows)
            return Flow(first.datatype, [self._length(name, sizes), *first.shape[1:]], text, first.description)
        return Flow(self._datatype(first), first.shape, text, first.description)

    def _unsuited(self, name: str, flow: Flow) -> str:
        """Return why outputs of this type cannot be aggregated in this way; empty if they can."""
        aggregate = self._kind.aggregate
        if aggregate is Aggregate.CONCAT and not flow.shape:
            return f"output {name!r} is {flow.type}, but concat joins along axis 0; say aggregate mean, vote or max"
        if aggregate in {Aggregate.MEAN, Aggregate.MAX} and not is_numeric(flow):
            return f"output {name!r} is {flow.type}, but {aggregate.value} needs numbers; say aggregate vote or concat"
        return ""

    def _datatype(self, flow: Flow) -> str:
        if self._kind.aggregate is Aggregate.MEAN:
            return "FP64" if flow.datatype == "FP64" else "FP32"
        return flow.datatype

    def _length(self, name: str, sizes: tuple[Size, ...]) -> Size:
        """Return the size along axis 0 of answers that are joined along it."""
        what = f"axis 0 of output {name!r}"
        count = {Join.ALL: len(sizes), Join.QUORUM: self._kind.quorum, Join.FIRST: 1, Join.ANY: 0}[self._kind.join]
        if count == len(sizes):
            return self._derived.sum_of(self._place, what, sizes)
        if count and len({resolve(size) for size in sizes}) == 1:
            return self._derived.sum_of(self._place, what, sizes[:count])
        return Unknown()
