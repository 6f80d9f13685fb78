"""What checks say beside the mistake itself: where in the graph it is, and which known name comes close."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.names import close_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["at", "check_number", "check_unique", "did_you_mean", "how_to_declare", "listed"]

_REPEATED = {"branch": "give one of them a `name` of its own"}
"""What to do where a name is repeated that its author may never have written."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x' or 'y'?``, or nothing when no known name comes close."""
    near = close_names(name, known)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Return names as errors show all that there are."""
    return ", ".join(names) or "nothing"


def how_to_declare(name: str) -> str:
    """Return how a graph input gets its type from its author."""
    return (
        f"declare it, as `inputs: {{{name}: TEXT}}` in YAML or g.input({name!r}, 'TEXT') in Python (TEXT is one text, "
        "TEXT (N,) a list of texts, FP32 (N, 3) numbers)"
    )


@contextlib.contextmanager
def at(where: str) -> Iterator[None]:
    """Say in errors where in the graph they are."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidGraph(f"{where}: {error.message}") from error


def check_unique(what: str, names: Iterable[str]) -> None:
    """Raise InvalidGraph when a name is there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            fix = _REPEATED.get(what, "each must be given once")
            raise InvalidGraph(f"{what} {name[:140]!r} is there twice; {fix}")
        seen.add(name)


def check_number(what: str, value: float, least: float, most: float, *, unit: str = "") -> None:
    """Raise InvalidGraph when a number is not in its bounds, or none at all."""
    if not least <= value <= most:  # also of what is not a number
        raise InvalidGraph(f"{what} must be from {_show(least)} to {_show(most)}{unit}, got {_show(value)}{unit}")


def _show(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
