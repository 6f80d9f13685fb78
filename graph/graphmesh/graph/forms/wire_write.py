"""Steps of a graph as messages: every node kind, with the steps inside it.

Whoever calls has measured what it hands over (`check_extent`), so that recursion here is bounded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.hints import at
from graphmesh.graph.forms.amounts import NANOSECONDS, seconds_to_nanoseconds
from graphmesh.graph.forms.naming import kind_word
from graphmesh.graph.forms.wire_enums import aggregate_to_wire, join_to_wire
from graphmesh.graph.spec import (
    Binding,
    Cache,
    Cascade,
    Fallback,
    GraphCall,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.wire import operation_to_wire
from graphmesh.v1 import graph_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from google.protobuf.message import Message

    from graphmesh.graph.spec import Kind

__all__ = ["bindings_to_wire", "node_to_wire"]


def bindings_to_wire(bindings: Iterable[Binding]) -> list[graph_pb2.Binding]:
    """Return the messages of bindings."""
    return [graph_pb2.Binding(name=binding.name, source=binding.source) for binding in bindings]


def node_to_wire(node: Node) -> graph_pb2.Node:
    """Return the message of a step.

    Raises:
        InvalidGraph: a duration or threshold that no form can carry; names the step (INVALID_ARGUMENT, retry: no).
        ValueError: text that is not Unicode, or a number that does not fit its field.
    """
    with at(f"node {node.name[:140]!r}"):
        return graph_pb2.Node(
            name=node.name,
            inputs=bindings_to_wire(node.inputs),
            outputs=bindings_to_wire(node.outputs),
            timeout=_duration(node.timeout_s),
            **_one_of(node.kind),
        )


def _duration(seconds: float) -> Duration | None:
    whole, nanos = divmod(seconds_to_nanoseconds(seconds), NANOSECONDS)
    return Duration(seconds=whole, nanos=nanos) if whole or nanos else None


def _all(branches: Iterable[Node]) -> list[graph_pb2.Node]:
    return [node_to_wire(branch) for branch in branches]


def _map(kind: Map) -> graph_pb2.Map:
    return graph_pb2.Map(
        over=kind.over,
        batch_size=kind.batch_size,
        max_concurrency=kind.max_concurrency,
        **_one_of(kind.target),
    )


def _switch(kind: Switch) -> graph_pb2.Switch:
    return graph_pb2.Switch(
        cases=[graph_pb2.Switch.Case(when=case.when, then=node_to_wire(case.then)) for case in kind.cases],
        default=None if kind.default is None else node_to_wire(kind.default),
    )


def _split(kind: Split) -> graph_pb2.Split:
    shares = [graph_pb2.Split.Share(weight=share.weight, then=node_to_wire(share.then)) for share in kind.shares]
    return graph_pb2.Split(shares=shares, key=kind.key)


def _parallel(kind: Parallel) -> graph_pb2.Parallel:
    return graph_pb2.Parallel(
        branches=_all(kind.branches),
        join=join_to_wire(kind.join),
        quorum=kind.quorum,
        aggregate=aggregate_to_wire(kind.aggregate),
    )


def _cascade(kind: Cascade) -> graph_pb2.Cascade:
    if not math.isfinite(kind.threshold):
        raise InvalidGraph(f"`threshold` must be a finite number, got {kind.threshold}")
    # -0.0 and 0.0 are equal, and must be the same bytes.
    threshold = kind.threshold + 0.0
    return graph_pb2.Cascade(branches=_all(kind.branches), confidence=kind.confidence, threshold=threshold)


def _loop(kind: Loop) -> graph_pb2.Loop:
    return graph_pb2.Loop(
        body=node_to_wire(kind.body),
        until=kind.until,
        max_iterations=kind.max_iterations,
        carry=bindings_to_wire(kind.carry),
    )


def _cache(kind: Cache) -> graph_pb2.Cache:
    return graph_pb2.Cache(
        body=node_to_wire(kind.body),
        ttl=_duration(kind.ttl_s),
        max_entries=kind.max_entries,
        max_bytes=kind.max_bytes,
    )


def _transform(kind: Transform) -> graph_pb2.Transform:
    operations = [operation_to_wire(operation) for operation in kind.operations]
    return graph_pb2.Transform(operations=operations, keep=kind.keep)


def _one_of(kind: Kind) -> dict[str, Any]:
    """Return the field of a kind, and its message."""
    return {kind_word(kind): _WRITERS[type(kind)](kind)}


_WRITERS: Mapping[type, Callable[[Any], Message]] = {
    ModelCall: lambda kind: graph_pb2.ModelCall(name=kind.name, version=kind.version),
    GraphCall: lambda kind: graph_pb2.GraphCall(name=kind.name),
    Map: _map,
    Switch: _switch,
    Split: _split,
    Parallel: _parallel,
    Fallback: lambda kind: graph_pb2.Fallback(branches=_all(kind.branches), on=kind.on),
    Cascade: _cascade,
    Race: lambda kind: graph_pb2.Race(branches=_all(kind.branches), delay=_duration(kind.delay_s)),
    Loop: _loop,
    Cache: _cache,
    Transform: _transform,
}
