"""Who can answer which call."""

from __future__ import annotations

from graphmesh.graph.placing.hosts import hosts_from
from graphmesh.graph.spec import ModelCall

A, A1, A2, B = (
    ModelCall(name=name, version=version) for name, version in [("a", ""), ("a", "1"), ("a", "2"), ("b", "")]
)
HOSTS = hosts_from([("w1", "a", "1"), ("w1", "a", "2"), ("w2", "a", "2"), ("w2", "b", "1")])


def test_calls_go_where_the_version_is() -> None:
    """Any version answers a call that fixes none; a worker with two versions is listed once."""
    assert HOSTS[A] == ["w1", "w2"]
    assert (HOSTS[A1], HOSTS[A2], HOSTS[B]) == (["w1"], ["w1", "w2"], ["w2"])
