"""How branches are joined, as numbers of the protocol; numbers that this version does not know are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Aggregate, Join
from graphmesh.v1 import graph_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["aggregate_from_wire", "aggregate_to_wire", "default_aggregate", "join_from_wire", "join_to_wire"]

_JOINS: Mapping[int, Join] = {graph_pb2.Join.Value(f"JOIN_{join.name}"): join for join in Join}
_AGGREGATES: Mapping[int, Aggregate] = {
    graph_pb2.Aggregate.Value(f"AGGREGATE_{aggregate.name}"): aggregate for aggregate in Aggregate
}


def default_aggregate(join: Join) -> Aggregate:
    """Return how answers become one where the author does not say."""
    return Aggregate.ONE if join is Join.FIRST else Aggregate.MERGE


def join_from_wire(number: int) -> Join:
    """Return the join of a number; 0, unspecified, is all.

    Raises:
        InvalidGraph: a number of a newer version (INVALID_ARGUMENT, retry: no).
    """
    if number == graph_pb2.JOIN_UNSPECIFIED:
        return Join.ALL
    if number not in _JOINS:
        raise InvalidGraph(f"`join` must be one of {', '.join(graph_pb2.Join.keys())}, got the number {number}")
    return _JOINS[number]


def join_to_wire(join: Join) -> str:
    """Return the name of a join in the protocol, never the unspecified one."""
    return f"JOIN_{join.name}"


def aggregate_from_wire(number: int, join: Join) -> Aggregate:
    """Return the aggregate of a number; 0, unspecified, is what `default_aggregate` says of ``join``.

    Raises:
        InvalidGraph: a number of a newer version (INVALID_ARGUMENT, retry: no).
    """
    if number == graph_pb2.AGGREGATE_UNSPECIFIED:
        return default_aggregate(join)
    if number not in _AGGREGATES:
        known = ", ".join(graph_pb2.Aggregate.keys())
        raise InvalidGraph(f"`aggregate` must be one of {known}, got the number {number}")
    return _AGGREGATES[number]


def aggregate_to_wire(aggregate: Aggregate) -> str:
    """Return the name of an aggregate in the protocol, never the unspecified one."""
    return f"AGGREGATE_{aggregate.name}"
