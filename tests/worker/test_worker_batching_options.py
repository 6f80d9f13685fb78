"""The parameters by which a request says how urgent it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidRequest
from graphmesh.worker.batching.call import NEVER
from graphmesh.worker.batching.options import read_priority, read_timeout_s

if TYPE_CHECKING:
    from graphmesh.core.inference import Parameter


def test_defaults() -> None:
    """Nothing and 0 mean the middle priority and no timeout."""
    assert read_priority({}) == read_priority({"priority": 0}) == 5
    assert read_timeout_s({}) == read_timeout_s({"timeout": 0}) == NEVER


def test_values() -> None:
    """Priorities are levels, timeouts microseconds."""
    assert [read_priority({"priority": level}) for level in (1, 9)] == [1, 9]
    assert read_timeout_s({"timeout": 1500}) == 0.0015


@pytest.mark.parametrize("value", [-1, 10, True, 1.5, "1", 2**64])
def test_priority_must_be_a_level(value: Parameter) -> None:
    """Anything but 0 to 9 is refused."""
    with pytest.raises(InvalidRequest, match="priority"):
        read_priority({"priority": value})


@pytest.mark.parametrize("value", [-1, False, 1.5, "1"])
def test_timeout_must_be_whole_microseconds(value: Parameter) -> None:
    """Anything but a whole number that is not negative is refused."""
    with pytest.raises(InvalidRequest, match="timeout"):
        read_timeout_s({"timeout": value})
