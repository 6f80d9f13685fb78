"""Read, decide, write if nothing changed meanwhile: every change of a durable record goes through here.

A write whose answer never came may have happened. So the loop reads again, and the decision, which knows what is
wanted, finds either that it is there or that there is something to write; both are right. All of it takes less than
two seconds when the store does not answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from graphmesh.core.errors import Conflict, RegistryUnavailable
from graphmesh.registry.kv import ANSWER_WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.registry.kv import KV, Compare, Op

__all__ = ["Done", "Write", "change"]

_ATTEMPTS = 8
_WRITE_WITHIN_S = 1.0
_READ_BACK_WITHIN_S = ANSWER_WITHIN_S - _WRITE_WITHIN_S

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The store has what is wanted."""

    result: T
    """What the caller gets."""


@dataclass(frozen=True, slots=True)
class Write(Generic[T]):
    """The store must be changed."""

    compares: Sequence[Compare]
    """What was read and must still hold."""
    ops: Sequence[Op]
    """What to write."""
    result: Callable[[int], T]
    """What the caller gets, from the revision of the write."""


Decide = Callable[[float], Awaitable[Done[T] | Write[T]]]
"""Reads, within the given seconds, and decides."""


async def change(kv: KV, what: str, decide: Decide[T]) -> T:
    """Bring about what ``decide`` wants.

    Raises:
        Conflict: others changed the same keys each time (ABORTED, retry: same).
        RegistryUnavailable: the store does not answer; the change may or may not have been made (UNAVAILABLE, retry:
            same).
    """
    unanswered: RegistryUnavailable | None = None
    for _ in range(_ATTEMPTS):
        decision = await decide(_READ_BACK_WITHIN_S if unanswered else ANSWER_WITHIN_S)
        if isinstance(decision, Done):
            return decision.result
        try:
            outcome = await kv.txn(decision.compares, decision.ops, timeout_s=_WRITE_WITHIN_S)
        except RegistryUnavailable as error:
            if unanswered:
                raise
            unanswered = error
            continue
        if outcome.succeeded:
            return decision.result(outcome.revision)
    raise Conflict(f"{what} must not change while it is being changed; others did so {_ATTEMPTS} times, try again")
