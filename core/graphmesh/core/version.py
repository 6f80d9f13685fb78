"""The version of this software, from the installed distribution."""

from __future__ import annotations

import functools
import importlib.metadata

__all__ = ["software_version"]


@functools.cache
def software_version() -> str:
    """Return graphmesh's version, as installed."""
    return importlib.metadata.version("graphmesh")
