"""What one request may use."""

from __future__ import annotations

import numpy as np
import pytest

from graphmesh.core.errors import Code, Overloaded
from graphmesh.graph.limits import MAX_BYTES_IN_FLIGHT, MAX_CALLS
from graphmesh.graph.running.budget import Budget, size_of


def test_calls_are_counted_down_and_the_next_is_refused() -> None:
    """Exactly as many calls as allowed."""
    budget = Budget(calls=2)
    budget.spend()
    budget.spend()
    with pytest.raises(Overloaded, match="may lead to 2 calls here, 0 are left and 1 are needed") as caught:
        budget.spend()
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert budget.calls_left == 0


def test_many_calls_are_refused_before_the_first() -> None:
    """Asking for them takes none."""
    budget = Budget(calls=5)
    budget.require(5)
    with pytest.raises(Overloaded, match="5 are left and 6 are needed; send fewer items, or raise a map's batch_size"):
        budget.require(6)
    assert budget.calls_left == 5


def test_calls_made_elsewhere_are_charged_afterwards() -> None:
    """What is too much leaves none; for a stream's next answer all are there again."""
    budget = Budget(calls=5)
    budget.charge(5)
    budget.renew()
    budget.charge(3)
    with pytest.raises(Overloaded, match="may lead to 5 calls here, and made 2 more elsewhere"):
        budget.charge(4)
    assert budget.calls_left == 0
    budget.renew()
    assert budget.calls_left == 5


def test_bytes_are_held_and_let_go() -> None:
    """What is let go can be held again; what does not fit changes nothing."""
    budget = Budget(held=3 << 20)
    budget.hold(2 << 20)
    with pytest.raises(Overloaded, match=r"may hold 3 MiB of tensors at once .* would make it 4.0 MiB"):
        budget.hold(2 << 20)
    budget.release(2 << 20)
    budget.hold(3 << 20)
    assert budget.bytes_left == 0


def test_the_limits_are_those_of_the_mesh() -> None:
    """Without arguments a budget is that of a request from outside."""
    assert (Budget().calls_left, Budget().bytes_left) == (MAX_CALLS, MAX_BYTES_IN_FLIGHT)


def test_text_counts_with_its_length() -> None:
    """The elements of a BYTES tensor are not in the array itself."""
    assert size_of([np.zeros((2, 3), np.float32)]) == 24
    assert size_of([np.array([b"x" * 1000, b""], object), np.zeros(1, np.int8)]) == 1017
    assert size_of([np.array(b"abc", object)]) == 11
