"""Steps of a graph from their messages: every node kind, with the steps inside it.

Whoever calls has measured what it hands over (`check_extent`), so that recursion here is bounded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.hints import at
from graphmesh.graph.forms.amounts import NANOSECONDS, seconds_from_nanoseconds
from graphmesh.graph.forms.wire_enums import aggregate_from_wire, join_from_wire
from graphmesh.graph.spec import (
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    GraphCall,
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
from graphmesh.graph.transforms.wire import operation_from_wire
from graphmesh.v1 import graph_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from google.protobuf.duration_pb2 import Duration

    from graphmesh.graph.spec import Kind, Target
    from graphmesh.graph.transforms.operations import Operation

__all__ = ["all_from_wire", "bindings_from_wire", "branches_of"]

_KINDS = tuple(field.name for field in graph_pb2.Node.DESCRIPTOR.oneofs_by_name["kind"].fields)
_NANOS = range(NANOSECONDS)


def branches_of(node: graph_pb2.Node) -> Sequence[graph_pb2.Node]:
    """Return the steps directly inside a message's step, in the order of `Node.branches`."""
    match node.WhichOneof("kind"):
        case "switch":
            default = [node.switch.default] if node.switch.HasField("default") else []
            return [*(case.then for case in node.switch.cases), *default]
        case "split":
            return [share.then for share in node.split.shares]
        case "parallel" | "fallback" | "cascade" | "race" as kind:
            branches: Sequence[graph_pb2.Node] = getattr(node, kind).branches
            return branches
        case "loop" | "cache" as kind:
            return [getattr(node, kind).body]
        case _:
            return []


def bindings_from_wire(bindings: Iterable[graph_pb2.Binding]) -> tuple[Binding, ...]:
    """Return the bindings of messages."""
    return tuple(Binding(name=binding.name, source=binding.source) for binding in bindings)


def all_from_wire(messages: Iterable[graph_pb2.Node], around: str = "") -> tuple[Node, ...]:
    """Return the steps of messages, which were measured.

    Args:
        messages: A graph's, or the branches of one step.
        around: The path of the step around them, for errors.

    Raises:
        InvalidGraph: a step without a kind, a cascade without a threshold, an unknown enum, a duration out of bounds;
            names the step's path, or its number if it has no name (INVALID_ARGUMENT, retry: no).
    """
    return tuple(_node_from_wire(message, around, number) for number, message in enumerate(messages, start=1))


def _node_from_wire(message: graph_pb2.Node, around: str, number: int = 1) -> Node:
    label = message.name[:140] or f"number {number}"
    path = f"{around}/{label}" if around else label
    with at(f"node {path!r}"):
        timeout_s = _seconds_from_wire(message.timeout)
        name = message.WhichOneof("kind")
        if name is None:
            choices = ", ".join(_KINDS)
            raise InvalidGraph(f"must say what it does, one of {choices}; got none that this version knows")
    return Node(
        name=message.name,
        kind=_READERS[name](message, path),
        inputs=bindings_from_wire(message.inputs),
        outputs=bindings_from_wire(message.outputs),
        timeout_s=timeout_s,
    )


def _seconds_from_wire(duration: Duration) -> float:
    if duration.nanos not in _NANOS:
        raise InvalidGraph(f"a duration's nanos must be from 0 to {NANOSECONDS - 1}, got {duration.nanos}")
    return seconds_from_nanoseconds(duration.seconds * NANOSECONDS + duration.nanos)


def _target_from_wire(holder: graph_pb2.Node | graph_pb2.Map, path: str) -> Target:
    if holder.HasField("model"):
        return ModelCall(name=holder.model.name, version=holder.model.version)
    if holder.HasField("graph"):
        return GraphCall(name=holder.graph.name)
    raise InvalidGraph(f"node {path!r}: `map` must say what it calls, one of `model` or `graph`")


def _map_from_wire(node: graph_pb2.Node, path: str) -> Map:
    return Map(
        target=_target_from_wire(node.map, path),
        over=tuple(node.map.over),
        batch_size=node.map.batch_size,
        max_concurrency=node.map.max_concurrency,
    )


