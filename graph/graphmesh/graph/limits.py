"""How large a graph, and one run of it, may be.

A graph is a program from someone else, so that each bound is checked before the work it bounds: the document before it
is parsed, nodes before they are typed, calls before they are made. Byte budgets belong to whoever moves the bytes.
"""

from __future__ import annotations

__all__ = [
    "DEFAULT_CONCURRENCY",
    "MAX_CALLS",
    "MAX_CONCURRENCY",
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_NODES",
    "MAX_YAML_DEPTH",
]

MAX_DOCUMENT_BYTES = 512 * 1024
"""A graph as text or as a serialized message; etcd refuses requests above 1.5 MiB."""

MAX_NODES = 1_000
"""Nodes of one graph, nested graphs not counted."""

MAX_DEPTH = 8
"""Graphs that may be inside one another, the outermost counted; also the highest `x-graphmesh-depth`."""

MAX_CALLS = 10_000
"""Calls that one request may lead to: counted through nested graphs at apply, for the maps of one run at run time."""

DEFAULT_CONCURRENCY = 4
"""Calls in flight at once for one map that does not say."""

MAX_CONCURRENCY = 256
"""The most that a map may ask for."""

MAX_YAML_DEPTH = 32
"""Nesting of a YAML document; a graph's own form needs 7."""
