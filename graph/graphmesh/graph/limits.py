"""How large a graph, and one run of it, may be.

A graph is a program from someone else, so that each bound is checked before the work it bounds: the document before it
is parsed, nodes before they are typed, calls before they are made. Byte budgets belong to whoever moves the bytes.
"""

from __future__ import annotations

__all__ = [
    "DEFAULT_CACHE_BYTES",
    "DEFAULT_CACHE_ENTRIES",
    "DEFAULT_CONCURRENCY",
    "DEFAULT_TTL_S",
    "MAX_BRANCH_DEPTH",
    "MAX_BYTES_IN_FLIGHT",
    "MAX_CACHE_BYTES",
    "MAX_CACHE_ENTRIES",
    "MAX_CALLS",
    "MAX_CONCURRENCY",
    "MAX_CONDITION_CHARACTERS",
    "MAX_CONDITION_ELEMENTS",
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_ITERATIONS",
    "MAX_NODES",
    "MAX_OPERATIONS",
    "MAX_STEP_S",
    "MAX_TEXTPROTO_DEPTH",
    "MAX_TTL_S",
    "MAX_YAML_DEPTH",
    "MAX_YAML_ENTRIES",
]

MAX_DOCUMENT_BYTES = 512 * 1024
"""A graph as text or as a serialized message; etcd refuses requests above 1.5 MiB."""

MAX_NODES = 1_000
"""Nodes of one graph, those inside other nodes counted, nested graphs not."""

MAX_DEPTH = 8
"""Graphs that may be inside one another, the outermost counted; also the highest `x-graphmesh-depth`."""

MAX_CALLS = 10_000
"""Calls that one request may lead to: counted through nested graphs at apply, for the maps of one run at run time."""

DEFAULT_CONCURRENCY = 4
"""Calls in flight at once for one map that does not say."""

MAX_CONCURRENCY = 256
"""The most that a map may ask for."""

MAX_YAML_DEPTH = 48
"""Nesting of a YAML document; a graph of `MAX_BRANCH_DEPTH` written in full needs 36."""

MAX_YAML_ENTRIES = 50_000
"""Keys, values and items of a YAML document: a graph of `MAX_NODES` with 50 for each node."""

MAX_TEXTPROTO_DEPTH = 40
"""Nesting of a textproto document; a graph of `MAX_BRANCH_DEPTH` needs 26."""

MAX_BRANCH_DEPTH = 8
"""Steps that may be inside one another in one graph, the outermost counted."""

MAX_OPERATIONS = 100
"""Operations of one transform step."""

MAX_STEP_S = 3_600.0
"""The longest that a step's own limit, and a race's delay, may be, seconds."""

MAX_TTL_S = 30 * 86_400.0
"""The longest that a cache may remember, seconds."""

MAX_ITERATIONS = 1_000
"""The most times that a loop may run its body."""

MAX_BYTES_IN_FLIGHT = 1 << 30
"""Bytes of tensors that one request may hold at once on one worker, graphs fused into it included."""

MAX_CONDITION_CHARACTERS = 2_000
"""Length of a condition."""

MAX_CONDITION_ELEMENTS = 1_024
"""Elements of the largest tensor whose values a condition sees."""

DEFAULT_TTL_S = 60.0
"""How long a cache remembers that does not say."""

DEFAULT_CACHE_ENTRIES = 1_000
"""Answers remembered by a cache that does not say."""

DEFAULT_CACHE_BYTES = 64 << 20
"""Bytes of tensors remembered by a cache that does not say."""

MAX_CACHE_ENTRIES = 100_000
"""The most answers that a cache may remember; each takes about a KiB beside its tensors."""

MAX_CACHE_BYTES = 1 << 30
"""The most bytes of tensors that a cache may remember."""