def _switch_from_wire(node: graph_pb2.Node, path: str) -> Switch:
    number = len(node.switch.cases) + 1
    default = _node_from_wire(node.switch.default, path, number) if node.switch.HasField("default") else None
    branches = all_from_wire((case.then for case in node.switch.cases), path)
    cases = tuple(Case(when=case.when, then=then) for case, then in zip(node.switch.cases, branches, strict=True))
    return Switch(cases=cases, default=default)


def _split_from_wire(node: graph_pb2.Node, path: str) -> Split:
    branches = all_from_wire((share.then for share in node.split.shares), path)
    shares = tuple(
        Share(weight=share.weight, then=then) for share, then in zip(node.split.shares, branches, strict=True)
    )
    return Split(shares=shares, key=node.split.key)


def _parallel_from_wire(node: graph_pb2.Node, path: str) -> Parallel:
    with at(f"node {path!r}"):
        join = join_from_wire(node.parallel.join)
        aggregate = aggregate_from_wire(node.parallel.aggregate, join)
    branches = all_from_wire(node.parallel.branches, path)
    return Parallel(branches=branches, join=join, quorum=node.parallel.quorum, aggregate=aggregate)


def _fallback_from_wire(node: graph_pb2.Node, path: str) -> Fallback:
    return Fallback(branches=all_from_wire(node.fallback.branches, path), on=tuple(node.fallback.on))


def _cascade_from_wire(node: graph_pb2.Node, path: str) -> Cascade:
    if not node.cascade.HasField("threshold"):
        raise InvalidGraph(
            f"node {path!r}: `cascade` must have `threshold`, got none; say how sure is sure enough, as 0.9"
        )
    if not math.isfinite(node.cascade.threshold):
        raise InvalidGraph(f"node {path!r}: `threshold` must be a finite number, got {node.cascade.threshold}")
    return Cascade(
        branches=all_from_wire(node.cascade.branches, path),
        confidence=node.cascade.confidence,
        threshold=node.cascade.threshold + 0.0,  # -0.0 and 0.0 are one value, and must be the same bytes
    )


def _race_from_wire(node: graph_pb2.Node, path: str) -> Race:
    with at(f"node {path!r}"):
        delay_s = _seconds_from_wire(node.race.delay)
    return Race(branches=all_from_wire(node.race.branches, path), delay_s=delay_s)


def _loop_from_wire(node: graph_pb2.Node, path: str) -> Loop:
    return Loop(
        body=_node_from_wire(node.loop.body, path),
        until=node.loop.until,
        max_iterations=node.loop.max_iterations,
        carry=bindings_from_wire(node.loop.carry),
    )


def _cache_from_wire(node: graph_pb2.Node, path: str) -> Cache:
    with at(f"node {path!r}"):
        ttl_s = _seconds_from_wire(node.cache.ttl)
    return Cache(
        body=_node_from_wire(node.cache.body, path),
        ttl_s=ttl_s,
        max_entries=node.cache.max_entries,
        max_bytes=node.cache.max_bytes,
    )


def _transform_from_wire(node: graph_pb2.Node, path: str) -> Transform:
    operations: list[Operation] = []
    for number, operation in enumerate(node.transform.operations, start=1):
        with at(f"node {path!r}: operation {number}"):
            operations.append(operation_from_wire(operation))
    return Transform(operations=tuple(operations), keep=tuple(node.transform.keep))


_READERS: Mapping[str, Callable[[graph_pb2.Node, str], Kind]] = {
    "model": _target_from_wire,
    "graph": _target_from_wire,
    "map": _map_from_wire,
    "switch": _switch_from_wire,
    "split": _split_from_wire,
    "parallel": _parallel_from_wire,
    "fallback": _fallback_from_wire,
    "cascade": _cascade_from_wire,
    "race": _race_from_wire,
    "loop": _loop_from_wire,
    "cache": _cache_from_wire,
    "transform": _transform_from_wire,
}
