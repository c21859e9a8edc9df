"""Least recently used within a bound of bytes and an age."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from maestro.serving.caches.lru import ENTRY_BYTES, Lru


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 400)), max_size=200))
def test_it_holds_the_latest_used_that_fit(steps: list[tuple[bool, int, int]]) -> None:
    cache: Lru[int, int] = Lru("t", max_bytes=1500)
    model: OrderedDict[int, int] = OrderedDict()
    for write, key, size in steps:
        if write:
            cache.put(key, key, size=size)
            model.pop(key, None)
            model[key] = size + ENTRY_BYTES
            while sum(model.values()) > 1500:
                model.popitem(last=False)
        else:
            assert (cache.get(key) is not None) == (key in model)
            if key in model:
                model.move_to_end(key)
        assert cache.bytes == sum(model.values()) <= 1500


def test_an_entry_ages_out() -> None:
    at = [0.0]
    cache: Lru[str, int] = Lru("t", max_bytes=10_000, ttl_s=5.0, now=lambda: at[0])
    cache.put("a", 1, size=8)
    at[0] = 4.9
    assert cache.get("a") == 1
    at[0] = 5.0
    assert cache.get("a") is None
    assert (cache.bytes, len(cache)) == (0, 0)
    assert (cache.counts.hits, cache.counts.misses) == (1, 1)


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out() -> None:
    cache: Lru[str, int] = Lru("t", max_bytes=600)
    cache.put("a", 1, size=8)
    cache.put("b", 2, size=5000)
    assert cache.get("a") == 1
    assert cache.get("b") is None
    cache.clear()
    assert cache.bytes == 0
    assert not Lru("t", max_bytes=0).enabled
