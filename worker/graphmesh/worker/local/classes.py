"""Sources for classes that a test holds in its hand, wherever they were made.

A worker names a class by ``module:Class``. One that can be imported so is; one made inside a function, or in the main
module, is given a module of its own for as long as the mesh lives. The latter cannot run in a process of its own, which
has to import it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from graphmesh.core.names import new_id

__all__ = ["forget", "source_of"]

_PREFIX = "graphmesh_local_"


def source_of(kind: type[Any]) -> str:
    """Return a source that names a class in this process."""
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__ == "__main__" or getattr(module, kind.__name__, None) is not kind:
        module = ModuleType(_PREFIX + new_id("class").replace("-", "_"))
        setattr(module, kind.__name__, kind)
        sys.modules[module.__name__] = module
    return f"{module.__name__}:{kind.__name__}"


def forget(source: str) -> None:
    """Take back the module that `source_of` made, if it did."""
    if source.startswith(_PREFIX):
        sys.modules.pop(source.partition(":")[0], None)
