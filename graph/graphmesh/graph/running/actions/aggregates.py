"""How answers of several branches become one. Results are fresh memory, unless an answer is passed on as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from graphmesh.core.errors import ModelFailed
from graphmesh.core.tensor import BYTES, datatype_of
from graphmesh.graph.spec import Aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphmesh.core.tensor import Tensor

__all__ = ["aggregate"]

_Answers: TypeAlias = "Sequence[tuple[str, Mapping[str, Tensor]]]"
_Parts: TypeAlias = "Sequence[tuple[str, Tensor]]"


def aggregate(how: Aggregate, answers: _Answers, names: Sequence[str]) -> dict[str, Tensor]:
    """Return one answer.

    Args:
        how: How it is made.
        answers: Names and answers of the branches that count, in the order in which branches are written; at least one.
        names: The outputs that are wanted; none: all.

    Raises:
        ModelFailed: an output that is missing, of different datatypes or shapes, or that this cannot be done with;
            names it and the branches. The request is not at fault: others may get answers that go together (INTERNAL,
            retry: no).
    """
    if how in {Aggregate.MERGE, Aggregate.ONE}:
        merged = {name: tensor for _, outputs in answers for name, tensor in outputs.items()}
        return {name: _wanted(merged, name, ", ".join(branch for branch, _ in answers)) for name in names or merged}
    return {
        name: _JOINS[how](name, [(branch, _wanted(outputs, name, branch)) for branch, outputs in answers])
        for name in names or answers[0][1]
    }


def _wanted(outputs: Mapping[str, Tensor], name: str, branches: str) -> Tensor:
    if name not in outputs:
        raise ModelFailed(f"the answer of {branches} has no output {name!r}, only {', '.join(outputs) or 'none'}")
    return outputs[name]


def _concat(name: str, parts: _Parts) -> Tensor:
    for branch, tensor in parts:
        if not tensor.ndim:
            raise ModelFailed(f"output {name!r} of {branch} is a scalar, which has no axis 0 to concatenate along")
    _check_alike(name, parts, skip=1)
    return np.concatenate([tensor for _, tensor in parts])


def _mean(name: str, parts: _Parts) -> Tensor:
    datatype = _check_alike(name, parts)
    if datatype == BYTES:
        raise ModelFailed(f"output {name!r} of {_branches(parts)} is BYTES, which has no mean; use vote")
    total = np.zeros(parts[0][1].shape, dtype=np.float64)
    # Infinities and overflow have answers in IEEE 754; they are the models' matter.
    with np.errstate(all="ignore"):
        for _, tensor in parts:
            np.add(total, tensor.astype(np.float64), out=total)
        np.divide(total, len(parts), out=total)
        return total if datatype == "FP64" else total.astype(np.float32)


def _vote(name: str, parts: _Parts) -> Tensor:
    """Return the most frequent value of each element. A NaN equals nothing, so that it wins only over others."""
    _check_alike(name, parts)
    tensors = [tensor for _, tensor in parts]
    winner, most = tensors[0].copy(), _votes(tensors[0], tensors)
    for tensor in tensors[1:]:
        votes = _votes(tensor, tensors)
        more = votes > most  # not as many: of several the branch written first counts
        np.copyto(winner, tensor, where=more)
        np.copyto(most, votes, where=more)
    return winner


def _votes(tensor: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Return for each element how many have the same, itself included."""
    votes = np.zeros(tensor.shape, dtype=np.intp)
    for other in tensors:
        np.add(votes, tensor == other, out=votes)
    return votes


def _max(name: str, parts: _Parts) -> Tensor:
    """Return the largest of each element; NaN if one is, and of BYTES the last in the order of bytes."""
    _check_alike(name, parts)
    largest = parts[0][1].copy()
    with np.errstate(invalid="ignore"):  # BF16's comparison says so of NaN, that of the others does not
        for _, tensor in parts[1:]:
            np.maximum(largest, tensor, out=largest)
    return largest


_JOINS: dict[Aggregate, Callable[[str, _Parts], Tensor]] = {
    Aggregate.CONCAT: _concat,
    Aggregate.MEAN: _mean,
    Aggregate.VOTE: _vote,
    Aggregate.MAX: _max,
}


def _check_alike(name: str, parts: _Parts, *, skip: int = 0) -> str:
    """Return the datatype that all have; their shapes must be equal, too, after the first ``skip`` axes."""
    (first, head), *others = parts
    datatype = datatype_of(head)
    for branch, tensor in others:
        if datatype_of(tensor) != datatype or tensor.ndim != head.ndim or tensor.shape[skip:] != head.shape[skip:]:
            raise ModelFailed(
                f"output {name!r} must have one datatype and shape{' after axis 0' if skip else ''} in all branches, "
                f"got {_show(head)} of {first} and {_show(tensor)} of {branch}"
            )
    return datatype


def _branches(parts: _Parts) -> str:
    return ", ".join(branch for branch, _ in parts)


def _show(tensor: Tensor) -> str:
    return f"{datatype_of(tensor)} {list(tensor.shape)}"
