"""What all caches of a process hold together."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.graph.running.actions.memory import CacheMemory
from graphmesh.graph.running.actions.remembered import Remembered


def _bytes(count: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    return {"y": np.zeros(count, np.uint8)}


def _cache(memory: CacheMemory, *, max_bytes: int = 100, max_entries: int = 100, ttl_s: float = 10) -> Remembered:
    return Remembered(ttl_s=ttl_s, max_entries=max_entries, max_bytes=max_bytes, memory=memory)


def test_the_longest_unused_of_all_caches_goes_first() -> None:
    """Whichever cache it is of, and whichever wants the room; using an answer keeps it."""
    memory = CacheMemory(10)
    one, two = _cache(memory), _cache(memory)
    one.put("a", _bytes(3), now=0)
    two.put("a", _bytes(3), now=0)
    one.put("b", _bytes(3), now=0)
    assert one.get("a", now=1) is not None
    one.put("c", _bytes(4), now=1)
    assert two.get("a", now=1) is None
    assert [one.get(key, now=1) is not None for key in "abc"] == [True, True, True]
    assert (memory.held_bytes, memory.entries, memory.crowded_out, memory.dropped) == (10, 3, 1, 0)
    assert (one.held_bytes, two.held_bytes) == (10, 0)


def test_an_answer_larger_than_the_memory_is_not_kept() -> None:
    """However large its own cache may be."""
    cache = _cache(CacheMemory(10), max_bytes=100)
    assert cache.fits(_bytes(10))
    assert not cache.fits(_bytes(11))


def test_a_cache_that_is_gone_gives_back_what_it_held() -> None:
    """From whatever thread its end is told; the others keep theirs."""
    memory = CacheMemory(10)
    kept, caches = _cache(memory), [_cache(memory)]
    kept.put("a", _bytes(4), now=0)
    caches[0].put("a", _bytes(5), now=0)
    assert memory.held_bytes == 9
    ending = threading.Thread(target=caches.clear)
    ending.start()
    ending.join()
    gc.collect()
    assert (memory.held_bytes, memory.entries) == (4, 1)
    kept.put("b", _bytes(6), now=0)
    assert kept.get("a", now=0) is not None
    assert memory.crowded_out == 0


def test_what_a_cache_held_ends_with_it() -> None:
    """At once, though nobody uses the memory."""
    memory = CacheMemory(10)
    cache, answer = _cache(memory), _bytes(4)
    end = weakref.ref(answer["y"])
    cache.put("a", answer, now=0)
    del answer
    assert end() is not None
    del cache
    gc.collect()
    assert end() is None


def test_nothing_fits_into_no_memory() -> None:
    """Not even an answer without a byte."""
    assert not _cache(CacheMemory(0)).fits(_bytes(0))


def test_bounds_of_a_cache_are_counted_apart() -> None:
    """Which of them is too small is what an operator has to know; an answer that is too old counts as neither."""
    memory = CacheMemory(10)
    cache = _cache(memory, max_entries=1)
    cache.put("a", _bytes(1), now=0)
    cache.put("b", _bytes(1), now=0)
    cache.put("c", _bytes(1), now=50)
    assert (memory.dropped, memory.crowded_out, memory.held_bytes) == (1, 0, 1)


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 9), st.integers(0, 3)), max_size=60)
)
def test_bounds_hold_whoever_puts_and_asks(steps: list[tuple[int, int, int, int]]) -> None:
    """All hold what each says it holds, never more than they may, and an answer is there right after it was kept."""
    memory = CacheMemory(20)
    caches = [_cache(memory, max_bytes=size, max_entries=3, ttl_s=5) for size in (9, 15, 40)]
    now = 0
    for index, key, size, pause in steps:
        now += pause
        cache = caches[index]
        if cache.get(key, now=now) is None and cache.fits(_bytes(size)):
            cache.put(key, _bytes(size), now=now)
            assert cache.get(key, now=now) is not None
        assert memory.held_bytes == sum(cache.held_bytes for cache in caches) <= 20
        assert memory.entries == sum(len(cache) for cache in caches)
