"""Durations and sizes as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.amounts import (
    parse_duration,
    parse_size,
    seconds_from_nanoseconds,
    seconds_to_nanoseconds,
    show_duration,
    show_size,
)
from graphmesh.graph.limits import MAX_TTL_S
from tests.graph.strategies import seconds


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("50ms", 0.05, "50ms"),
        ("1.5s", 1.5, "1.5s"),
        ("10m", 600.0, "10m"),
        ("2h", 7200.0, "2h"),
        ("0.050s", 0.05, "50ms"),
        ("90s", 90.0, "90s"),
        ("0.5m", 30.0, "30s"),
        ("0s", 0.0, "0ms"),
        ("0.000001ms", 1e-9, "0.000001ms"),
        ("1.000000001s", 1.000000001, "1.000000001s"),
        ("48h", 172_800.0, "2d"),
        ("1.5d", 129_600.0, "36h"),
        ("30d", MAX_TTL_S, "30d"),
    ],
)
def test_durations_are_a_number_and_a_unit(text: str, expected: float, shown: str) -> None:
    """The value is the float that the seconds would be written as, and shown in the unit that reads best."""
    assert parse_duration(text) == expected
    assert show_duration(expected) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (text, "must be a number and its unit, as 50ms")
            for text in ("", "5", "5 s", "-1s", "1e3s", "s", ".5s", "1w", "\N{ARABIC-INDIC DIGIT FIVE}s")
        ),
        ("9" * 13 + "s", "must be a number and its unit, as 50ms"),
        ("0.0000001ms", "must be a whole number of nanoseconds"),
        ("721h", "must be from 0 to 30d, got 2595600 s"),
    ],
)
def test_what_is_no_duration_is_refused(text: str, expected: str) -> None:
    """Bare numbers, signs, other units, too fine and too long durations are refused with what is expected."""
    with pytest.raises(InvalidGraph, match=f"a duration {expected}"):
        parse_duration(text)


@given(seconds())
def test_every_duration_reads_back(value: float) -> None:
    """A whole number of nanoseconds survives text and message exactly."""
    assert parse_duration(show_duration(value)) == value
    assert seconds_from_nanoseconds(seconds_to_nanoseconds(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1000", 1000), ("64MiB", 64 << 20), ("3KiB", 3 << 10), ("2GiB", 2 << 30)],
)
def test_sizes_are_bytes_or_have_a_unit(text: str, expected: int) -> None:
    """A bare number is bytes; units are powers of 1,024."""
    assert parse_size(text) == expected
    assert str(show_size(expected)) == text


@pytest.mark.parametrize("text", ["", "MiB", "1.5MiB", "64MB", "64 MiB", "-1", "9" * 21])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Fractions, signs and units of powers of ten are refused with what is expected."""
    with pytest.raises(InvalidGraph, match="a size must be a number of bytes, or one of KiB, MiB or GiB"):
        parse_size(text)


@given(st.integers(0, 2**64 - 1))
def test_every_size_reads_back(count: int) -> None:
    """Whatever the unit it is shown in, it is the same number of bytes."""
    assert parse_size(str(show_size(count))) == count
