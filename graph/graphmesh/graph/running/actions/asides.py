"""Branches that run aside: what they say of themselves counts only if their answer does.

A branch that lost a race, or was not sure enough, may have been degraded; the step's answer is not, as nothing of that
branch is in it. So such a branch marks a list of its own, which is taken over with its answer.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from graphmesh.graph.running.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["adopt", "aside", "asking", "mark"]


def aside(frame: Frame) -> Frame:
    """Return the same frame with nothing degraded yet; everything else is shared."""
    run = copy.copy(frame.run)
    run.degraded = []
    return Frame(run, frame.path, frame.deadline, frame.outputs, frame.limit)


def adopt(frame: Frame, inner: Frame) -> None:
    """Take over what became degraded aside, because that branch's answer is used."""
    frame.run.degraded.extend(inner.run.degraded)


def mark(frame: Frame) -> None:
    """Say that this step answers with less than it should."""
    frame.run.degraded.append(frame.path)


def asking(frame: Frame, names: Iterable[str] | None) -> Frame:
    """Return the same frame, with further outputs that somebody reads; None: all."""
    every = names is None or not frame.outputs
    wanted = () if every else tuple(dict.fromkeys((*frame.outputs, *(names or ()))))
    return Frame(frame.run, frame.path, frame.deadline, wanted, frame.limit)
