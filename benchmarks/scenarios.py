"""A scenario: one line of the table, what is sent to which processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.calls import Call
    from benchmarks.servers import System

__all__ = ["Scenario"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One system under one kind of request."""

    name: str
    """Short and stable: results of different days are compared by it."""
    title: str
    """For people."""
    system: System
    """Whose CPU is counted."""
    calls: tuple[Call, ...]
    """The calls that make up one request: one, unless the client itself chains models."""
