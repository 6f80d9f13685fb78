"""Graphs for hypothesis: every kind of node, valid or not, within what messages can carry."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, get_type_hints

from hypothesis import strategies as st

from graphmesh.graph.limits import MAX_TTL_S
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphCall,
    GraphInput,
    Join,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.operations import KINDS, Operation

if TYPE_CHECKING:
    from graphmesh.graph.spec import Kind
    from graphmesh.graph.transforms.operations import What

__all__ = ["WORDS", "graphs", "kinds", "nodes", "seconds"]

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
"""Any text that a message can carry."""

_TOKENS = st.text(string.ascii_letters + string.digits + "._- :#'\"", max_size=8) | st.sampled_from(
    ["no", "~", "1", "on", "null", "=", "<<"]
)
_UINT32 = st.integers(0, 2**32 - 1)


def _some(strategy: st.SearchStrategy[object], *, most: int = 3) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


def seconds() -> st.SearchStrategy[float]:
    """Return durations in whole nanoseconds, often those that people write."""
    usual = st.sampled_from([0.0, 0.05, 0.2, 1.0, 1.5, 60.0, 90.0, 3600.0, MAX_TTL_S])
    return usual | st.integers(0, round(MAX_TTL_S) * 10**9).map(lambda nanoseconds: nanoseconds / 10**9)


def _bindings() -> st.SearchStrategy[tuple[object, ...]]:
    return _some(st.builds(Binding, name=_TOKENS, source=_TOKENS))


_TARGETS = st.builds(ModelCall, name=_TOKENS, version=_TOKENS) | st.builds(GraphCall, name=_TOKENS)
_INT32 = st.integers(-(2**31), 2**31 - 1)
_REALS = st.floats(allow_nan=False)
_SETTINGS: dict[object, st.SearchStrategy[object]] = {
    str: WORDS,
    str | None: st.none() | WORDS,
    bool: st.booleans(),
    int: _INT32,
    float: _REALS,
    float | None: st.none() | _REALS,
    tuple[int, ...]: _some(_INT32),
    tuple[float, ...]: _some(_REALS),
    tuple[str, ...]: _some(_TOKENS),
}


def _what(what: type[What]) -> st.SearchStrategy[What]:
    return st.builds(what, **{name: _SETTINGS[kind] for name, kind in get_type_hints(what).items()})


_OPERATIONS = st.builds(
    Operation, what=st.one_of(*map(_what, KINDS.values())), inputs=_some(_TOKENS), outputs=_some(_TOKENS)
)
_LEAVES: st.SearchStrategy[Kind] = (
    _TARGETS
    | st.builds(Map, target=_TARGETS, over=_some(_TOKENS), batch_size=_UINT32, max_concurrency=_UINT32)
    | st.builds(Transform, operations=_some(_OPERATIONS), keep=_some(_TOKENS))
)


def nodes(kind: st.SearchStrategy[Kind]) -> st.SearchStrategy[Node]:
    """Return steps of these kinds."""
    return st.builds(
        Node, name=_TOKENS, kind=kind, inputs=_bindings(), outputs=_bindings(), timeout_s=st.just(0.0) | seconds()
    )


def _composed(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    node = nodes(inner)
    branches = _some(node)
    return st.one_of(
        st.builds(Switch, cases=_some(st.builds(Case, when=WORDS, then=node)), default=st.none() | node),
        st.builds(Split, shares=_some(st.builds(Share, weight=_UINT32, then=node)), key=WORDS),
        st.builds(
            Parallel,
            branches=branches,
            join=st.sampled_from(Join),
            quorum=_UINT32,
            aggregate=st.sampled_from(Aggregate),
        ),
        st.builds(Fallback, branches=branches, on=_some(_TOKENS)),
        st.builds(
            Cascade,
            branches=branches,
            confidence=_TOKENS,
            threshold=st.floats(allow_nan=False, allow_infinity=False),
        ),
        st.builds(Race, branches=branches, delay_s=seconds()),
        st.builds(Loop, body=node, until=WORDS, max_iterations=_UINT32, carry=_bindings()),
        st.builds(Cache, body=node, ttl_s=seconds(), max_entries=_UINT32, max_bytes=st.integers(0, 2**64 - 1)),
    )


def kinds() -> st.SearchStrategy[Kind]:
    """Return kinds, composed ones up to the depth that graphs may have."""
    return st.recursive(_LEAVES, _composed, max_leaves=4)


def graphs() -> st.SearchStrategy[Graph]:
    """Return graphs of all kinds; most are wrong, and all can be written."""
    dimensions = st.none() | st.integers(0, 10**6) | st.sampled_from(["N", "H", "W"])
    inputs = st.builds(
        GraphInput,
        name=_TOKENS,
        datatype=st.sampled_from(["", "FP32", "BYTES", "x y"]),
        shape=_some(dimensions),
        text=st.booleans(),
        description=WORDS,
    )
    return st.builds(
        Graph,
        name=_TOKENS,
        description=WORDS,
        inputs=_some(inputs),
        nodes=_some(nodes(kinds())),
        outputs=_bindings(),
    )
