"""Who can answer which call."""

from __future__ import annotations

from graphmesh.graph.placing.hosts import best_hosts, hosts_from, local_calls, runs_on
from graphmesh.graph.spec import GraphCall, ModelCall

A, A1, A2, B = (
    ModelCall(name=name, version=version) for name, version in [("a", ""), ("a", "1"), ("a", "2"), ("b", "")]
)
HOSTS = hosts_from([("w1", "a", "1"), ("w1", "a", "2"), ("w2", "a", "2"), ("w2", "b", "1")])


def test_calls_go_where_the_version_is() -> None:
    """Any version answers a call that fixes none; a worker with two versions is listed once."""
    assert HOSTS[A] == ["w1", "w2"]
    assert (HOSTS[A1], HOSTS[A2], HOSTS[B]) == (["w1"], ["w1", "w2"], ["w2"])


def test_a_worker_runs_what_it_hosts_all_of() -> None:
    """One call that goes elsewhere is enough for no; nothing to call runs anywhere, a graph unlooked into nowhere."""
    assert runs_on("w2", [A2, B], HOSTS)
    assert not runs_on("w2", [A1, B], HOSTS)
    assert runs_on("w3", [], HOSTS)
    assert not runs_on("w2", [GraphCall(name="g")], HOSTS)


def test_the_best_workers_tie() -> None:
    """Those that answer the most calls, all of them; sums of fractions may differ by a rounding."""
    assert local_calls({A1: 1.0, B: 2.0}, HOSTS) == {"w1": 1.0, "w2": 2.0}
    assert best_hosts({A1: 1.0, B: 2.0}, HOSTS) == ["w2"]
    assert best_hosts({A1: 0.1 + 0.2, B: 0.3}, HOSTS) == ["w1", "w2"]
    assert best_hosts({ModelCall(name="gone"): 1.0}, HOSTS) == []
