"""What becomes of a step when something goes wrong inside it: one outcome for each kind of step and each fault.

The table below is the specification. `test_failures` runs every cell of it in virtual time and compares; the section of
docs/graphs.md is written from it: `python -m tests.docs.reference`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["FAULTS", "KINDS", "Cell", "Fault", "failure_reference"]


class Fault(enum.Enum):
    """What happens to `a`; everything else is well."""

    ERROR = "fails", "after 1 s with UNAVAILABLE"
    REQUEST = "refuses", "after 1 s with INVALID_ARGUMENT, as for all codes that say that the request is wrong"
    TIMEOUT = "is too late", "its own `timeout` is 3 s, and it would take 9"
    SLOW = "is slow", "it takes 9 s, and nothing says that it may not"
    EMPTY = "is empty", "it answers with zero elements (a map: there are no items)"
    WRONG = "is wrong", "its answer lacks the output that is wanted, or does not go with those of the others"

    def __init__(self, short: str, meaning: str) -> None:
        self.short = short
        self.meaning = meaning


FAULTS = tuple(Fault)


@dataclass(frozen=True, slots=True)
class Cell:
    """The outcome for the caller, and what becomes of the calls."""

    seconds: float
    """When the outcome is there."""
    answer: str = ""
    """Whose answers are in the step's: `b c`; `empty` if it has no elements."""
    code: str = ""
    """Or what the step fails with."""
    degraded: bool = False
    """Whether the answer is marked degraded."""
    cancelled: str = ""
    """Whose calls were cancelled."""

    def __str__(self) -> str:
        """Return the cell as the document has it."""
        parts = [f"fails: {self.code}" if self.code else f"answers: {', '.join(self.answer.split())}"]
        if self.degraded:
            parts.append("degraded")
        if self.cancelled:
            parts.append(f"cancelled: {', '.join(self.cancelled.split())}")
        return f"{'; '.join(parts)} ({self.seconds:g} s)"


def _fails(code: str, seconds: float, cancelled: str = "") -> Cell:
    return Cell(seconds, code=code, cancelled=cancelled)


DOWN, REFUSED, LATE, BROKEN = "UNAVAILABLE", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "INTERNAL"

# A step that has nobody but `a` passes on whatever that does.
_ALONE = (
    _fails(DOWN, 1),
    _fails(REFUSED, 1),
    _fails(LATE, 3, "a"),
    Cell(9, "a"),
    Cell(2, "empty"),
    _fails(BROKEN, 2),
)

# In the order of `Fault`; None for what cannot happen. What is well takes 2 s, so that it still runs when `a` fails.
KINDS: dict[str, tuple[Cell | None, ...]] = {
    "model": _ALONE,
    "graph": _ALONE,
    # `a`, `b` and `c` are items here; nothing is a map without items.
    "map": (
        _fails(DOWN, 1, "b c"),
        _fails(REFUSED, 1, "b c"),
        _fails(LATE, 3, "a"),
        Cell(9, "a b c"),
        Cell(0, "empty"),
        _fails(BROKEN, 2),
    ),
    "switch": _ALONE,
    "split": _ALONE,
    "parallel, all": (
        _fails(DOWN, 1, "b c"),
        _fails(REFUSED, 1, "b c"),
        _fails(LATE, 3, "a"),
        Cell(9, "a b c"),
        Cell(2, "b c"),
        _fails(BROKEN, 2),
    ),
    "parallel, any": (
        Cell(2, "b c", degraded=True),
        Cell(2, "b c", degraded=True),
        Cell(3, "b c", degraded=True, cancelled="a"),
        Cell(9, "a b c"),
        Cell(2, "b c"),
        Cell(2, "b c", degraded=True),
    ),
    "parallel, quorum of 2": (
        Cell(2, "b c", degraded=True),
        Cell(2, "b c", degraded=True),
        Cell(2, "b c", cancelled="a"),
        Cell(2, "b c", cancelled="a"),
        Cell(2, "b"),
        Cell(2, "b c", degraded=True),
    ),
    "parallel, first": (
        Cell(2, "b"),
        Cell(2, "b"),
        Cell(2, "b", cancelled="a"),
        Cell(2, "b", cancelled="a"),
        Cell(2, "empty"),
        Cell(2, "b"),
    ),
    "fallback": (
        Cell(3, "b", degraded=True),
        _fails(REFUSED, 1),
        Cell(5, "b", degraded=True, cancelled="a"),
        Cell(9, "a"),
        Cell(2, "empty"),
        Cell(4, "b", degraded=True),
    ),
    "cascade": (
        _fails(DOWN, 1),
        _fails(REFUSED, 1),
        _fails(LATE, 3, "a"),
        Cell(9, "a"),
        Cell(4, "b"),
        _fails(BROKEN, 2),
    ),
    "race": (
        Cell(3, "b"),
        _fails(REFUSED, 1),
        Cell(5, "b", cancelled="a"),
        Cell(6, "b", cancelled="a"),
        Cell(2, "empty"),
        Cell(4, "b"),
    ),
    "loop": (
        _fails(DOWN, 1),
        _fails(REFUSED, 1),
        _fails(LATE, 3, "a"),
        Cell(11, "a"),
        Cell(4, "empty"),
        _fails(BROKEN, 2),
    ),
    "cache": _ALONE,
    # Calls nobody and waits for nothing; what it is given may not fit, and types are checked before it runs.
    "transform": (None, _fails(REFUSED, 0), None, None, Cell(0, "empty"), None),
}


_PROSE = """\
What a step does when one thing in it goes wrong and all else is well. It is called `a`: the model or graph of a plain
step, the body of a loop or cache, the chosen branch of a switch or split, of all others the first branch, with `b` and
`c` after it; of a map these are items. What is well answers after 2 s, as does every item; a quorum is one of 2, a race
starts `b` after 4 s, a loop runs twice, and a cascade's branches are sure. A transform calls nobody: its input does not
fit, or is empty. Each cell says whose answers are in the step's, or the code that it fails with; whether it is marked
degraded; whose calls were cancelled; and when.
"""
_AFTER = """
A call whose caller is out of time ends with DEADLINE_EXCEEDED at that instant, whatever the kind, and one whose caller
leaves ends at once: everything in it is cancelled, what is cancelled has ended before the step does, and no call begins
after that. A step that fails never answers; whoever failed is in no answer.
"""


def failure_reference() -> str:
    """Return the section as the document has it."""
    faults = "".join(f"- *{fault.short}*: {fault.meaning}\n" for fault in FAULTS)
    head = ["", *(f"`a` {fault.short}" for fault in FAULTS)]
    lines = [head, ["---"] * len(head)]
    lines += [[f"**{kind}**", *(str(cell or "-") for cell in cells)] for kind, cells in KINDS.items()]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{_PROSE}\n{faults}\n{table}{_AFTER}"
