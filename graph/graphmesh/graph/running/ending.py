"""How a call, step or branch ended, as explanations and traces tell it.

Whoever cancels says why: the cancellation carries one of our errors as its only argument, and everything below hands it
on. What a limit cut off was waited for, and so ended with DEADLINE_EXCEEDED; what was not needed any more ended with
CANCELLED.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import Cancelled, Code, GraphmeshError

if TYPE_CHECKING:
    from typing import Final

__all__ = ["CANCELLED", "OK", "Ending", "ending_of", "why"]

CANCELLED = "CANCELLED"
"""The outcome of what was not needed any more."""

_MOST_CHARACTERS = 200
_UNSAID = Cancelled("the caller left")


@dataclass(frozen=True, slots=True)
class Ending:
    """How something ended."""

    outcome: str = "ok"
    """`ok`, or the name of a gRPC code; `CANCELLED` if it was not needed any more."""
    reason: str = ""
    """Why it is not `ok`."""


OK: Final = Ending()
"""It gave its answer."""


def why(error: BaseException) -> GraphmeshError:
    """Return what an error of ours, or a cancellation, says; a cancellation that says nothing is its caller's."""
    if isinstance(error, GraphmeshError):
        return error
    reason = error.args[0] if error.args else None
    return reason if isinstance(reason, GraphmeshError) else _UNSAID


def ending_of(error: BaseException | None) -> Ending:
    """Return how whatever raised this error ended; None: it gave its answer."""
    if error is None:
        return OK
    if isinstance(error, Exception) and not isinstance(error, GraphmeshError):
        return Ending(Code.INTERNAL.name)
    reason = why(error)
    return Ending(reason.code.name, reason.message[:_MOST_CHARACTERS])
