"""The mass-loss guard, as pure decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.registry import WorkerRecord, WorkerState
from graphmesh.registry.guard import WINDOW_S, Guard
from tests.registry.fakes import worker

if TYPE_CHECKING:
    from collections.abc import Mapping


def _workers(*records: WorkerRecord) -> dict[str, WorkerRecord]:
    return {record.worker_id: record for record in records}


def _replicas(count: int, *models: str) -> dict[str, WorkerRecord]:
    return _workers(*(worker(f"w{number}", *models, port=7000 + 2 * number) for number in range(count)))


def _without(workers: Mapping[str, WorkerRecord], *gone: str) -> dict[str, WorkerRecord]:
    return {worker_id: record for worker_id, record in workers.items() if worker_id not in gone}


def _guard(workers: Mapping[str, WorkerRecord]) -> Guard:
    guard = Guard()
    guard.apply(workers, now=0)
    return guard


def test_one_of_two_is_dropped() -> None:
    """Exactly half of a model's endpoints vanishing is believed."""
    two = _replicas(2)
    guard = _guard(two)
    guard.apply(_without(two, "w0"), now=1)
    assert (guard.served, guard.held) == (_without(two, "w0"), frozenset())


def test_more_than_half_is_held() -> None:
    """Two of three vanishing at once are served on, until a health check fails."""
    three = _replicas(3)
    guard = _guard(three)
    guard.apply(_without(three, "w0", "w1"), now=1)
    assert guard.served == three
    assert guard.held == guard.suspects.keys() == {"w0", "w1"}
    guard.failed("w0")
    guard.passed("w1")
    assert guard.served == _without(three, "w0")
    assert guard.held == {"w1"}


def test_the_only_replica_is_held_until_its_check_fails() -> None:
    """A single replica killed stays for one health check and does not come back."""
    one = _replicas(1)
    guard = _guard(one)
    guard.apply({}, now=1)
    assert guard.held == {"w0"}
    guard.failed("w0")
    guard.apply({}, now=2)
    assert (guard.served, guard.held, guard.suspects) == ({}, frozenset(), {})


def test_any_one_model_is_enough() -> None:
    """A worker is held whole when one of its models would lose most of its endpoints."""
    workers = _workers(worker("w0", "a", "b", port=1), worker("w1", "b", port=3), worker("w2", "b", port=5))
    guard = _guard(workers)
    guard.apply(_without(workers, "w0"), now=1)
    assert guard.held == {"w0"}


def test_losses_one_by_one_count_together() -> None:
    """Leases that end one after the other are one loss: the early ones come back once they answered."""
    three = _replicas(3)
    guard = _guard(three)
    guard.apply(_without(three, "w0"), now=1)
    assert guard.served == _without(three, "w0")
    guard.apply(_without(three, "w0", "w1"), now=2)
    assert guard.served == _without(three, "w0")
    assert guard.held == {"w1"}
    assert guard.suspects.keys() == {"w0", "w1"}
    guard.passed("w0")
    assert guard.served == three
    guard.apply({}, now=3)
    assert guard.served == three


def test_losses_far_apart_do_not_count_together() -> None:
    """A loss longer ago than the window is history."""
    three = _replicas(3)
    guard = _guard(three)
    guard.apply(_without(three, "w0"), now=1)
    guard.apply(_without(three, "w0", "w1"), now=2 + WINDOW_S)
    assert (guard.served, guard.held) == (_without(three, "w0", "w1"), frozenset())


def test_leaving_announced_is_believed() -> None:
    """Workers that were draining, or hosted nothing available, leave at once, however many they are."""
    three = {id_: replace(record, state=WorkerState.DRAINING) for id_, record in _replicas(3).items()}
    guard = _guard({**three, "idle": replace(worker("idle", port=9), models=())})
    guard.apply({}, now=1, rewound=True)
    assert (guard.served, guard.held) == ({}, frozenset())


def test_a_model_removed_from_its_record_is_believed() -> None:
    """A record without a model is served as it is, even if it was the model's only replica."""
    before, after = worker("w0", "a", "b"), worker("w0", "b")
    guard = _guard(_workers(before))
    guard.apply(_workers(after), now=1)
    assert (guard.served, guard.held) == (_workers(after), frozenset())


def test_a_store_that_went_backwards_loses_nobody() -> None:
    """After a rewind even a minority is held."""
    five = _replicas(5)
    guard = _guard(five)
    guard.apply(_without(five, "w0"), now=1, rewound=True)
    assert guard.served == five
    assert guard.held == {"w0"}


def test_registering_again_ends_the_hold() -> None:
    """A held worker that registers again is served with its new record."""
    guard = _guard(_workers(worker("w0")))
    guard.apply({}, now=1)
    back = replace(worker("w0"), generation=2)
    guard.apply(_workers(back), now=2)
    assert (guard.served, guard.held, guard.suspects) == (_workers(back), frozenset(), {})


def test_a_successor_at_the_same_address_ends_the_hold() -> None:
    """Another worker at a held one's address would pass its health check, so the held one goes."""
    guard = _guard(_workers(worker("old", port=7001)))
    guard.apply({}, now=1)
    guard.apply(_workers(worker("new", port=7001)), now=2)
    assert guard.served.keys() == {"new"}
    assert not guard.held


_IDS = [f"w{number}" for number in range(5)]
_RECORDS = {
    id_: [
        worker(id_, "a", port=7000 + 2 * number),
        worker(id_, "a", "b", port=7000 + 2 * number),
        worker(id_, "a", state=WorkerState.DRAINING, port=7000 + 2 * number),
    ]
    for number, id_ in enumerate(_IDS)
}
_REGISTERED = st.fixed_dictionaries({}, optional={id_: st.sampled_from(_RECORDS[id_]) for id_ in _IDS})
_STEP = st.one_of(
    st.tuples(st.just("apply"), _REGISTERED, st.booleans()),
    st.tuples(st.sampled_from(["passed", "failed"]), st.sampled_from(_IDS), st.just(False)),  # noqa: FBT003
)


@settings(max_examples=150)
@given(st.lists(_STEP, max_size=12))
def test_whatever_happens(steps: list[tuple[str, Mapping[str, WorkerRecord] | str, bool]]) -> None:
    """Registered workers are always served as registered; held ones are READY, unregistered and did not fail."""
    guard, registered, now = Guard(), dict[str, WorkerRecord](), 0.0
    failed: set[str] = set()
    for kind, what, rewound in steps:
        now += 1
        if isinstance(what, str):
            getattr(guard, kind)(what)
            if kind == "failed" and what not in registered:
                failed.add(what)
        else:
            registered = dict(what)
            guard.apply(registered, now=now, rewound=rewound)
            failed -= registered.keys()
        assert guard.served == {**registered, **{id_: guard.suspects[id_] for id_ in guard.held}}
        assert guard.held <= guard.suspects.keys()
        assert guard.suspects.keys().isdisjoint(registered)
        assert all(record.available for record in guard.suspects.values())
        assert guard.held.isdisjoint(failed)
