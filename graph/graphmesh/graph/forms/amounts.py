"""Durations and sizes as text: `50ms`, `1.5s`, `10m`, `2h`, `7d`; `64MiB`.

A duration is seconds as a float inside and a whole number of nanoseconds in every written form, so that all forms of a
graph hold the same: the float is always the one nearest to those nanoseconds.
"""

from __future__ import annotations

import re

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import MAX_TTL_S

__all__ = [
    "NANOSECONDS",
    "parse_duration",
    "parse_size",
    "seconds_from_nanoseconds",
    "seconds_to_nanoseconds",
    "show_duration",
    "show_size",
]

NANOSECONDS = 1_000_000_000
"""In a second."""

_UNITS = {
    "ms": NANOSECONDS // 1000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3600 * NANOSECONDS,
    "d": 86_400 * NANOSECONDS,
}
_SIZES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
_DURATION = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,20})(KiB|MiB|GiB)?")
_LONGEST = round(MAX_TTL_S) * NANOSECONDS


def seconds_from_nanoseconds(nanoseconds: int) -> float:
    """Return seconds.

    Raises:
        InvalidGraph: negative, or longer than anything in a graph may be (INVALID_ARGUMENT, retry: no).
    """
    if not 0 <= nanoseconds <= _LONGEST:
        raise InvalidGraph(
            f"a duration must be from 0 to {show_duration(MAX_TTL_S)}, got {nanoseconds / NANOSECONDS:.9g} s"
        )
    return nanoseconds / NANOSECONDS


def seconds_to_nanoseconds(seconds: float) -> int:
    """Return the nearest whole number of nanoseconds.

    Raises:
        InvalidGraph: as `seconds_from_nanoseconds`, not a number, or less than a nanosecond but not 0.
    """
    if not 0 <= seconds <= MAX_TTL_S:  # also of what is not a number
        raise InvalidGraph(f"a duration must be from 0 to {show_duration(MAX_TTL_S)}, got {seconds:.9g} s")
    nanoseconds = round(seconds * NANOSECONDS)
    if seconds and not nanoseconds:
        raise InvalidGraph(f"a duration must be 0 or at least a nanosecond, got {seconds:.9g} s")
    return nanoseconds


def parse_duration(text: str) -> float:
    """Return the seconds of ``50ms``, ``1.5s``, ``10m``, ``2h`` or ``7d``.

    Raises:
        InvalidGraph: not of that form, finer than a nanosecond, or too long (INVALID_ARGUMENT, retry: no).
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidGraph(
            f"a duration must be a number and its unit, as 50ms, 1.5s, 10m, 2h or 7d, got {text[:140]!r}"
        )
    whole, part, unit = match[1], match[2] or "", match[3]
    nanoseconds, rest = divmod(int(whole + part) * _UNITS[unit], 10 ** len(part))
    if rest:
        raise InvalidGraph(f"a duration must be a whole number of nanoseconds, got {text!r}")
    return seconds_from_nanoseconds(nanoseconds)


def show_duration(seconds: float) -> str:
    """Return the text that `parse_duration` reads back, in the unit that reads best."""
    nanoseconds = round(seconds * NANOSECONDS)
    for whole_unit in ("d", "h", "m"):
        if nanoseconds and nanoseconds % _UNITS[whole_unit] == 0:
            return f"{nanoseconds // _UNITS[whole_unit]}{whole_unit}"
    unit, digits = ("s", 9) if nanoseconds >= NANOSECONDS else ("ms", 6)
    whole, part = divmod(nanoseconds, _UNITS[unit])
    return f"{whole}.{part:0{digits}d}".rstrip("0").rstrip(".") + unit


def parse_size(text: str) -> int:
    """Return the bytes of ``64MiB``; a bare number is bytes.

    Raises:
        InvalidGraph: not of that form (INVALID_ARGUMENT, retry: no).
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidGraph(f"a size must be a number of bytes, or one of KiB, MiB or GiB as 64MiB, got {text[:140]!r}")
    return int(match[1]) * _SIZES.get(match[2], 1)


def show_size(count: int) -> str | int:
    """Return what `parse_size` reads back: text with the largest unit that divides it, or the number of bytes."""
    for unit, size in _SIZES.items():
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return count
