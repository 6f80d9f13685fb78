"""Replicas as entries of the repository index."""

from __future__ import annotations

import pytest

from graphmesh.registry import HostedModel, ModelState
from graphmesh.registry.index import graph_entry, index_entries


def hosted(state: ModelState, *, version: str = "1", message: str = "") -> HostedModel:
    """Return a replica."""
    return HostedModel(name="m", version=version, state=state, message=message)


@pytest.mark.parametrize("state", list(ModelState))
def test_every_state_has_a_word(state: ModelState) -> None:
    """Each state is shown by a word of the protocol, and by a reason unless it is ready or on its way."""
    (entry,) = index_entries([hosted(state, message="why")], known={})
    expected = {ModelState.AVAILABLE: "READY", ModelState.LOADING: "LOADING", ModelState.UNLOADING: "UNLOADING"}
    assert entry.state == expected.get(state, "UNAVAILABLE")
    assert entry.reason == ("" if state is ModelState.AVAILABLE else "why")


def test_the_best_replica_speaks_for_a_version() -> None:
    """One available replica makes a version ready, whatever others say; versions are apart and in order."""
    replicas = [
        hosted(ModelState.FAILED, message="broken"),
        hosted(ModelState.AVAILABLE),
        hosted(ModelState.LOADING),
        hosted(ModelState.UNLOADED, version="10"),
        hosted(ModelState.FAILED, version="9", message="broken"),
    ]
    found = [(entry.version, entry.state, entry.reason) for entry in index_entries(replicas, known={})]
    assert found == [("1", "READY", ""), ("9", "UNAVAILABLE", "broken"), ("10", "UNAVAILABLE", "unloaded")]


def test_what_nobody_hosts_is_listed() -> None:
    """A model that is known without a replica is unavailable, and why is said."""
    (entry,) = index_entries([], known={"gone": ["3"]})
    assert (entry.name, entry.version, entry.state) == ("gone", "3", "UNAVAILABLE")
    assert "no worker hosts it" in entry.reason


def test_graphs() -> None:
    """A graph is ready unless there is a reason against it."""
    assert graph_entry("g", "4", reason="").state == "READY"
    assert graph_entry("g", "4", reason="nobody serves a").state == "UNAVAILABLE"
