"""What a cache keeps: how much, how long, and in whose memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.graph.running.actions.memory import CacheMemory
from graphmesh.graph.running.actions.remembered import Remembered, frozen


def _remembered(**bounds: Any) -> Remembered:  # noqa: ANN401
    return Remembered(**{"memory": CacheMemory(), **bounds})


def _bytes(count: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    return {"y": np.zeros(count, np.uint8)}


def test_an_answer_is_kept_until_its_time_is_up() -> None:
    """At the very instant it is too old; then its bytes are free."""
    kept = _remembered(ttl_s=10, max_entries=5, max_bytes=100)
    kept.put("a", _bytes(7), now=5)
    assert kept.get("a", now=14.9) is not None
    assert kept.get("a", now=15) is None
    assert (len(kept), kept.held_bytes) == (0, 0)
    assert kept._memory.dropped == 0


def test_what_nobody_asks_for_goes_when_its_time_is_up() -> None:
    """Any look will do, so that nothing keeps a model alive that was replaced."""
    kept = _remembered(ttl_s=10, max_entries=5, max_bytes=100)
    for key in "ab":
        kept.put(key, _bytes(1), now=0)
    kept.put("c", _bytes(1), now=5)
    assert kept.get("other", now=10) is None
    assert (len(kept), kept.held_bytes, kept._memory.dropped) == (1, 1, 0)


def test_the_longest_unused_goes_first() -> None:
    """Using an answer keeps it."""
    kept = _remembered(ttl_s=10, max_entries=2, max_bytes=100)
    kept.put("a", _bytes(1), now=0)
    kept.put("b", _bytes(1), now=0)
    assert kept.get("a", now=1) is not None
    kept.put("c", _bytes(1), now=1)
    assert [kept.get(key, now=1) is not None for key in "abc"] == [True, False, True]
    assert kept._memory.dropped == 1


def test_as_many_go_as_their_bytes_need() -> None:
    """One large answer may cost several small ones; one that is larger than all is not kept at all."""
    kept = _remembered(ttl_s=10, max_entries=9, max_bytes=10)
    for key in "abc":
        kept.put(key, _bytes(3), now=0)
    kept.put("d", _bytes(6), now=0)
    assert [kept.get(key, now=0) is not None for key in "abcd"] == [False, False, True, True]
    assert kept.held_bytes == 9
    assert kept.fits(_bytes(10))
    assert not kept.fits(_bytes(11))


def test_a_newer_answer_replaces_the_older() -> None:
    """Its bytes count once, and its time starts anew."""
    kept = _remembered(ttl_s=10, max_entries=9, max_bytes=10)
    kept.put("a", _bytes(3), now=0)
    kept.put("a", _bytes(4), now=5)
    assert kept.held_bytes == 4
    assert kept.get("a", now=12) is not None


def test_kept_tensors_are_read_only() -> None:
    """Nobody who gets a remembered answer can change what the next one gets."""
    kept = frozen({"y": np.zeros(3)})["y"]
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


def test_a_model_that_uses_its_memory_again_changes_nothing() -> None:
    """What is kept is a copy, whoever owns the tensor."""
    tensor = np.zeros(3)
    kept = frozen({"y": tensor})["y"]
    tensor += 7
    assert kept.tolist() == [0, 0, 0]


def test_views_are_copied() -> None:
    """A row keeps no batch alive, and memory that others write to is left to them."""
    batch = np.zeros((1000, 2))
    kept = frozen({"y": batch[3]})["y"]
    batch[3] = 7
    assert kept.tolist() == [0, 0]
    assert kept.base is None
    assert not kept.flags.writeable


@given(steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 3)), max_size=40))
def test_bounds_hold_whatever_is_put_and_asked_for(steps: list[tuple[int, int, int]]) -> None:
    """Never more answers or bytes than allowed, and what is held is what the sum of the kept says."""
    kept = _remembered(ttl_s=5, max_entries=3, max_bytes=12)
    now = 0
    for key, size, pause in steps:
        now += pause
        if kept.get(key, now=now) is None:
            kept.put(key, _bytes(size), now=now)
            assert kept.get(key, now=now) is not None
        assert len(kept) <= 3
        assert kept.held_bytes == sum(entry.outputs["y"].nbytes for entry in kept._entries.values()) <= 12
