"""Extra workers: as many as were asked for beyond mesh.yaml, never fewer than it places."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graphmesh.cli.mesh_file import MeshFile, ModelEntry, WorkerEntry
from graphmesh.cli.scaling import base_replicas, extra_workers

COUNTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(min_value=0, max_value=9))


def worker(name: str, models: str, replicas: int = 1) -> WorkerEntry:
    """Return a group that hosts models of one letter each."""
    entries = [ModelEntry(name=model, source="any") for model in models]
    return WorkerEntry(name=name, models=entries, replicas=replicas)


def test_base_replicas_add_up() -> None:
    """A model counts once for each worker of each group that hosts it."""
    mesh = MeshFile(workers=[worker("one", "ab", replicas=2), worker("two", "b")])
    assert base_replicas(mesh) == {"a": 2, "b": 3}
    assert base_replicas(MeshFile()) == {}


def test_extra_workers_host_one_model_each() -> None:
    """What exceeds mesh.yaml becomes workers of that model alone, numbered from one."""
    assert extra_workers({"a": 1, "b": 2}, {"a": 3, "b": 2}) == {"a-x1": "a", "a-x2": "a"}


def test_nothing_is_added_without_being_asked() -> None:
    """No wish, a wish of 0, a smaller one, and a model that mesh.yaml does not have add nothing."""
    assert extra_workers({"a": 2}, {}) == {}
    assert extra_workers({"a": 2}, {"a": 0}) == {}
    assert extra_workers({"a": 2}, {"a": 1}) == {}
    assert extra_workers({"a": 2}, {"b": 5}) == {}


@given(base=COUNTS, wanted=COUNTS)
def test_every_wish_is_met_exactly(base: dict[str, int], wanted: dict[str, int]) -> None:
    """Each model ends with the greater of what is placed and what is wanted."""
    extra = list(extra_workers(base, wanted).values())
    for model, placed in base.items():
        assert placed + extra.count(model) == max(placed, wanted.get(model, 0))
    assert set(extra) <= set(base)


@given(base=COUNTS, wanted=COUNTS)
def test_scaling_down_keeps_the_first(base: dict[str, int], wanted: dict[str, int]) -> None:
    """One replica fewer takes away one worker and leaves the others with their names."""
    fewer = {model: max(0, count - 1) for model, count in wanted.items()}
    assert extra_workers(base, fewer).items() <= extra_workers(base, wanted).items()
