"""What the server remembers so that it need not ask again, bounded in bytes and never stale across a swap.

- `Lru`: values by key, least recently used out first, with an optional age limit. Loop-local: one instance belongs to one event loop.
- `PredictionCache`: answers by (digest of the version, bytes of the row). `take(digest, batch)` before asking a model, `Taken.missing` is what to ask,
  `keep(taken, prediction)` after; a row is answered from here only for the very digest that answered it, so a swap needs no flush.
- `FeatureLookup`: features by entity through a cache, with one look-up at a time for all requests that wait, a timeout and a circuit breaker.

Each counts `hits` and `misses` (a row or an entity each) for `maestro_cache_{hits,misses}_total{cache}` under its `name`: `prediction`, `feature`; the
versions that stay loaded for an instant rollback are the third, `model`, counted by `CacheCounts`.
"""

from __future__ import annotations

from maestro.serving.caches.features import FeatureLookup, answered
from maestro.serving.caches.lru import CacheCounts, Lru
from maestro.serving.caches.predictions import PredictionCache, Taken

__all__ = ["CacheCounts", "FeatureLookup", "Lru", "PredictionCache", "Taken", "answered"]
