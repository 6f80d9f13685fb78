"""Deadlines."""

from __future__ import annotations

import time

import pytest

from graphmesh.core.clock import NO_DEADLINE, Deadline, SystemClock
from graphmesh.core.errors import DeadlinePassed


def test_no_deadline_never_passes() -> None:
    """Without a deadline there is no timeout and no error."""
    assert Deadline.after(None) is NO_DEADLINE
    assert NO_DEADLINE.timeout() is None
    NO_DEADLINE.check("anything")


def test_a_passed_deadline_says_what_was_not_begun() -> None:
    """Once passed, no time is left and the error names what was not begun."""
    passed = Deadline(time.monotonic() - 1)
    assert passed.timeout() == 0.0
    assert passed.remaining() < 0
    with pytest.raises(DeadlinePassed, match="before compute"):
        passed.check("compute")


def test_a_deadline_to_come() -> None:
    """A deadline to come leaves its seconds."""
    assert 9 < (Deadline.after(10).timeout() or 0) <= 10


async def test_system_clock() -> None:
    """The system's clock is monotonic and sleeps."""
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
