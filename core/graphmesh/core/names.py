"""Names of models, graphs, nodes and tensors: what they may look like, and which known names come close.

Names become etcd keys, routing metadata and URL segments, so they are checked at every edge before they are used.
"""

from __future__ import annotations

import difflib
import re
import secrets
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_model_name", "check_node_name", "check_tensor_name", "check_version", "close_names", "new_id"]

_MODEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_NODE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_TENSOR = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")
_VERSION = re.compile(r"[0-9]{1,18}")


def _check(pattern: re.Pattern[str], what: str, name: str) -> str:
    if not pattern.fullmatch(name):
        raise InvalidRequest(f"{what} must match {pattern.pattern}, got {name[:140]!r}")
    return name


def check_model_name(name: str) -> str:
    """Return the name of a model, graph, worker or mesh, or raise InvalidRequest."""
    return _check(_MODEL, "a model or graph name", name)


def check_node_name(name: str) -> str:
    """Return the name of a graph's node, or raise InvalidRequest."""
    return _check(_NODE, "a node name", name)


def check_tensor_name(name: str) -> str:
    """Return the name of a tensor, or raise InvalidRequest."""
    return _check(_TENSOR, "a tensor name", name)


def check_version(version: str) -> str:
    """Return a model's version (digits), or raise InvalidRequest."""
    return _check(_VERSION, "a version", version)


def close_names(name: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """Return up to ``limit`` known names that look like ``name``, closest first (Ratcliff/Obershelp similarity)."""
    return difflib.get_close_matches(name[:140], list(known), n=limit, cutoff=0.5)


def new_id(prefix: str) -> str:
    """Return ``prefix-`` and eight random hexadecimal digits."""
    return f"{prefix}-{secrets.token_hex(4)}"
