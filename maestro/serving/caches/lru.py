"""Least recently used: values by key within a bound of bytes and an age."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 320
"""What an entry costs beside its key and value: its tuple, its place in the ordered dictionary, its numbers (measured with CPython 3.11)."""


@dataclass(slots=True)
class CacheCounts:
    """Look-ups of one cache, by whether they were answered from it."""

    name: str
    hits: int = 0
    misses: int = 0


class Lru(Generic[K, V]):
    """Remembers values until the bound or their age is reached.

    Args:
        name: the label of its metrics.
        max_bytes: of all entries together, as their writers state their sizes plus `ENTRY_BYTES` each; 0 remembers nothing.
        ttl_s: age in seconds from which on a value is no longer given; None gives it until it is pushed out.
        now: a monotonic clock in seconds.

    >>> cache: Lru[str, int] = Lru("doc", max_bytes=2 * (ENTRY_BYTES + 10))
    >>> for key in "abac":
    ...     cache.put(key, ord(key), size=10)
    >>> cache.get("b"), cache.get("a"), len(cache)
    (None, 97, 2)
    """

    def __init__(
        self, name: str, *, max_bytes: int, ttl_s: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.counts = CacheCounts(name)
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._now = now
        self._entries: OrderedDict[K, tuple[V, int, float]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Bytes held, as stated."""
        return self._bytes

    @property
    def enabled(self) -> bool:
        """Whether it can remember anything."""
        return self._max_bytes > ENTRY_BYTES

    def get(self, key: K) -> V | None:
        """The value, or None; counts a hit or a miss."""
        entry = self._entries.get(key)
        if entry is not None:
            if self._ttl_s is None or self._now() < entry[2]:
                self._entries.move_to_end(key)
                self.counts.hits += 1
                return entry[0]
            self._drop(key)
        self.counts.misses += 1
        return None

    def put(self, key: K, value: V, *, size: int) -> None:
        """Remember a value of `size` bytes (key and value); one that alone exceeds the bound is not kept."""
        if key in self._entries:
            self._drop(key)
        size += ENTRY_BYTES
        if size > self._max_bytes:
            return
        self._entries[key] = (value, size, self._now() + self._ttl_s if self._ttl_s is not None else 0.0)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    def _drop(self, key: K) -> None:
        self._bytes -= self._entries.pop(key)[1]
