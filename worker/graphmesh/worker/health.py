"""Whether this worker should be sent calls, as both shells report it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Health"]


@dataclass(slots=True)
class Health:
    """Ready once the models are loaded, just before the worker is registered, until it drains."""

    ready: bool = False
    """Whether new calls should be sent here; calls that come anyway are answered."""
